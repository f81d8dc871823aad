"""Layers whose tops are known and that have no equivalent at every image size: MVN, SPP, Reduction, Tile, Embed."""
import math
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .axes import Shape, canonical, need_image_map
from .record import LayerType
from .window import LARGEST, Window


def _mvn_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    """One top of 4 axes."""
    shape = bottoms[0]
    if len(shape) > 4:
        raise BadInput(f'its bottom is {by(shape)}, it takes 4 axes at most')
    return [(*shape, *[1] * (4 - len(shape)))], []


# -------------------------------------------------------------------------------------------------------------- SPP

def pyramid(layer: Any, bottom: Shape) -> list[Window]:
    """The windows with which an SPP layer pools a map: 1 x 1 of them, then 2 x 2, 4 x 4, ...

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
        With an `spp_param`.
    bottom : tuple of int
        N x C x H x W.

    Returns
    -------
    list of Window
        One for each level.

    Raises
    ------
    BadInput
        Caffe would refuse a window, or the bottom is not a map.
    """
    need_image_map(bottom)
    levels = layer.spp_param.pyramid_height
    if not 1 <= levels <= math.log2(LARGEST):
        raise BadInput(f'a pyramid of {levels} levels')
    windows = []
    for level in range(levels):
        kernel = [-(-n // 2 ** level) for n in bottom[2:]]
        pad = [(k * 2 ** level - n + 1) // 2 for k, n in zip(kernel, bottom[2:], strict=True)]
        window = Window((kernel[0], kernel[1]), (kernel[0], kernel[1]), (pad[0], pad[1]))
        if any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise BadInput(f'a {by(bottom[2:])} map is too small for a pyramid of {levels} levels')
        windows.append(window)
    return windows


def _spp_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    (n, channels, *_), windows = bottoms[0], pyramid(layer, bottoms[0])
    if len(windows) == 1:
        return [(n, channels, 1, 1)], []
    return [(n, channels * sum(4 ** level for level in range(len(windows))))], []


# --------------------------------------------------------------------------------------------- along the axes

def _reduction_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    return [bottoms[0][:canonical(layer.reduction_param.axis, bottoms[0])]], []


def _tile_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.tile_param, bottoms[0]
    axis = canonical(p.axis, shape)
    if p.tiles < 1:
        raise BadInput(f'{p.tiles} tiles')
    return [(*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1:])], []


def _embed_shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p = layer.embed_param
    if p.num_output < 1 or p.input_dim < 1:
        raise BadInput(f'{p.num_output} outputs for {p.input_dim} indices')
    return [(*bottoms[0], p.num_output)], [(p.input_dim, p.num_output)] + ([(p.num_output,)] if p.bias_term else [])


TYPES = [
    LayerType('MVN', _mvn_shapes, refused='normalises over the whole image'),
    LayerType('SPP', _spp_shapes, refused='pools into a fixed grid of whatever size'),
    LayerType('Reduction', _reduction_shapes, refused='adds over all that follows an axis'),
    LayerType('Tile', _tile_shapes, refused='repeats along an axis'),
    LayerType('Embed', _embed_shapes, refused='takes indices, not images'),
]
