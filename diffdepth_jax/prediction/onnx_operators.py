"""JAX's primitives as operators of ONNX: those that the networks and the sampler use.

Each function takes the graph, the equation and the values of its inputs, and returns the value of
its output.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.onnx_graph import Graph, Shape, Value, is_known

Equation = Any  # of a jaxpr
_Operator = Callable[[Graph, Equation, Sequence[Value]], Value]


def _shape(variable: Any) -> Shape:
    return variable.aval.shape


def _broadcasting(write: Callable[..., str]) -> _Operator:
    """An operator that broadcasts; its output is narrow unless an input has its whole shape."""

    def operator(graph: Graph, equation: Equation, values: Sequence[Value]) -> Value:
        (output,) = equation.outvars
        name = write(graph, *values, **equation.params)
        covers = [
            graph.is_full(value, _shape(output)) and _shape(variable) == _shape(output)
            for value, variable in zip(values, equation.invars, strict=True)
        ]
        return name if any(covers) else graph.mark_narrow(name)

    return operator


def _plain(operator: str, **attributes: Any) -> _Operator:
    return _broadcasting(lambda graph, *values, **_: graph.add(operator, *values, **attributes))


def _pow(graph: Graph, x: Value, *, y: int) -> str:
    return graph.add("Pow", x, np.array(y, np.float32))


def _select(graph: Graph, which: Value, *cases: Value) -> str:
    false, true = cases
    return graph.add("Where", which, true, false)


def _cast(graph: Graph, x: Value, *, new_dtype: Any, **_: Any) -> str:
    return graph.add("Cast", x, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(new_dtype)))


def _whole(write: Callable[..., Value]) -> _Operator:
    """An operator whose inputs have their whole shapes."""

    def operator(graph: Graph, equation: Equation, values: Sequence[Value]) -> Value:
        pairs = zip(values, equation.invars, strict=True)
        full = [graph.full(value, _shape(variable)) for value, variable in pairs]
        return write(graph, equation, *full, **equation.params)

    return operator


def _reshaped(graph: Graph, x: Value, shape: Shape) -> Value:
    if not isinstance(x, str) and is_known(shape):
        return x.reshape(tuple(shape))
    if sum(not isinstance(size, int) for size in shape) > 1:
        return graph.add("Reshape", x, graph.shape(shape))
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    return graph.add("Reshape", x, np.array(sizes, np.int64))


def _reshape(graph: Graph, equation: Equation, x: Value, **_: Any) -> Value:
    return _reshaped(graph, x, _shape(equation.outvars[0]))


def _broadcast_in_dim(graph: Graph, equation: Equation, values: Sequence[Value]) -> Value:
    """Gives the axes their places; other operators make them longer."""
    (x, *_), (variable, *_) = values, equation.invars
    places, rank = equation.params["broadcast_dimensions"], len(_shape(equation.outvars[0]))
    if places == tuple(range(rank)):
        return graph.mark_narrow(graph.add("Identity", x)) if isinstance(x, str) else x
    if isinstance(x, str):
        new = np.array([axis for axis in range(rank) if axis not in places])
        return graph.mark_narrow(graph.add("Unsqueeze", x, new))
    sizes = np.ones(rank, int)
    sizes[list(places)] = x.shape if x.ndim == len(_shape(variable)) else 1
    return x.reshape(sizes)


def _transposed(graph: Graph, x: Value, order: Sequence[int]) -> Value:
    if isinstance(x, str):
        return graph.add("Transpose", x, perm=list(order))
    return x.transpose(order)


def _transpose(graph: Graph, equation: Equation, x: Value, *, permutation: Sequence[int]) -> Value:
    return _transposed(graph, x, permutation)


def _convolution(graph: Graph, equation: Equation, x: Value, kernel: Value, **params: Any) -> Value:
    """ONNX has the order [B, C, H, W] alone."""
    places = params["dimension_numbers"]
    if set(params["lhs_dilation"]) != {1} or params["batch_group_count"] != 1:
        raise UserError("this model has a convolution that the ONNX export does not know")
    before, after = zip(*params["padding"], strict=True)
    y = graph.add(
        "Conv",
        _transposed(graph, x, places.lhs_spec),
        _transposed(graph, kernel, places.rhs_spec),
        strides=list(params["window_strides"]),
        pads=[*before, *after],
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return _transposed(graph, y, np.argsort(places.out_spec).tolist())


def _product(
    graph: Graph, equation: Equation, x: Value, y: Value, *, dimension_numbers: Any, **_: Any
) -> Value:
    (contracted, theirs), (batch, their_batch) = dimension_numbers
    ranks = [len(_shape(variable)) for variable in equation.invars]
    if (ranks[1], contracted, theirs) == (2, (ranks[0] - 1,), (0,)):
        return graph.add("MatMul", x, y)
    names = iter(string.ascii_lowercase)
    ours = [next(names) for _ in range(ranks[0])]
    shared = dict(zip((*theirs, *their_batch), (*contracted, *batch), strict=True))
    other = [ours[shared[a]] if a in shared else next(names) for a in range(ranks[1])]
    free = [name for axis, name in enumerate(ours) if axis not in (*contracted, *batch)]
    free += [name for axis, name in enumerate(other) if axis not in shared]
    result = [ours[axis] for axis in batch] + free
    equation_text = f"{''.join(ours)},{''.join(other)}->{''.join(result)}"
    return graph.add("Einsum", x, y, equation=equation_text)


def _reduction(operator: str) -> _Operator:
    def write(graph: Graph, equation: Equation, x: Value, *, axes: Sequence[int], **_: Any) -> str:
        return graph.add(operator, x, np.array(axes), keepdims=0)

    return _whole(write)


def _concatenate(graph: Graph, equation: Equation, *parts: Value, dimension: int) -> Value:
    """Without the empty parts: ONNX reads a length of 0 in a shape as "the same"."""
    pairs = zip(parts, equation.invars, strict=True)
    parts = tuple(part for part, variable in pairs if _shape(variable)[dimension] != 0)
    return graph.add("Concat", *parts, axis=dimension)


def _stack(graph: Graph, equation: Equation, *parts: Value, axis: int, **_: Any) -> Value:
    parts = tuple(graph.add("Unsqueeze", part, np.array([axis])) for part in parts)
    return graph.add("Concat", *parts, axis=axis)


def _slice(
    graph: Graph,
    equation: Equation,
    x: Value,
    *,
    start_indices: Sequence[int],
    limit_indices: Sequence[Any],
    strides: Sequence[int] | None,
) -> Value:
    steps = strides or (1,) * len(start_indices)
    rows = zip(start_indices, limit_indices, steps, _shape(equation.invars[0]), strict=True)
    cut = [
        (start, limit, axis, step)
        for axis, (start, limit, step, size) in enumerate(rows)
        if (start, limit, step) != (0, size, 1)
    ]
    return graph.add("Slice", x, *map(graph.shape, zip(*cut, strict=True))) if cut else x


def _dynamic_slice(
    graph: Graph,
    equation: Equation,
    x: Value,
    *starts: Value,
    slice_sizes: Sequence[Any],
    **_: Any,
) -> Value:
    """Of an unrolled loop, whose indices are known."""
    if any(isinstance(start, str) for start in starts):
        raise UserError("the ONNX export knows dynamic_slice at known places only")
    first = [int(start) for start in starts]
    last = [start + size for start, size in zip(first, slice_sizes, strict=True)]
    return _slice(graph, equation, x, start_indices=first, limit_indices=last, strides=None)


def _squeeze(graph: Graph, equation: Equation, x: Value, *, dimensions: Sequence[int]) -> Value:
    return graph.add("Squeeze", x, np.array(dimensions))


def _pad(graph: Graph, equation: Equation, x: Value, value: Value, *, padding_config: Any) -> Value:
    before, after, between = zip(*padding_config, strict=True)
    if any(between):
        raise UserError("this model pads between elements, which the ONNX export does not know")
    return graph.add("Pad", x, np.array([*before, *after], np.int64), value)


def _gather(graph: Graph, equation: Equation, x: Value, indices: Value, **params: Any) -> Value:
    """A part of some axes at a known place, or elements of one axis."""
    places = params["dimension_numbers"]
    axes, last = places.start_index_map, len(_shape(equation.invars[1])) - 1
    rank = len(_shape(equation.outvars[0]))
    kept = (*range(axes[0]), *range(axes[0] + last, rank))
    if (places.collapsed_slice_dims, places.offset_dims) == (axes, kept):
        return graph.add("Gather", x, graph.add("Squeeze", indices, np.array([last])), axis=axes[0])
    if isinstance(indices, str) or places.collapsed_slice_dims or last:
        raise UserError("this model picks elements in a way that the ONNX export does not know")
    start = indices.astype(np.int64)
    end = start + [params["slice_sizes"][axis] for axis in axes]
    return graph.add("Slice", x, start, end, np.array(axes))


def _iota(graph: Graph, equation: Equation, *, dtype: Any, shape: Shape, **_: Any) -> Value:
    """Of a symbolic length; others are known."""
    length = graph.add("Squeeze", graph.size(shape[0]), np.array([0]))
    counted = graph.add("Range", np.array(0), length, np.array(1))
    return _cast(graph, counted, new_dtype=dtype)


def _size(graph: Graph, equation: Equation, *, dim: Any) -> Value:
    scalar = graph.add("Squeeze", graph.size(dim), np.array([0]))
    return _cast(graph, scalar, new_dtype=equation.outvars[0].aval.dtype)


def split(graph: Graph, equation: Equation, values: Sequence[Value]) -> list[str]:
    """The only primitive with several outputs."""
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    x = graph.full(values[0], _shape(equation.invars[0]))
    return graph.add_several("Split", len(sizes), x, np.array(sizes), axis=axis)


_SAME_MEANING = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "abs": "Abs",
    "neg": "Neg",
    "sign": "Sign",
    "floor": "Floor",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "erf": "Erf",
    "logistic": "Sigmoid",
    "sin": "Sin",
    "cos": "Cos",
    "and": "And",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "copy": "Identity",
    "stop_gradient": "Identity",
}

_ONE = np.ones((), np.float32)
OPERATORS: dict[str, _Operator] = {
    **{name: _plain(operator) for name, operator in _SAME_MEANING.items()},
    "rem": _plain("Mod", fmod=1),
    "ne": _broadcasting(lambda graph, x, y, **_: graph.add("Not", graph.add("Equal", x, y))),
    "square": _broadcasting(lambda graph, x, **_: graph.add("Mul", x, x)),
    "rsqrt": _broadcasting(lambda graph, x, **_: graph.add("Reciprocal", graph.add("Sqrt", x))),
    "erfc": _broadcasting(lambda graph, x, **_: graph.add("Sub", _ONE, graph.add("Erf", x))),
    "log1p": _broadcasting(lambda graph, x, **_: graph.add("Log", graph.add("Add", _ONE, x))),
    "integer_pow": _broadcasting(_pow),
    "select_n": _broadcasting(_select),
    "convert_element_type": _broadcasting(_cast),
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": _whole(_reshape),
    "transpose": _whole(_transpose),
    "conv_general_dilated": _whole(_convolution),
    "dot_general": _whole(_product),
    "reduce_sum": _reduction("ReduceSum"),
    "reduce_max": _reduction("ReduceMax"),
    "concatenate": _whole(_concatenate),
    "stack": _whole(_stack),
    "slice": _whole(_slice),
    "dynamic_slice": _whole(_dynamic_slice),
    "squeeze": _whole(_squeeze),
    "pad": _whole(_pad),
    "gather": _whole(_gather),
    "iota": _whole(_iota),
    "dim_as_value": _whole(_size),
}
