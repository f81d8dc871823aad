"""A growing ONNX graph, and a Caffe layer as the function sees it that adds its nodes."""
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..layers import Shape

Size = int | str        # a number, or the graph's value of one whole number (int64, no axes) where it is free
ENDS = np.iinfo(np.int64).max       # as the end of a Slice: up to the last


class Value(NamedTuple):
    """A value of the graph.

    Attributes
    ----------
    name : str
        In the graph.
    shape : tuple of int
        Of the example, the size that the prototxt states.
    free : tuple of bool
        For each axis, whether its size changes with that of the images.
    """

    name: str
    shape: Shape
    free: tuple[bool, ...]


class Graph:
    """Nodes and constants in the order in which they are added, with names that are given once."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._values: set[str] = set()
        self._nodes: set[str] = set()
        self._known: dict[Any, str] = {}
        self._kept: list[NDArray[Any]] = []     # so that no other array gets their addresses

    def unique(self, name: str) -> str:
        """A name that no value has yet: `name`, or `name` and a number."""
        return _unique(name, self._values)

    def parameter(self, array: NDArray[Any], name: str) -> str:
        """The name of a constant; the same array again, as shared parameters are, is not stored again."""
        return self._constant(array, (array.__array_interface__['data'][0], array.strides, array.shape), name)

    def constant(self, array: NDArray[Any], name: str) -> str:
        """The name of a small constant; equal ones are stored once."""
        return self._constant(array, (array.tobytes(), array.dtype.str, array.shape), name)

    def _constant(self, array: NDArray[Any], key: Any, name: str) -> str:
        from onnx import numpy_helper
        if key not in self._known:
            self._known[key] = self.unique(name)
            self._kept.append(array)
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape),
                                                          self._known[key]))
        return self._known[key]

    def add(self, kind: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node; the names of its outputs."""
        from onnx import helper
        name = _unique(name, self._nodes)
        tops = [self.unique(f'{name}:{i}') for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), tops, name=name, **attributes))
        return tops

    def call(self, output: str, name: str) -> None:
        """Call the node that makes a value."""
        for node in reversed(self.nodes):
            if output in node.output:
                node.name = _unique(name, self._nodes)
                return

    def rename(self, names: Mapping[str, str]) -> None:
        """Give values other names."""
        for node in self.nodes:
            for slots in (node.input, node.output):
                slots[:] = [names.get(name, name) for name in slots]


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken or not found:
        found, number = f'{name}_{number}', number + 1
    taken.add(found)
    return found


class Layer:
    """A layer of the net, as the function sees it that adds its nodes.

    Attributes
    ----------
    proto : caffe_pb2.LayerParameter
    graph : Graph
    bottoms, tops : list of Value
        The tops' names are those that they will get.
    blobs : list of ndarray
        Its parameters, float32.
    """

    def __init__(self, proto: Any, graph: Graph, bottoms: list[Value], tops: list[Value],
                 blobs: Sequence[NDArray[np.float32]]) -> None:
        self.proto, self.graph, self.bottoms, self.tops, self.blobs = proto, graph, bottoms, tops, list(blobs)

    def add(self, kind: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        """Add a node with one output, whose name it gives; arrays among its inputs become constants."""
        return self.add_many(kind, *inputs, outputs=1, **attributes)[0]

    def add_many(self, kind: str, *inputs: str | NDArray[Any], outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs; their names."""
        stem = f'{self.proto.name}/{kind}'
        names = [entry if isinstance(entry, str) else self.graph.constant(entry, f'{stem}.constant')
                 for entry in inputs]
        return self.graph.add(kind, names, stem, outputs, **attributes)

    def parameter(self, i: int, shape: Sequence[int] | None = None) -> str:
        """Parameter `i` as a constant called after the layer, in another shape if one is given."""
        blob = self.blobs[i] if shape is None else self.blobs[i].reshape(shape)
        return self.graph.parameter(blob, f'{self.proto.name}.{("weight", "bias")[i] if i < 2 else i}')

    # ----------------------------------------------------------------------------------- sizes, where they are free

    def size(self, value: Value, axis: int) -> Size:
        """The size of an axis: a number, or where it is free, the graph's value of it."""
        if not value.free[axis]:
            return value.shape[axis]
        return self.add('Gather', self.add('Shape', value.name), np.array(axis), axis=0)

    def compute(self, kind: str, a: Size, b: Size) -> Size:
        """Add, Sub, Mul, Div (rounded down; of positive numbers) or Min of two sizes."""
        if isinstance(a, int) and isinstance(b, int):
            return {'Add': a + b, 'Sub': a - b, 'Mul': a * b, 'Div': a // max(b, 1), 'Min': min(a, b)}[kind]
        return self.add(kind, *(np.array(n) if isinstance(n, int) else n for n in (a, b)))

    def vector(self, sizes: Sequence[Size]) -> str | NDArray[np.int64]:
        """Sizes as one vector."""
        if all(isinstance(n, int) for n in sizes):
            return np.array(sizes, np.int64)
        parts = [np.array([n]) if isinstance(n, int) else self.add('Unsqueeze', n, np.array([0])) for n in sizes]
        return parts[0] if len(parts) == 1 else self.add('Concat', *parts, axis=0)

    def reshape(self, name: str, top: Value, copied: Sequence[tuple[Value, int] | None]) -> str:
        """Give a value the shape of a top.

        Parameters
        ----------
        name : str
            Of the value, which has as many numbers as `top`.
        top : Value
            Has the shape.
        copied : sequence of (Value, int) or None
            For each axis of `top`, the axis of a value that has its size; None where it is what is left.
        """
        loose = [i for i, free in enumerate(top.free) if free]
        dims: list[Size] = list(top.shape)
        if loose:               # one of them may be what is left
            left = next((i for i in loose if copied[i] is None), loose[0])
            for i in loose:
                source = copied[i]
                dims[i] = -1 if i == left or source is None else self.size(*source)
        return self.add('Reshape', name, self.vector(dims))


Operator = Callable[[Layer], 'str | list[str]']     # adds a layer's nodes; the graph's names of its tops


def number(value: float) -> NDArray[np.float32]:
    """A number as a constant."""
    return np.array(value, np.float32)
