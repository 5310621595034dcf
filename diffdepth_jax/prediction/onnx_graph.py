"""An ONNX graph that grows operator by operator.

A value is an array, if it is known at export, or the name of what a node computes. A value may be
narrow: its axes of length 1 stand for longer ones, as in numpy's broadcasting, because most ONNX
operators broadcast. `full` ends that.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from diffdepth_jax.errors import UserError

Value = np.ndarray | str
Shape = Sequence[Any]  # of ints, or of JAX's symbolic sizes: a symbol, or an integer times a symbol

_OPSET = 21
_IR_VERSION = 10  # of opset 21


def is_known(shape: Shape) -> bool:
    """Returns whether no size is symbolic."""
    return all(isinstance(size, int) for size in shape)


class Graph:
    """Nodes in the order of execution, and the arrays that they use."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[int, tuple[str, np.ndarray]] = {}  # by id: the array is kept with it
        self._symbols: dict[str, str] = {}
        self._narrow: set[str] = set()

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """Adds a node with one output; returns the name of the output."""
        return self.add_several(operator, 1, *inputs, **attributes)[0]

    def add_several(
        self, operator: str, outputs: int, *inputs: Value, **attributes: Any
    ) -> list[str]:
        """Adds a node with several outputs; returns their names."""
        names = [f"{operator}_{len(self._nodes)}_{index}" for index in range(outputs)]
        given = [self._name(value) for value in inputs]
        self._nodes.append(onnx.helper.make_node(operator, given, names, **attributes))
        return names

    def _name(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        return self._arrays.setdefault(id(value), (f"array_{len(self._arrays)}", value))[0]

    def name(self, value: Value, name: str) -> None:
        """Gives a value a name, under which it may be an output."""
        self._nodes.append(onnx.helper.make_node("Identity", [self._name(value)], [name]))

    def define_symbols(self, name: str, shape: Shape) -> None:
        """Takes the symbols in `shape` from the shape of the input `name`."""
        sizes = self.add("Shape", name)
        for axis, size in enumerate(shape):
            if not isinstance(size, int):
                self._symbols[str(size)] = self.add("Gather", sizes, np.array([axis]), axis=0)

    def size(self, size: Any) -> Value:
        """Returns a size as an int64 value [1]."""
        if isinstance(size, int):
            return np.array([size])
        first, *others = str(size).replace("- ", "-").replace("+ ", "").split()
        total = self._term(first)
        for term in others:
            total = self.add("Add", total, self._term(term))
        return total

    def _term(self, text: str) -> Value:
        """Of a sum: an integer, or a symbol that may have a sign and an integer before it."""
        match = re.fullmatch(r"(-?)(?:(\d+)\*)?([a-z]+)|(-?\d+)", text)
        if not match or (match[3] and match[3] not in self._symbols):
            raise UserError(f"this model has a size {text}, which the ONNX export cannot express")
        if match[4]:
            return np.array([int(match[4])])
        factor, symbol = int(f"{match[1]}{match[2] or 1}"), self._symbols[match[3]]
        return symbol if factor == 1 else self.add("Mul", symbol, np.array([factor]))

    def shape(self, shape: Shape) -> Value:
        """Returns a shape as an int64 value [rank]."""
        if is_known(shape):
            return np.array(shape, np.int64)
        return self.add("Concat", *map(self.size, shape), axis=0)

    def mark_narrow(self, name: str) -> str:
        """Remembers that this value may be narrow."""
        self._narrow.add(name)
        return name

    def is_full(self, value: Value, shape: Shape) -> bool:
        """Returns whether a value, which stands for an array of `shape`, has that shape."""
        if isinstance(value, str):
            return value not in self._narrow
        return value.shape == tuple(shape)

    def full(self, value: Value, shape: Shape) -> Value:
        """Returns the value at its whole `shape`."""
        if self.is_full(value, shape):
            return value
        if not isinstance(value, str) and is_known(shape):
            return np.broadcast_to(value, shape)
        return self.add("Expand", value, self.shape(shape))

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Returns the model without the nodes that no output needs."""
        nodes = self._needed({output.name for output in outputs})
        used = {name for node in nodes for name in node.input}
        tensors = [
            onnx.numpy_helper.from_array(np.array(array), name)
            for name, array in self._arrays.values()
            if name in used
        ]
        graph = onnx.helper.make_graph(nodes, "depth", inputs, outputs, tensors)
        opset = onnx.helper.make_opsetid("", _OPSET)
        return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

    def _needed(self, names: set[str]) -> list[onnx.NodeProto]:
        kept = []
        for node in reversed(self._nodes):
            if names & set(node.output):
                names |= set(node.input)
                kept.append(node)
        return kept[::-1]
