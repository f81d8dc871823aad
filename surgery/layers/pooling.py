"""Pooling."""
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .axes import Shape
from .field import Fields, slide
from .record import Change, Converted, DenseBlob, LayerType
from .rules import need_maps
from .window import pooled, pooling_window


def _shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    w, p = pooling_window(layer, bottoms[0]), layer.pooling_param
    size = pooled(w, bottoms[0][2:], floor=p.round_mode == p.FLOOR)
    if min(size) < 1:
        raise BadInput(f'its window, {by(w.kernel)}, does not fit its bottom, {by(bottoms[0])}')
    return [(*bottoms[0][:2], *size)] * len(layer.top), []      # a second top tells where the maxima were


def _coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    w, (y, x) = pooling_window(layer, bottoms[0]), seen[0]
    return [(slide(y, w.kernel[0], w.stride[0], w.pad[0]),
             slide(x, w.kernel[1], w.stride[1], w.pad[1]))] * len(layer.top)


def _dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    """Unchanged, but for pooling over the whole map: it becomes a window of the map's size at stride 1."""
    need_maps(bottoms)
    p = layer.pooling_param
    w, size = pooling_window(layer, bottoms[0].new), bottoms[0].new[2:]
    if tops[0][2:] != (1, 1) or not all(k - d >= n for k, d, n in zip(w.kernel, w.pad, size, strict=True)):
        return Converted()
    if w.kernel == size and w.stride == (1, 1) and w.pad == (0, 0) and not p.global_pooling:
        return Converted()
    if len(layer.top) > 1:
        raise BadInput('it tells where in the whole map the maximum was')
    if any(w.pad) and p.pool != p.MAX:
        raise BadInput(f'it averages over the whole {by(size)} map and its padding')
    was = 'global' if p.global_pooling else f'{by(w.kernel)} window, stride {by(w.stride)}'
    method = p.pool
    p.Clear()
    p.pool, p.stride = method, 1
    if size[0] == size[1]:
        p.kernel_size = size[0]
    else:
        p.kernel_h, p.kernel_w = size
    return Converted(None, Change(layer.name, f'pooling over the whole map ({was}) to a {by(size)} window, stride 1'))


TYPES = [LayerType('Pooling', _shapes, _coordinates, _dense, follows_scores=True)]
