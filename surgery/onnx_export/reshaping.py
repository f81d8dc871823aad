"""Layers that give numbers another shape, repeat them, or add them up: Flatten, Reshape, Tile, Reduction."""
import numpy as np

from ..layers.axes import canonical
from .graph import Layer, Operator, number


def _flatten(layer: Layer) -> str:
    p, bottom = layer.proto.flatten_param, layer.bottoms[0]
    start, stop = canonical(p.axis, bottom.shape), canonical(p.end_axis, bottom.shape) + 1
    if start == 1 and stop == len(bottom.shape):
        return layer.add('Flatten', bottom.name, axis=1)
    return layer.reshape(bottom.name, layer.tops[0], [*((bottom, i) for i in range(start)), None,
                                                      *((bottom, i) for i in range(stop, len(bottom.shape)))])


def _reshape(layer: Layer) -> str:
    p, bottom = layer.proto.reshape_param, layer.bottoms[0]
    rank = len(bottom.shape)
    start = p.axis if p.axis >= 0 else rank + p.axis + 1
    stop = rank if p.num_axes == -1 else start + p.num_axes
    middle = [(bottom, start + i) if d == 0 else None for i, d in enumerate(p.shape.dim)]
    return layer.reshape(bottom.name, layer.tops[0], [*((bottom, i) for i in range(start)), *middle,
                                                      *((bottom, i) for i in range(stop, rank))])


def _tile(layer: Layer) -> str:
    p, bottom = layer.proto.tile_param, layer.bottoms[0]
    repeats = np.ones(len(bottom.shape), np.int64)
    repeats[canonical(p.axis, bottom.shape)] = p.tiles
    return layer.add('Tile', bottom.name, repeats)


def _reduction(layer: Layer) -> str:
    p, bottom = layer.proto.reduction_param, layer.bottoms[0]
    axes = list(range(canonical(p.axis, bottom.shape), len(bottom.shape)))
    if p.operation in (p.SUM, p.ASUM):      # some engines keep the axes in ReduceL1
        numbers = layer.add('Abs', bottom.name) if p.operation == p.ASUM else bottom.name
        top = layer.add('ReduceSum', numbers, np.array(axes), keepdims=0)
    else:
        kind = 'ReduceMean' if p.operation == p.MEAN else 'ReduceSumSquare'
        top = layer.add(kind, bottom.name, axes=axes, keepdims=0)
    return layer.add('Mul', top, number(p.coeff)) if p.coeff != 1 else top


OPERATORS: dict[str, Operator] = {'Flatten': _flatten, 'Reshape': _reshape, 'Tile': _tile, 'Reduction': _reduction}
