"""Layers that treat each number by its channel's parameters, or by another bottom's: BatchNorm, PReLU, Scale, Bias."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli import BadInput

from ..caffemodel import by
from .axes import Shape, canonical
from .record import Converted, DenseBlob, LayerType, always
from .rules import same_coordinates


def _batch_norm_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    channels = bottoms[0][1] if len(bottoms[0]) > 1 else 1
    return [bottoms[0]], [(channels,), (channels,), (1,)]


def _prelu_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    if len(bottoms[0]) < 2:
        raise BadInput(f'its bottom is {by(bottoms[0])}')
    return [bottoms[0]], [() if layer.prelu_param.channel_shared else (bottoms[0][1],)]


def _scale_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    return _factor_shapes(layer.scale_param, layer.scale_param.bias_term, bottoms)


def _bias_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    return _factor_shapes(layer.bias_param, False, bottoms)


def _factor_shapes(p: Any, bias: bool, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    """Shapes of a layer that applies a parameter, or its second bottom, along some axes of the first."""
    shape = bottoms[0]
    if len(bottoms) == 2:
        axis = 0 if not len(bottoms[1]) else canonical(p.axis, shape)
        if shape[axis:axis + len(bottoms[1])] != bottoms[1]:
            raise BadInput(f'{by(bottoms[1])} does not fit {by(shape)} from axis {axis}')
        return [shape], [bottoms[1]] if bias else []
    axis = canonical(p.axis, shape)
    stop = len(shape) if p.num_axes == -1 else axis + p.num_axes
    if p.num_axes < -1 or stop > len(shape):
        raise BadInput(f'takes more axes than its bottom, {by(shape)}, has')
    return [shape], [shape[axis:stop]] * (1 + bias)


def _batch_norm_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    p = layer.batch_norm_param
    if p.HasField('use_global_stats') and not p.use_global_stats:
        raise BadInput('it normalises by statistics of the batch (use_global_stats: false)')
    _need_channels(bottoms[0])
    return Converted([bottoms[0].new])


def _prelu_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    if not layer.prelu_param.channel_shared:
        _need_channels(bottoms[0])
    return Converted([bottoms[0].new])


def _scale_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    return _factor_dense(layer.scale_param, bottoms)


def _bias_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    return _factor_dense(layer.bias_param, bottoms)


def _factor_dense(p: Any, bottoms: list[DenseBlob]) -> Converted:
    bottom = bottoms[0]
    if len(bottoms) == 2:
        if canonical(p.axis, bottom.old) == 0 and bottoms[1].new == bottom.new:
            return Converted([bottom.new])
        raise BadInput(f'it applies {by(bottoms[1].old)} numbers made of the whole image to each position (squeeze and '
                       'excitation), and a position of a dense net has no whole image; take a net without it')
    axis = canonical(p.axis, bottom.old)
    count = len(bottom.old) - axis if p.num_axes == -1 else p.num_axes
    if count == 0:
        return Converted([bottom.new])
    _need_channels(bottom)
    if axis != 1 or (count > 1 and bottom.new[2:] != (1, 1)):
        raise BadInput(f'it has a parameter for each position of its {by(bottom.old)} bottom')
    p.axis, p.num_axes = 1, 1
    return Converted([bottom.new])


def _need_channels(bottom: DenseBlob) -> None:
    if not bottom.per_channel:
        raise BadInput(f'it works on {by(bottom.old)}, a flattened {by(bottom.new)} map, so it has a parameter for '
                       'each of its positions')


def _channels(layer: Any, blobs: Sequence[NDArray[np.float32]], pixels: int) -> int:
    return blobs[0].size


TYPES = [
    LayerType('BatchNorm', _batch_norm_shapes, same_coordinates, _batch_norm_dense, pixelwise=True,
              follows_scores=True, in_place=True, overwritable=always, channels=_channels),
    LayerType('Scale', _scale_shapes, same_coordinates, _scale_dense, bottoms=(1, 2), pixelwise=True,
              follows_scores=True, in_place=True, overwritable=always, channels=_channels),
    LayerType('Bias', _bias_shapes, same_coordinates, _bias_dense, bottoms=(1, 2), pixelwise=True,
              follows_scores=True, in_place=True, overwritable=always, channels=_channels),
    LayerType('PReLU', _prelu_shapes, same_coordinates, _prelu_dense, pixelwise=True, follows_scores=True,
              in_place=True),
]
