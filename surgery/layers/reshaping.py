"""Layers that only rename numbers: Flatten, Reshape, Split. They go from a dense net."""
import math
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .axes import Shape, canonical
from .record import Alias, DenseBlob, LayerType
from .rules import same_coordinates


def _flatten_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.flatten_param, bottoms[0]
    start, stop = canonical(p.axis, shape), canonical(p.end_axis, shape) + 1
    if start >= stop:
        raise BadInput(f'flattens no axis of {by(shape)}')
    return [(*shape[:start], math.prod(shape[start:stop]), *shape[stop:])], []


def _reshape_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.reshape_param, bottoms[0]
    start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    stop = len(shape) if p.num_axes == -1 else start + p.num_axes
    if not 0 <= start <= stop <= len(shape):
        raise BadInput(f'its axes are not those of its bottom, {by(shape)}')
    middle = _dims(list(p.shape.dim), shape, start, stop)
    if math.prod(middle) != math.prod(shape[start:stop]):
        raise BadInput(f'cannot make {by([*shape[:start], *p.shape.dim, *shape[stop:]])} of {by(shape)}')
    return [(*shape[:start], *middle, *shape[stop:])], []


def _dims(dims: list[int], shape: Shape, start: int, stop: int) -> list[int]:
    """The dims of a Reshape in place of the axes from `start` to `stop`: 0 copies an axis, -1 takes what is left."""
    out = []
    for i, d in enumerate(dims):
        if d == 0 and start + i >= len(shape):
            raise BadInput(f'dim 0 copies an axis that its bottom, {by(shape)}, has not')
        out.append(shape[start + i] if d == 0 else d)
    if out.count(-1) > 1 or any(d < -1 for d in out):
        raise BadInput('impossible dims')
    rest, inside = math.prod(d for d in out if d != -1), math.prod(shape[start:stop])
    if -1 in out and rest and inside % rest == 0:
        out[out.index(-1)] = inside // rest
    return out


def _split_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    return [bottoms[0]] * len(layer.top), []


def _renaming_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Alias:
    if tops[0][:1] != bottoms[0].old[:1]:
        raise BadInput(f'it moves images into another axis: {by(bottoms[0].old)} to {by(tops[0])}')
    return Alias(f'{layer.type} removed')


def _split_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Alias:
    return Alias('Split removed: Caffe adds its own')


TYPES = [
    LayerType('Flatten', _flatten_shapes, same_coordinates, _renaming_dense),
    LayerType('Reshape', _reshape_shapes, same_coordinates, _renaming_dense),
    LayerType('Split', _split_shapes, same_coordinates, _split_dense),
]
