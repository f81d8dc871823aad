"""InnerProduct and Embed."""
import math

from ..layers.axes import canonical
from .graph import Layer, Operator, Value


def _inner_product(layer: Layer) -> str:
    p, bottom = layer.proto.inner_product_param, layer.bottoms[0]
    axis = canonical(p.axis, bottom.shape)
    if axis == 1:
        flat = layer.add('Flatten', bottom.name, axis=1) if len(bottom.shape) != 2 else bottom.name
        return layer.add('Gemm', flat, *(layer.parameter(i) for i in range(len(layer.blobs))),
                         transB=int(not p.transpose))
    rows = bottom.name
    if len(bottom.shape) != axis + 1:
        matrix = Value('', (*bottom.shape[:axis], math.prod(bottom.shape[axis:])), (*bottom.free[:axis], False))
        rows = layer.reshape(bottom.name, matrix, [*((bottom, i) for i in range(axis)), None])
    if not p.transpose:
        layer.blobs[0] = layer.blobs[0].T
    top = layer.add('MatMul', rows, layer.parameter(0))
    return layer.add('Add', top, layer.parameter(1)) if len(layer.blobs) > 1 else top


def _embed(layer: Layer) -> str:
    top = layer.add('Gather', layer.parameter(0), layer.add('Cast', layer.bottoms[0].name, to=7), axis=0)
    return layer.add('Add', top, layer.parameter(1)) if len(layer.blobs) > 1 else top


OPERATORS: dict[str, Operator] = {'InnerProduct': _inner_product, 'Embed': _embed}
