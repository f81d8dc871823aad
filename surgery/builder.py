"""Build a Caffe net layer by layer, with its parameters, as importers need it."""
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from .caffemodel import Weights
from .shapes import Shape, infer

IN_PLACE = ('ReLU', 'Dropout', 'BatchNorm', 'Scale', 'Bias', 'PReLU', 'Clip', 'ELU')
OVERWRITTEN = ('Convolution', 'InnerProduct', 'BatchNorm', 'Scale', 'Bias', 'Eltwise', 'Concat')   # by the next layer
RANGES = {                                  # what a model takes instead of pixels p: (p * scale - mean) / deviation
    'imagenet': (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'unit': (1 / 255, (0.0,), (1.0,)),
    'symmetric': (1 / 255, (0.5,), (0.5,)),
    'raw': (1.0, (0.0,), (1.0,)),
}


class InputForm(NamedTuple):
    """How to make a net's input of pixels from 0 to 255: subtract the mean; 3 channels are blue, green, red."""

    mean: tuple[float, ...]
    order: str


class Builder:
    """A growing net: `add` layers, then take `net` and `weights`."""

    def __init__(self, name: str, shape: Shape) -> None:
        from caffe.proto import caffe_pb2
        self.net = caffe_pb2.NetParameter(name=name)
        self.weights: Weights = {}
        self.shapes: dict[str, Shape] = {'data': shape}
        self._names = {'data'}
        self.net.layer.add(name='data', type='Input', top=['data']).input_param.shape.add(dim=shape)

    def add(self, kind: str, name: str, bottoms: Sequence[str], blobs: Sequence[np.ndarray] = (), **params: Any) -> str:
        """Add a layer with one top, of its own name; `params` are fields of its parameter message.

        Returns
        -------
        str
            The top.
        """
        name = self._unique(name)
        layer = self.net.layer.add(name=name, type=kind, bottom=list(bottoms), top=[name])
        message = {'Convolution': 'convolution_param', 'InnerProduct': 'inner_product_param'}.get(
            kind, f'{kind.lower()}_param' if kind != 'BatchNorm' else 'batch_norm_param')
        for field, value in params.items():
            target = getattr(layer, message)
            if field == 'shape':
                target.shape.dim.extend(value)
            elif isinstance(value, list | tuple):
                getattr(target, field).extend(value)
            elif value is not None:
                setattr(target, field, value)
        if blobs:
            self.weights[name] = [np.ascontiguousarray(blob, np.float32) for blob in blobs]
        self.shapes[name] = self._shape(layer)
        return name

    def _unique(self, name: str) -> str:
        name = re.sub(r'[^\w.\-]+', '_', name).strip('_') or 'layer'
        base, number = name, 2
        while name in self._names:
            name, number = f'{base}_{number}', number + 1
        self._names.add(name)
        return name

    def _shape(self, layer: Any) -> Shape:
        from .shapes import layer_shapes
        try:
            tops, params = layer_shapes(layer, [self.shapes[name] for name in layer.bottom], {})
        except BadInput as problem:
            raise BadInput(f'layer {layer.name} ({layer.type}): {problem}') from None
        given = [blob.shape for blob in self.weights.get(layer.name, ())]
        if given != params:
            raise BadInput(f'layer {layer.name} ({layer.type}): parameters {given}, where it takes {params}')
        return tops[0]

    def layer(self, name: str) -> Any:
        """The layer that makes a blob."""
        return next(layer for layer in self.net.layer if layer.top[0] == name)

    def finish(self, outputs: Sequence[str]) -> list[str]:
        """Name the layers as Caffe users do, run them in place where they can, and check that all fits together.

        Returns
        -------
        list of str
            What the outputs are called now.
        """
        new = _name(self) if _sequence(self.net) else {}
        names = [new.get(name, name) for name in outputs]
        now = _in_place(self.net, names)
        infer(self.net)
        return [now.get(name, name) for name in names]


# -------------------------------------------------------------------------------------------------------- input

def fold_input(builder: Builder, input_range: str, order: str) -> InputForm:
    """Make a net that takes what its author's did take blue, green, red pixels less a mean.

    Only channel order and scale go into the first convolutions. The mean is left to be subtracted, so that padding with
    zeros remains padding with the mean, and the result exact.
    """
    scale, mean, deviation = RANGES[input_range]
    channels = builder.shapes['data'][1]
    if len(mean) not in (1, channels):
        raise BadInput(f'the model takes {channels} channels, "{input_range}" has a mean for {len(mean)}')
    swap = channels == 3 and order == 'rgb'
    factors = np.broadcast_to(np.float64(scale) / np.array(deviation), channels)
    means = np.broadcast_to(np.array(mean) / scale, channels)
    if swap or (factors != 1).any():
        readers = [layer for layer in builder.net.layer if 'data' in layer.bottom]
        if all(layer.type == 'Convolution' and layer.convolution_param.group == 1 for layer in readers):
            for layer in readers:
                blobs = builder.weights[layer.name]
                blob = blobs[0] * factors.reshape(1, -1, 1, 1)
                blobs[0] = np.ascontiguousarray(blob[:, ::-1] if swap else blob, np.float32)
        else:
            _convert_input(builder, np.diag(factors)[:, ::-1] if swap else np.diag(factors), readers)
    ordered = means[::-1] if swap else means
    return InputForm(tuple(round(float(m), 6) for m in ordered), 'bgr' if channels == 3 else 'as is')


def _convert_input(builder: Builder, matrix: np.ndarray, readers: list[Any]) -> None:
    """A 1x1 convolution before everything else, where there is no single convolution to fold it into."""
    layers = [type(layer).FromString(layer.SerializeToString()) for layer in builder.net.layer]
    del builder.net.layer[1:]
    top = builder.add('Convolution', 'input', ['data'], [matrix[:, :, None, None]], num_output=len(matrix),
                      kernel_size=[1], bias_term=False)
    names = {layer.name for layer in readers}
    for layer in layers[1:]:
        if layer.name in names:
            for i, name in enumerate(layer.bottom):
                if name == 'data':
                    layer.bottom[i] = top
        builder.net.layer.add().CopyFrom(layer)


# -------------------------------------------------------------------------------------------------------- names

def _sequence(net: Any) -> bool:
    """Whether every layer reads the one before it and nothing else."""
    return all(list(layer.bottom) == [before.top[0]] for before, layer in zip(net.layer, net.layer[1:], strict=False))


def _name(builder: Builder) -> dict[str, str]:
    """`conv1_1`, `fc6` and so on, for a net without branches; others keep the names of their own file."""
    net, new = builder.net, {'data': 'data'}
    convs = [layer for layer in net.layer if layer.type == 'Convolution' and layer.name != 'input']
    stages = _stages(net)
    blocks = len(convs) > 1 and max(map(len, stages), default=0) > 1 and all(
        list(layer.convolution_param.kernel_size) == [3] for layer in convs)
    number, place, tag = 0, 0, ''
    taken: set[str] = set()
    for layer in net.layer[1:]:
        if layer.name == 'input':
            name = 'input'
        elif layer.type in ('Convolution', 'InnerProduct'):
            if layer.type == 'Convolution' and blocks:
                number, place = (number, place + 1) if place else (number + 1, 1)
                tag = f'{number}_{place}'
            else:
                number, place = number + 1, 0
                tag = str(number)
            name = ('conv' if layer.type == 'Convolution' else 'fc') + tag
        else:
            if layer.type == 'Pooling':
                place, tag = 0, str(number)
            stem = {'ReLU': 'relu', 'Pooling': 'pool', 'Dropout': 'drop', 'LRN': 'norm', 'BatchNorm': 'bn',
                    'Scale': 'scale', 'Softmax': 'prob'}.get(layer.type, layer.type.lower())
            name = stem + ('' if stem == 'prob' else tag)
        while name in taken:
            name += '_'
        taken.add(name)
        new[layer.name] = name
    for layer in net.layer:
        layer.name = new[layer.name]
        layer.top[0] = layer.name
        if layer.bottom:
            layer.bottom[0] = new[layer.bottom[0]]
    builder.weights = {new[name]: blobs for name, blobs in builder.weights.items()}
    return new


def _stages(net: Any) -> list[list[str]]:
    stages: list[list[str]] = [[]]
    for layer in net.layer:
        if layer.type == 'Convolution' and layer.name != 'input':
            stages[-1].append(layer.name)
        elif layer.type == 'Pooling':
            stages.append([])
    return stages


def _in_place(net: Any, outputs: Sequence[str]) -> dict[str, str]:
    """Let layers overwrite their bottom where nobody else reads it and no gradient needs it; blobs with a new name."""
    readers = {name: outputs.count(name) for layer in net.layer for name in layer.top}
    for layer in net.layer:
        for name in layer.bottom:
            readers[name] += 1
    now: dict[str, str] = {}
    writer: dict[str, str] = {}
    for layer in net.layer:
        original, bottoms = list(layer.bottom), [now.get(name, name) for name in layer.bottom]
        if layer.type in IN_PLACE and len(bottoms) == 1 and readers[original[0]] == 1 and (
                writer[bottoms[0]] in OVERWRITTEN or (layer.type, writer[bottoms[0]]) == ('Dropout', 'ReLU')):
            now[layer.top[0]] = bottoms[0]
            layer.top[0] = bottoms[0]
        for i, name in enumerate(bottoms):
            layer.bottom[i] = name
        writer[layer.top[0]] = 'Product' if layer.type == 'Eltwise' and layer.eltwise_param.operation != 1 \
            else layer.type
    return now
