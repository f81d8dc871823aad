"""Layers that compare numbers along an axis: LRN, Softmax, ArgMax."""
import math

import numpy as np

from ..layers.axes import canonical
from .graph import ENDS, Layer, Operator, Value, number


def _lrn(layer: Layer) -> str:
    p, name = layer.proto.lrn_param, layer.bottoms[0].name
    if p.norm_region != p.WITHIN_CHANNEL:
        return layer.add('LRN', name, size=p.local_size, alpha=p.alpha, beta=p.beta, bias=p.k)
    side, pad = [p.local_size] * 2, [p.local_size // 2] * 4       # mean squares of neighbours in the same map
    squares = layer.add('AveragePool', layer.add('Mul', name, name), kernel_shape=side, pads=pad, count_include_pad=1)
    sums = layer.add('Add', layer.add('Mul', squares, number(p.alpha)), number(1))
    return layer.add('Mul', name, layer.add('Pow', sums, number(-p.beta)))


def _softmax(layer: Layer) -> str:
    bottom = layer.bottoms[0]
    return layer.add('Softmax', bottom.name, axis=canonical(layer.proto.softmax_param.axis, bottom.shape))


def _argmax(layer: Layer) -> str:
    p, bottom = layer.proto.argmax_param, layer.bottoms[0]
    if p.HasField('axis'):
        axis = canonical(p.axis, bottom.shape)
        places, values = _largest(layer, bottom.name, axis, bottom.shape[axis], bottom.free[axis], p.top_k)
        return values if p.out_max_val else places
    flat = layer.add('Flatten', bottom.name, axis=1)
    places, values = _largest(layer, flat, 1, math.prod(bottom.shape[1:]), any(bottom.free[1:]), p.top_k)
    found = layer.add('Concat', places, values, axis=1) if p.out_max_val else places
    top = layer.tops[0]
    return layer.reshape(found, Value('', top.shape, (bottom.free[0], *[False] * (len(top.shape) - 1))),
                         [(bottom, 0), *[None] * (len(top.shape) - 1)])


def _largest(layer: Layer, name: str, axis: int, length: int, free: bool, count: int) -> tuple[str, str]:
    """Places and values of the largest numbers along an axis; of equal ones Caffe takes the later one first."""
    if count == 1:
        place = layer.add('ArgMax', name, axis=axis, keepdims=1, select_last_index=1)
        return layer.add('Cast', place, to=1), layer.add('ReduceMax', name, axes=[axis], keepdims=1)
    backward = layer.add('Slice', name, np.array([-1]), np.array([-ENDS]), np.array([axis]), np.array([-1]))
    values, places = layer.add_many('TopK', backward, np.array([count]), outputs=2, axis=axis)
    last = layer.compute('Sub', layer.size(Value(name, (length,) * (axis + 1), (free,) * (axis + 1)), axis), 1)
    place = layer.add('Sub', np.array(last) if isinstance(last, int) else last, places)
    return layer.add('Cast', place, to=1), values


OPERATORS: dict[str, Operator] = {'LRN': _lrn, 'Softmax': _softmax, 'ArgMax': _argmax}
