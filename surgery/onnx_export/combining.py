"""Layers that join blobs or cut them: Concat, Slice, Eltwise, Crop."""
import numpy as np

from ..layers.axes import canonical
from .graph import ENDS, Layer, Operator, number


def _concat(layer: Layer) -> str:
    p, bottoms = layer.proto.concat_param, layer.bottoms
    axis = canonical(p.concat_dim if p.HasField('concat_dim') else p.axis, bottoms[0].shape)
    return layer.add('Concat', *(bottom.name for bottom in bottoms), axis=axis)


def _slice(layer: Layer) -> list[str]:
    p, bottom, n = layer.proto.slice_param, layer.bottoms[0], len(layer.tops)
    axis = canonical(p.slice_dim if p.HasField('slice_dim') else p.axis, bottom.shape)
    if n == 1:
        return [bottom.name]
    if not p.slice_point and bottom.free[axis]:
        return layer.add_many('Split', bottom.name, outputs=n, axis=axis)
    points = list(p.slice_point) or [bottom.shape[axis] // n * i for i in range(1, n)]
    return [layer.add('Slice', bottom.name, np.array([start]), np.array([end]), np.array([axis]))
            for start, end in zip([0, *points], [*points, ENDS], strict=True)]


def _eltwise(layer: Layer) -> str:
    p = layer.proto.eltwise_param
    names = [bottom.name for bottom in layer.bottoms]
    for i, factor in enumerate(p.coeff):
        if factor != 1:
            names[i] = layer.add('Mul', names[i], number(factor))
    if p.operation == p.MAX:
        return layer.add('Max', *names)
    top = names[0]
    for name in names[1:]:
        top = layer.add('Mul' if p.operation == p.PROD else 'Add', top, name)
    return top


def _crop(layer: Layer) -> str:
    """A Slice that ends where the second bottom would, at its size of the moment."""
    p, (bottom, like) = layer.proto.crop_param, layer.bottoms
    axis = canonical(p.axis, bottom.shape)
    axes = np.arange(axis, len(bottom.shape))
    offsets = np.array(list(p.offset) or [0]) * np.ones_like(axes)
    if any(like.free[axis:]):
        sizes = layer.add('Gather', layer.add('Shape', like.name), axes, axis=0)
        ends: str | np.ndarray = layer.add('Add', sizes, offsets)
    else:
        ends = offsets + np.array(like.shape[axis:])
    return layer.add('Slice', bottom.name, offsets, ends, axes)


OPERATORS: dict[str, Operator] = {'Concat': _concat, 'Slice': _slice, 'Eltwise': _eltwise, 'Crop': _crop}
