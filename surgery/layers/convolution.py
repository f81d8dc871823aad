"""Convolution and Deconvolution: the same parameters read two ways."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli import BadInput

from ..caffemodel import by
from .axes import Pair, Shape
from .field import Fields, slide, spread
from .record import MANY, Change, Converted, DenseBlob, LayerType, always
from .rules import need_maps, same_on_maps
from .window import Window, conv_window, convolved, deconvolved, set_kernel


def _convolution_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    w, p = _checked(layer, bottoms), layer.convolution_param
    return _tops_and_params(layer, bottoms, w, convolved(w, bottoms[0][2:]),
                            (p.num_output, bottoms[0][1] // p.group))


def _deconvolution_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    w, p = _checked(layer, bottoms), layer.convolution_param
    return _tops_and_params(layer, bottoms, w, deconvolved(w, bottoms[0][2:]),
                            (bottoms[0][1], p.num_output // p.group))


def _checked(layer: Any, bottoms: list[Shape]) -> Window:
    """The window of a layer whose bottoms and groups go together."""
    p = layer.convolution_param
    if p.axis not in (1, -3):
        raise BadInput(f'convolves along axis {p.axis}; only images, axis 1, are known here')
    w, channels = conv_window(layer, bottoms[0]), bottoms[0][1]
    if any(shape != bottoms[0] for shape in bottoms):
        raise BadInput('its bottoms differ in shape')
    if p.num_output < 1 or p.group < 1 or channels % p.group or p.num_output % p.group:
        raise BadInput(f'{channels} channels and {p.num_output} outputs in {p.group} groups')
    return w


def _tops_and_params(layer: Any, bottoms: list[Shape], w: Window, size: Pair,
                     filters: Pair) -> tuple[list[Shape], list[Shape]]:
    p = layer.convolution_param
    if min(size) < 1:
        raise BadInput(f'its window, {by(w.extent)} with pad {by(w.pad)}, does not fit its bottom, {by(bottoms[0])}')
    params: list[Shape] = [(*filters, *w.kernel)] + ([(p.num_output,)] if p.bias_term else [])
    return [(bottoms[0][0], p.num_output, *size)] * len(bottoms), params


def _convolution_coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    w = conv_window(layer, bottoms[0])
    return [(slide(y, w.extent[0], w.stride[0], w.pad[0]), slide(x, w.extent[1], w.stride[1], w.pad[1]))
            for y, x in seen]


def _deconvolution_coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    w = conv_window(layer, bottoms[0])
    return [(spread(y, w.extent[0], w.stride[0], w.pad[0]), spread(x, w.extent[1], w.stride[1], w.pad[1]))
            for y, x in seen]


def _convolution_dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    """Unchanged on maps; a 1x1 convolution of a flattened map, an inner product, gets the map's size as kernel."""
    bottom, p = bottoms[0], layer.convolution_param
    if len(bottoms) == 1 and bottom.old != bottom.new and bottom.old[2:] == (1, 1) and p.group == 1:
        w = conv_window(layer, bottom.old)
        if w.kernel == (1, 1) and w.pad == (0, 0):
            for field in ('kernel_size', 'kernel_h', 'kernel_w', 'stride', 'stride_h', 'stride_w'):
                p.ClearField(field)
            set_kernel(p, bottom.new[2:])
            return Converted(tops, Change(layer.name, f'1x1 over a flattened map, kernel now {by(bottom.new[2:])}'))
    need_maps(bottoms)
    return Converted()


def _channels(layer: Any, blobs: Sequence[NDArray[np.float32]], pixels: int) -> int:
    return int(blobs[0].shape[1] * layer.convolution_param.group)


TYPES = [
    LayerType('Convolution', _convolution_shapes, _convolution_coordinates, _convolution_dense, bottoms=(1, MANY),
              overwritable=always, channels=_channels),
    LayerType('Deconvolution', _deconvolution_shapes, _deconvolution_coordinates, same_on_maps, bottoms=(1, MANY)),
]
