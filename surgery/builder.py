"""Build a Caffe net layer by layer, with its parameters, as the importers need it."""
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cli import BadInput

from .caffemodel import Weights, by
from .layers import Shape, layer_type
from .naming import is_sequence, name_layers
from .shapes import LARGEST, infer, layer_shapes

SPARE = 2 ** 28         # numbers that a net may take, besides those that its file has
MOST_LAYERS = 10_000

MESSAGES = {'Convolution': 'convolution_param', 'Deconvolution': 'convolution_param',
            'InnerProduct': 'inner_product_param', 'BatchNorm': 'batch_norm_param'}


class Builder:
    """A growing net: `add` layers, `finish`, then take `net` and `weights`.

    Parameters
    ----------
    name : str
        The net's name.
    shape : tuple of int
        N, C, H, W of its input, the blob `data`.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        The layers so far; until `finish` each has one top, of the layer's name.
    weights : dict of str to list of ndarray
        Layer name to its parameters, float32.
    shapes : dict of str to tuple of int
        The blobs, by the names they have until `finish`.
    spare : int
        How many numbers may still be allocated; a file with many raises it first.
    """

    def __init__(self, name: str, shape: Shape) -> None:
        from caffe.proto import caffe_pb2
        if math.prod(shape) >= LARGEST:
            raise BadInput(f'images of {by(shape)}, more numbers than Caffe can count')
        self.spare = SPARE
        self.net: Any = caffe_pb2.NetParameter(name=name)
        self.weights: Weights = {}
        self.shapes: dict[str, Shape] = {'data': shape}
        self._names = {'data'}
        self._numbers: dict[str, int] = {}
        self.net.layer.add(name='data', type='Input', top=['data']).input_param.shape.add(dim=shape)
        self._layers: dict[str, Any] = {'data': self.net.layer[0]}

    def reserve(self, count: int) -> None:
        """Count numbers that are about to be allocated.

        Parameters
        ----------
        count : int
            How many.

        Raises
        ------
        BadInput
            The net would take more memory than its file can ask for.
        """
        self.spare -= count
        if self.spare < 0:
            raise BadInput(f'it takes {count} numbers: with them the model takes many times more than its file has')

    def add(self, kind: str, name: str, bottoms: Sequence[str], blobs: Sequence[np.ndarray] = (), **params: Any) -> str:
        """Add a layer with one top.

        Parameters
        ----------
        kind : str
            The layer's type in Caffe.
        name : str
            What it is called, but for characters that Caffe users avoid, and a number where the name is taken.
        bottoms : sequence of str
            The blobs that it reads.
        blobs : sequence of ndarray
            Its parameters, of the shapes that Caffe gives them.
        **params
            Fields of its parameter message; None leaves a field at its default.

        Returns
        -------
        str
            The top, and the layer's name.

        Raises
        ------
        BadInput
            The layer does not go with its bottoms or its parameters; names it.
        """
        if len(self.net.layer) >= MOST_LAYERS:
            raise BadInput(f'a net of more than {MOST_LAYERS:,} layers')
        name = self._unique(name)
        layer = self.net.layer.add(name=name, type=kind, bottom=list(bottoms), top=[name])
        for field, value in params.items():
            message = getattr(layer, MESSAGES.get(kind, f'{kind.lower()}_param'))
            if field == 'shape':
                message.shape.dim.extend(value)
            elif isinstance(value, list | tuple):
                getattr(message, field).extend(value)
            elif value is not None:
                setattr(message, field, value)
        if blobs:
            self.reserve(sum(blob.size for blob in blobs))
            self.weights[name] = [np.ascontiguousarray(blob, np.float32) for blob in blobs]
        self.shapes[name] = self._shape(layer)
        self._layers[name] = layer
        return name

    def _unique(self, name: str) -> str:
        name = re.sub(r'[^\w.\-]+', '_', name).strip('_') or 'layer'
        base, number = name, self._numbers.get(name, 2)
        while name in self._names:
            name, number = f'{base}_{number}', number + 1
        self._numbers[base] = number
        self._names.add(name)
        return name

    def _shape(self, layer: Any) -> Shape:
        try:
            tops, params = layer_shapes(layer, [self.shapes[name] for name in layer.bottom], {})
        except BadInput as problem:
            raise BadInput(f'layer {layer.name} ({layer.type}): {problem}') from None
        given = [blob.shape for blob in self.weights.get(layer.name, ())]
        if given != params:
            raise BadInput(f'layer {layer.name} ({layer.type}): parameters {given}, where it takes {params}')
        if math.prod(tops[0]) >= LARGEST:
            raise BadInput(f'layer {layer.name} ({layer.type}): its top would be {by(tops[0])}, more numbers than '
                           'Caffe can count')
        return tops[0]

    def add_input(self, name: str, shape: Shape) -> str:
        """Add a further input of a shape; its blob, which is called `name` but for characters that users avoid."""
        if math.prod(shape) >= LARGEST:
            raise BadInput(f'images of {by(shape)}, more numbers than Caffe can count')
        name = self._unique(name)
        layer = self.net.layer.add(name=name, type='Input', top=[name])
        layer.input_param.shape.add(dim=shape)
        self.shapes[name], self._layers[name] = shape, layer
        return name

    def layer(self, name: str) -> Any:
        """The layer that makes a blob."""
        return self._layers[name]

    def finish(self, outputs: Sequence[str]) -> list[str]:
        """Name the layers as Caffe users do, run them in place where they can, and check that all fits together.

        Nets with branches keep the names that their layers have.

        Parameters
        ----------
        outputs : sequence of str
            Blobs that are read from outside.

        Returns
        -------
        list of str
            What the outputs are called now.

        Raises
        ------
        BadInput
            Caffe would refuse the net.
        """
        new = name_layers(self.net) if is_sequence(self.net) else {}
        self.weights = {new.get(name, name): blobs for name, blobs in self.weights.items()}
        names = [new.get(name, name) for name in outputs]
        now = _in_place(self.net, names)
        infer(self.net)
        return [now.get(name, name) for name in names]


def _in_place(net: Any, outputs: Sequence[str]) -> dict[str, str]:
    """Let layers overwrite their bottom where no other reads it and no gradient needs it; blobs with a new name."""
    readers = {name: outputs.count(name) for layer in net.layer for name in layer.top}
    for layer in net.layer:
        for name in layer.bottom:
            readers[name] += 1
    now: dict[str, str] = {}
    writer: dict[str, Any] = {}
    for layer in net.layer:
        original, bottoms = list(layer.bottom), [now.get(name, name) for name in layer.bottom]
        if layer_type(layer.type).in_place and len(bottoms) == 1 and readers[original[0]] == 1 and (
                layer_type(writer[bottoms[0]].type).overwritable(writer[bottoms[0]])
                or (layer.type, writer[bottoms[0]].type) == ('Dropout', 'ReLU')):
            now[layer.top[0]] = bottoms[0]
            layer.top[0] = bottoms[0]
        for i, name in enumerate(bottoms):
            layer.bottom[i] = name
        writer[layer.top[0]] = layer
    return now
