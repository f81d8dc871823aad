"""Where a net begins and ends: inputs, data layers, losses and scores. Surgery puts Input layers in place of data."""
from typing import Any

from cli import BadInput

from .axes import Shape
from .field import PIXEL, Fields
from .record import Converted, DenseBlob, LayerType

DATA = ('Data', 'ImageData', 'HDF5Data', 'MemoryData', 'WindowData', 'DummyData')
ENDS = ('Accuracy', 'ContrastiveLoss', 'EuclideanLoss', 'HDF5Output', 'HingeLoss', 'InfogainLoss',
        'MultinomialLogisticLoss', 'SigmoidCrossEntropyLoss', 'Silence', 'SoftmaxWithLoss')


def _input_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    """As the layer states them, once for all tops or for each."""
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) == 1:
        shapes *= len(layer.top)
    if len(shapes) != len(layer.top):
        raise BadInput(f'{len(layer.top)} tops but {len(shapes)} shapes')
    return shapes, []


def _input_coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    return [(PIXEL, PIXEL)] * len(layer.top)


def _input_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    return Converted()


TYPES = [
    LayerType('Input', _input_shapes, _input_coordinates, _input_dense, bottoms=(0, 0), source=True),
    *(LayerType(name, refused='feeds the net from elsewhere', source=True) for name in DATA),
    *(LayerType(name, refused='is of no use without labels', end=True) for name in ENDS),
]
