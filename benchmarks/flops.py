"""Counts multiply-adds from a jaxpr; the body of a loop counts as often as the loop runs it.

XLA's cost analysis would count the body of a scan only once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count_multiply_adds(function: Callable, *args: Any, platform: str | None = None) -> int:
    """Counts the multiply-adds of all matrix products and convolutions in function(*args).

    Operations that a backward pass recomputes are counted each time. The gradient of a strided
    convolution puts zeros between its elements; products with these zeros are not counted.

    Args:
      function: nothing of it is computed.
      *args: its arguments, or `jax.ShapeDtypeStruct`s in their place.
      platform: where the function has a branch for each platform, count the branch of this one,
        such as "cpu". By default count the branch for all other platforms, which is the method's.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr, platform)


def _count(jaxpr, platform):
    return sum(_count_equation(equation, platform) for equation in _live_equations(jaxpr))


def _live_equations(jaxpr):
    """Yields the equations that a result needs, the last first; the compiler removes the others."""
    needed = _variables(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed |= _variables(equation.invars)
            yield equation


def _variables(atoms):
    return {atom for atom in atoms if not isinstance(atom, core.Literal)}


def _count_equation(equation, platform):
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracting, _), _ = parameters["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracting)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        output_features = kernel[parameters["dimension_numbers"].rhs_spec[0]]
        taps = math.prod(kernel) // output_features
        taps /= math.prod(parameters["lhs_dilation"])
        return round(math.prod(equation.outvars[0].aval.shape) * taps)
    if name == "cond":
        return max(_count(branch.jaxpr, platform) for branch in _branches(parameters, platform))
    if name == "while":
        raise ValueError("a while loop's length is not known: cannot count its multiply-adds")
    repeats = parameters["length"] if name == "scan" else 1
    return repeats * sum(_count(jaxpr, platform) for jaxpr in _inner_jaxprs(parameters))


def _branches(parameters, platform):
    """Returns the branches of a conditional that may run.

    An ordinary conditional may run any of its branches. If it has a branch for each platform, only
    the branch of `platform` runs; the branch without a name runs where no other matches.
    """
    branches, platforms = parameters["branches"], parameters.get("branches_platforms")
    if platforms is None:
        return branches
    own = (index for index, names in enumerate(platforms) if platform in (names or ()))
    return [branches[next(own, platforms.index(None))]]


def _inner_jaxprs(parameters):
    for value in parameters.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
