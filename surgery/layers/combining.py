"""Layers that join blobs or cut them: Concat, Slice, Eltwise, Crop."""
import math
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .axes import Shape, canonical
from .field import Fields, shift
from .record import MANY, Converted, DenseBlob, LayerType, always
from .rules import need_maps, same_coordinates

# ----------------------------------------------------------------------------------------------------------- Concat

def _concat_axis(layer: Any, shape: Shape) -> int:
    p = layer.concat_param      # concat_dim is the older way to say it
    return canonical(p.concat_dim if p.HasField('concat_dim') else p.axis, shape)


def _concat_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    axis, first = _concat_axis(layer, bottoms[0]), bottoms[0]
    for shape in bottoms:
        if len(shape) != len(first) or any(a != b for i, (a, b) in enumerate(zip(shape, first, strict=True))
                                           if i != axis):
            raise BadInput(f'cannot join {" and ".join(map(by, bottoms))} along axis {axis}')
    return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1:])], []


def _concat_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    axis = _concat_axis(layer, bottoms[0].old)
    if len({b.new[2:] for b in bottoms}) > 1:
        raise BadInput(f'it joins maps of different sizes, {" and ".join(by(b.new) for b in bottoms)}')
    if axis == 0 and len({b.new[1:] for b in bottoms}) == 1:
        return Converted([(tops[0][0], *bottoms[0].new[1:])])
    if axis != 1 or not (all(b.per_channel for b in bottoms) or all(len(b.old) == 2 for b in bottoms)):
        raise BadInput(f'it joins along axis {axis} of {" and ".join(by(b.old) for b in bottoms)}, not along channels')
    layer.concat_param.ClearField('concat_dim')
    layer.concat_param.axis = 1
    return Converted([(bottoms[0].new[0], sum(b.new[1] for b in bottoms), *bottoms[0].new[2:])])


# ------------------------------------------------------------------------------------------------------------ Slice

def _slice_axis(layer: Any, shape: Shape) -> int:
    p = layer.slice_param       # slice_dim is the older way to say it
    return canonical(p.slice_dim if p.HasField('slice_dim') else p.axis, shape)


def _slice_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    axis, shape, n = _slice_axis(layer, bottoms[0]), bottoms[0], len(layer.top)
    points = list(layer.slice_param.slice_point)
    if points:
        edges = [0, *points, shape[axis]]
        if len(points) != n - 1 or edges != sorted(set(edges)):
            raise BadInput(f'slice points {points} do not cut {shape[axis]} into {n}')
        parts = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    elif shape[axis] % n:
        raise BadInput(f'cannot cut {shape[axis]} into {n} equal parts')
    else:
        parts = [shape[axis] // n] * n
    return [(*shape[:axis], part, *shape[axis + 1:]) for part in parts], []


def _slice_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    bottom, p = bottoms[0], layer.slice_param
    axis = _slice_axis(layer, bottom.old)
    if axis == 0:
        return Converted([(top[0], *bottom.new[1:]) for top in tops])
    pixels = 1 if bottom.per_channel else math.prod(bottom.new[2:])
    parts = [top[1] if len(top) > 1 else 0 for top in tops]
    if axis != 1 or not (bottom.per_channel or len(bottom.old) == 2) or any(part % pixels for part in parts):
        raise BadInput(f'it cuts axis {axis} of {by(bottom.old)}, made of a {by(bottom.new)} map, not between channels')
    points = [point // pixels for point in p.slice_point]
    p.ClearField('slice_dim')
    p.ClearField('slice_point')
    p.slice_point.extend(points)
    p.axis = 1
    return Converted([(bottom.new[0], part // pixels, *bottom.new[2:]) for part in parts])


# ---------------------------------------------------------------------------------------------------------- Eltwise

def _eltwise_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    if any(shape != bottoms[0] for shape in bottoms):
        raise BadInput(f'its bottoms differ: {" and ".join(map(by, bottoms))}')
    p = layer.eltwise_param
    if len(p.coeff) not in (0, len(bottoms)) or len(p.coeff) and p.operation != p.SUM:
        raise BadInput(f'{len(p.coeff)} coefficients for {len(bottoms)} bottoms')
    return [bottoms[0]], []


def _eltwise_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    if len({b.new for b in bottoms}) > 1:
        raise BadInput(f'its bottoms come from maps of different sizes, {" and ".join(by(b.new) for b in bottoms)}')
    return Converted([bottoms[0].new])


def _is_sum(layer: Any) -> bool:
    return bool(layer.eltwise_param.operation == layer.eltwise_param.SUM)


# ------------------------------------------------------------------------------------------------------------- Crop

def _crop_offsets(layer: Any, shape: Shape) -> tuple[int, list[int]]:
    """The first axis that a Crop cuts, and its offset along that and each later one."""
    p = layer.crop_param
    axis = canonical(p.axis, shape)
    offsets = list(p.offset) or [0]
    if len(offsets) == 1:
        offsets *= len(shape) - axis
    if len(offsets) != len(shape) - axis:
        raise BadInput(f'{len(offsets)} offsets for {len(shape) - axis} axes')
    return axis, offsets


def _crop_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    shape, like = bottoms
    axis, offsets = _crop_offsets(layer, shape)
    if len(shape) != len(like):
        raise BadInput(f'its bottoms differ in axes: {by(shape)} and {by(like)}')
    for i, offset in enumerate(offsets, axis):
        if offset < 0 or offset + like[i] > shape[i]:
            raise BadInput(f'{by(like)} from offset {offset} does not fit into {by(shape)}')
    return [(*shape[:axis], *like[axis:])], []


def _crop_coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    """Those of the first bottom without the positions cut off; the second only says how large the top is."""
    axis, offsets = _crop_offsets(layer, bottoms[0])
    y, x = (shift(f, offsets[i - axis] if i >= axis else 0) for i, f in zip((2, 3), seen[0], strict=True))
    return [(y, x)]


def _crop_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    need_maps(bottoms)
    if _crop_offsets(layer, bottoms[0].old)[0] < 2:
        raise BadInput('it crops channels')
    return Converted()


TYPES = [
    LayerType('Concat', _concat_shapes, same_coordinates, _concat_dense, bottoms=(1, MANY), pixelwise=True,
              overwritable=always),
    LayerType('Slice', _slice_shapes, same_coordinates, _slice_dense, pixelwise=True),
    LayerType('Eltwise', _eltwise_shapes, same_coordinates, _eltwise_dense, bottoms=(2, MANY), pixelwise=True,
              overwritable=_is_sum),
    LayerType('Crop', _crop_shapes, _crop_coordinates, _crop_dense, bottoms=(2, 2)),
]
