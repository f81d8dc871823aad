"""Layers that compare the channels of a position: LRN, Softmax, ArgMax."""
import math
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .axes import Shape, canonical, need_image_map
from .field import Fields, slide
from .record import Converted, DenseBlob, LayerType
from .rules import same_coordinates, same_on_maps


def _lrn_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    if layer.lrn_param.local_size % 2 == 0:
        raise BadInput('its local_size must be odd')
    need_image_map(bottoms[0])
    return [bottoms[0]], []


def _lrn_coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    p, (y, x) = layer.lrn_param, seen[0]
    if p.norm_region != p.WITHIN_CHANNEL:
        return [(y, x)]
    n = p.local_size                # it looks at neighbours in the channel's own map instead
    return [(slide(y, n, 1, n // 2), slide(x, n, 1, n // 2))]


def _softmax_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    canonical(layer.softmax_param.axis, bottoms[0])
    return [bottoms[0]], []


def _softmax_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    bottom = bottoms[0]
    axis = canonical(layer.softmax_param.axis, bottom.old)
    if not (bottom.per_channel and axis == 1 or not bottom.flat and bottom.old[axis] == bottom.new[1] and axis):
        raise BadInput(f'it normalises along axis {layer.softmax_param.axis} of {by(bottom.old)}, made of a '
                       f'{by(bottom.new)} map: more than the channels of one position')
    layer.softmax_param.axis = 1
    return Converted([bottom.new])


def _argmax_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.argmax_param, bottoms[0]
    if p.HasField('axis'):
        axis = canonical(p.axis, shape)
        if not 1 <= p.top_k <= shape[axis]:
            raise BadInput(f'top_k of {p.top_k} for {shape[axis]} classes')
        return [(*shape[:axis], p.top_k, *shape[axis + 1:])], []
    if not 1 <= p.top_k <= math.prod(shape[1:]):
        raise BadInput(f'top_k of {p.top_k} for {by(shape)}')
    return [(shape[0], 2 if p.out_max_val else 1, p.top_k, *[1] * (len(shape) - 3))], []


def _argmax_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    bottom, p = bottoms[0], layer.argmax_param
    whole = not p.HasField('axis')
    if whole and (p.out_max_val or bottom.new[2:] != (1, 1)) or \
            not whole and (canonical(p.axis, bottom.old) != 1 or not bottom.per_channel):
        raise BadInput(f'it looks for the maximum of {by(bottom.old)} in more than the channels of one position')
    p.axis = 1
    return Converted([(bottom.new[0], p.top_k, *bottom.new[2:])])


TYPES = [
    LayerType('LRN', _lrn_shapes, _lrn_coordinates, same_on_maps, pixelwise=True),
    LayerType('Softmax', _softmax_shapes, same_coordinates, _softmax_dense, follows_scores=True),
    LayerType('ArgMax', _argmax_shapes, same_coordinates, _argmax_dense, follows_scores=True),
]
