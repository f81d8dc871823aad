"""What an operator sees of a graph: its node, and the values that the node reads.

Each value of the graph is either known (a constant, or computed from constants and shapes) or lies in a Caffe blob,
N x C x H x W. Transposing and reshaping such a value moves no numbers in the blob: what changes is which of the blob's
axes the value's axes are made of, and that is all that is kept (`Value.axes`). So channels-last exports come out in
Caffe's order, and a flattened map's order goes into the weights of the layer that reads it.
"""
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from ..builder import Builder
from ..caffemodel import by

Axes = tuple[tuple[int, ...], ...]

MAP: Axes = ((0,), (1,), (2,), (3,))            # the axes of a value that is the blob as it is
CHANNELS_LAST: Axes = ((0,), (2,), (3,), (1,))
ELTWISE = {'PROD': 0, 'SUM': 1, 'MAX': 2}       # EltwiseParameter.EltwiseOp


class Cut(NamedTuple):
    """Rows (axis 2) or columns (axis 3) of a map that are kept: from `start` on, as many as the values `likes` have."""

    axis: int
    start: int
    likes: tuple[str, ...]


class Value(NamedTuple):
    """A value of the graph that lies in a blob.

    Attributes
    ----------
    blob : str
        The Caffe blob.
    dims : tuple of int
        The blob's N, C, H, W; with C as two factors while a graph has the channels in two axes.
    axes : tuple of tuple of int
        For each axis of the value, the blob's axes it runs over, slowest first.
    pad : tuple of int
        Zeros around it that no layer has added yet, in pixels: top, left, bottom, right.
    cut : Cut, optional
        What no layer has cut off the blob yet; `dims` are without it.
    """

    blob: str
    dims: tuple[int, ...]
    axes: Axes
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    cut: Cut | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape as the graph has it, without the padding."""
        return tuple(math.prod(self.dims[a] for a in axis) for axis in self.axes)

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """The value's shape as the graph has it, with the padding."""
        more = (*[0] * (len(self.dims) - 2), self.pad[0] + self.pad[2], self.pad[1] + self.pad[3])
        return tuple(math.prod(self.dims[a] + more[a] for a in axis) for axis in self.axes)

    def runs_over(self, axis: int) -> tuple[int, ...]:
        """The blob's axes longer than 1 that an axis of the value runs over."""
        return tuple(a for a in self.axes[axis] if self.dims[a] > 1)

    def longer(self, *axes: int) -> list[int]:
        """Those of some of the blob's axes that are longer than 1."""
        return [a for a in axes if self.dims[a] > 1]


@dataclass
class State:
    """The graph as far as the walk has come.

    Attributes
    ----------
    builder : Builder
        The net that the graph becomes.
    opset : int
        The version of ONNX's operators.
    known : dict of str to ndarray
        Values that do not depend on the image.
    values : dict of str to Value
        Values that do.
    readers : dict of str to int
        How many nodes and outputs of the graph read a value.
    branches : bool
        Whether some node reads more than one value that depends on the image.
    origins : dict of str to tuple of str
        Of what is known, the values whose shapes it was computed from.
    """

    builder: Builder
    opset: int
    known: dict[str, np.ndarray]
    values: dict[str, Value] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    branches: bool = False
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Node:
    """A node of the graph, as its operator sees it.

    Parameters
    ----------
    proto : onnx.NodeProto
        The node.
    state : State
        The graph around it, whose net `add` adds to.
    """

    def __init__(self, proto: Any, state: State) -> None:
        self.proto = proto
        self.state = state
        self.kind: str = proto.op_type
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)

    @property
    def name(self) -> str:
        """The layer's name: that of the node's weights, which tells most, or else the node's own."""
        for name in self.inputs[1:]:
            if name in self.state.known and name.endswith(('.weight', '.bias', '.running_mean')):
                return name.rpartition('.')[0]
        return str(self.proto.name).strip('/') or f'{self.kind.lower()}_{self.outputs[0]}'

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node; `default` where it is not given."""
        return attribute(self.proto, name, default)

    def given(self, i: int) -> bool:
        """Whether the node has an input `i`."""
        return i < len(self.inputs) and bool(self.inputs[i])

    def value(self, i: int = 0) -> Value:
        """Input `i`, which must lie in a blob.

        Raises
        ------
        BadInput
            It is a constant, or its channels are in two axes, which only Reshape and Transpose can take.
        """
        if self.inputs[i] not in self.state.values:
            raise BadInput(f'its input {i} must depend on the image')
        value = self.state.values[self.inputs[i]]
        if len(value.dims) != 4 and self.kind not in ('Reshape', 'Transpose'):
            raise BadInput('its input has its channels in two axes')
        return value

    def array(self, i: int, default: Any = None) -> np.ndarray:
        """Input `i`, which must be known; `default`, if there is one, where it is not given.

        Raises
        ------
        BadInput
            It depends on the image, or is missing.
        """
        if not self.given(i):
            if default is None:
                raise BadInput(f'its input {i} is missing')
            return np.asarray(default)
        if self.inputs[i] not in self.state.known:
            raise BadInput(f'its input {i} depends on the image')
        return self.state.known[self.inputs[i]]

    def map(self, i: int = 0, pad: bool = False) -> Value:
        """Input `i`, which must be an N x C x H x W map in Caffe's order.

        Parameters
        ----------
        i : int
            Which input.
        pad : bool
            Whether the layer adds the padding of `Value.pad`.

        Returns
        -------
        Value
            In a blob of 4 axes.

        Raises
        ------
        BadInput
            Its axes are in another order, or it is padded and `pad` is false.
        """
        value = self.value(i)
        if len(value.axes) != 4 or any(value.runs_over(a) != tuple(value.longer(a)) for a in range(4)):
            raise BadInput(f'its input is {by(value.shape)}, not a map with the channels first')
        if not pad:
            refuse_padding(value)
        if len(self.state.builder.shapes[value.blob]) == 2:           # N x C, after an inner product
            top = self.state.builder.add('Reshape', f'{value.blob}_map', [value.blob], shape=(0, 0, 1, 1))
            return value._replace(blob=top)
        return value

    def add(self, kind: str, bottoms: Sequence[Value], blobs: Sequence[np.ndarray] = (), suffix: str = '',
            axes: Axes | None = None, **params: Any) -> Value:
        """Add a layer for the node.

        Parameters
        ----------
        kind : str
            The layer's type in Caffe.
        bottoms : sequence of Value
            What it reads.
        blobs : sequence of ndarray
            Its parameters.
        suffix : str
            Of its name, after that of the node.
        axes : tuple of tuple of int, optional
            Those of the top; of the first bottom by default.
        **params
            Fields of the layer's parameter message.

        Returns
        -------
        Value
            Its top.

        Raises
        ------
        BadInput
            Caffe would refuse the layer; or a bottom is padded, and it is neither a convolution nor a pooling.
        """
        if kind not in ('Convolution', 'Pooling'):
            refuse_padding(*bottoms)
        builder = self.state.builder
        top = builder.add(kind, self.name + suffix, [v.blob for v in bottoms], blobs, **params)
        shape = builder.shapes[top]
        return Value(top, (*shape, *[1] * (4 - len(shape))), bottoms[0].axes if axes is None else axes)


Operator = Callable[[Node], 'Value | list[Value]']      # adds a node's layers; the node's outputs


def refuse_padding(*values: Value) -> None:
    """Raise BadInput where a value has padding that no layer has added yet."""
    if any(any(value.pad) for value in values):
        raise BadInput('its input is padded (Pad), which only convolutions and poolings can do')


def attribute(proto: Any, name: str, default: Any) -> Any:
    """An attribute of an `onnx.NodeProto`, text as str; `default` where it is not given."""
    from onnx import helper
    for entry in proto.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode(errors='replace') if isinstance(value, bytes) else value
    return default
