"""From a traced function to a graph of ONNX operators.

What follows from literals alone is computed at export, by JAX: ONNX needs indices and positions as
constants, and has no operator for some of what fits a table of positions to a size. Loops are
unrolled, calls are inlined, and where a function has a form for each platform, its default is
taken: the plain one.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.onnx_graph import Graph, Value, is_known
from diffdepth_jax.prediction.onnx_operators import OPERATORS, Equation, split

# Of `jax.checkpoint` the last two, by version of jax.
_CALLS = ("jit", "custom_vjp_call", "custom_jvp_call", "checkpoint", "remat2")


class _Given(np.ndarray):
    """An array of the model's. What follows from it is left to the program that runs the file:
    to compile each operation on parameters for this one use would double the time of an export.
    """


def lower(graph: Graph, closed: Any, arguments: Sequence[Value]) -> list[Value]:
    """Adds a jaxpr to the graph; returns the values of its outputs.

    Raises:
      UserError: the jaxpr has a primitive that `OPERATORS` does not.
    """
    jaxpr = getattr(closed, "jaxpr", closed)
    consts = (np.asarray(value).view(_Given) for value in getattr(closed, "consts", ()))
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def read(variable: Any) -> Value:
        if isinstance(variable, Literal):
            return np.asarray(variable.val, variable.aval.dtype)
        return known[variable]

    for equation in jaxpr.eqns:
        results = _results(graph, equation, [read(variable) for variable in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _results(graph: Graph, equation: Equation, values: Sequence[Value]) -> Sequence[Value]:
    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
        return [np.array(0)]  # which no one reads
    if name == "cond" and params["branches_platforms"]:
        return lower(graph, params["branches"][-1], values[1:])
    if name in _CALLS:
        return lower(graph, params["jaxpr" if "jaxpr" in params else "call_jaxpr"], values)
    if name == "scan":
        return _unrolled(graph, equation, values)
    if _is_computed(equation, values):
        return _computed(graph, equation, values)
    if name == "split":
        return split(graph, equation, values)
    if name not in OPERATORS:
        raise UserError(f"the ONNX export does not know {name}, which this model computes")
    return [OPERATORS[name](graph, equation, values)]


def _is_computed(equation: Equation, values: Sequence[Value]) -> bool:
    variables = [*equation.invars, *equation.outvars]
    return (
        not any(isinstance(value, str | _Given) for value in values)
        and all(is_known(variable.aval.shape) for variable in variables)
        and equation.primitive.name not in ("dim_as_value", "broadcast_in_dim")
    )


def _computed(graph: Graph, equation: Equation, values: Sequence[Value]) -> list[Value]:
    """Runs an equation of known arrays."""
    pairs = zip(values, equation.invars, strict=True)
    full = [jnp.asarray(graph.full(value, variable.aval.shape)) for value, variable in pairs]
    results = equation.primitive.bind(*full, **equation.params)
    several = equation.primitive.multiple_results
    return [np.asarray(result) for result in (results if several else [results])]


def _unrolled(graph: Graph, equation: Equation, values: Sequence[Value]) -> list[Value]:
    """The steps of a loop over known arrays one after the other."""
    params = equation.params
    num_consts, num_carried = params["num_consts"], params["num_carry"]
    consts, carried = values[:num_consts], list(values[num_consts : num_consts + num_carried])
    stacked, inputs = [], values[num_consts + num_carried :]
    if params["reverse"] or any(isinstance(value, str) for value in inputs):
        raise UserError("this model has a loop that the ONNX export does not know")
    for step in range(params["length"]):
        body = [*consts, *carried, *(np.asarray(value)[step] for value in inputs)]
        results = lower(graph, params["jaxpr"], body)
        carried = results[:num_carried]
        stacked.append(results[num_carried:])
    outputs = equation.outvars[num_carried:]
    return carried + [_stacked(graph, *row) for row in zip(outputs, *stacked, strict=True)]


def _stacked(graph: Graph, output: Any, *steps: Value) -> Value:
    shape = output.aval.shape[1:]
    full = [graph.full(value, shape) for value in steps]
    first = np.array([0])
    return graph.add("Concat", *(graph.add("Unsqueeze", value, first) for value in full), axis=0)
