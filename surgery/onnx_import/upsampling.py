"""Transposed convolutions, and enlarging by whole factors: both are Deconvolutions."""
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cli import BadInput

from ..caffemodel import by
from .convolution import dilations
from .node import ELTWISE, MAP, Node, Operator, Value
from .windows import field, steps


def _conv_transpose(node: Node) -> Value:
    value, weights = node.map(), node.array(1)
    group = node.attribute('group', 1)
    if weights.ndim != 4:
        raise BadInput(f'weights {by(weights.shape)}, where a convolution of images has 4 axes')
    stride, dilation = steps(node)
    extent = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilation, strict=True)]
    whole = [(n - 1) * s + e for n, s, e in zip(value.dims[2:], stride, extent, strict=True)]
    more = list(node.attribute('output_padding', [0, 0]))
    before, after = _cut_off(node, value, whole, stride, more)
    surplus = [m + a - b for m, a, b in zip(more, before, after, strict=True)]
    if any(surplus) and dilation != [1, 1]:
        raise BadInput(f'dilated, and cut by {before} before and {after} after: Caffe cuts both sides alike')
    # Caffe cuts off `pad` on both sides: rows of zeros in the kernel stand for the difference.
    margins = [(max(-s, 0), max(s, 0)) for s in surplus]
    node.state.builder.reserve(math.prod((*weights.shape[:2], *(k + a + b for k, (a, b) in zip(
        weights.shape[2:], margins, strict=True)))))
    weights = np.pad(weights, [(0, 0), (0, 0), *margins])
    pad = [a + front for a, (front, _) in zip(before, margins, strict=True)]
    blobs = [weights] + ([node.array(2).reshape(-1)] if node.given(2) else [])
    return node.add('Deconvolution', [value], blobs, axes=MAP, num_output=weights.shape[1] * group,
                    **field('kernel', weights.shape[2:]), **field('pad', pad), **field('stride', stride),
                    dilation=dilations(dilation), bias_term=None if len(blobs) > 1 else False,
                    group=group if group > 1 else None)


def _cut_off(node: Node, value: Value, whole: Sequence[int], stride: Sequence[int],
             more: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows and columns that are cut off before and after."""
    auto, wanted = node.attribute('auto_pad', 'NOTSET'), node.attribute('output_shape', None)
    if wanted is None and auto in ('SAME_UPPER', 'SAME_LOWER'):
        wanted = [n * s for n, s in zip(value.dims[2:], stride, strict=True)]
    if wanted is not None:
        total = [w + m - d for w, m, d in zip(whole, more, wanted[-2:], strict=True)]
        small = [t // 2 for t in total]
        large = [t - s for t, s in zip(total, small, strict=True)]
        before, after = (small, large) if auto == 'SAME_UPPER' else (large, small)
    else:
        given = list(node.attribute('pads', [0] * 4)) if auto != 'VALID' else [0] * 4
        before, after = given[:2], given[2:]
    if len(before) != 2 or len(after) != 2 or len(more) != 2 or min(*before, *after, *more) < 0:
        raise BadInput(f'padding {before} before and {after} after, {list(more)} more: expected numbers from 0')
    return before, after


# ------------------------------------------------------------------------------------------------------------ Resize

def _resize(node: Node) -> Value:
    """Enlarge by whole factors, to the nearest or linearly; a Deconvolution adds up what lies around a position.

    At the borders, where an interpolation repeats the last row, it adds up less than 1: what it makes of ones says how
    much, and what it makes of the map is divided by that.
    """
    value = node.map()
    mode, where = node.attribute('mode', 'nearest'), node.attribute('coordinate_transformation_mode', 'half_pixel')
    where = 'asymmetric' if node.kind == 'Upsample' or node.state.opset < 11 else where
    sizes = _enlarged(node, value)
    if mode == 'nearest':
        factors = _factors(sizes, value.dims[2:], 0)
        if not _nearest(node, where):
            raise BadInput(f'nearest by {where}, rounded by {node.attribute("nearest_mode", "round_prefer_floor")}')
        node.state.builder.reserve(value.dims[1] * math.prod(factors) + sum(factors))
        kernels, pad, divided = [np.ones(f) for f in factors], [0, 0], False
    elif mode != 'linear' or where not in ('half_pixel', 'pytorch_half_pixel', 'asymmetric', 'align_corners'):
        raise BadInput(f'mode {mode} by {where}: Caffe can enlarge to the nearest and linearly')
    else:
        corners = where == 'align_corners'
        factors = _factors(sizes, value.dims[2:], 1 if corners else 0)
        node.state.builder.reserve(2 * value.dims[1] * math.prod(3 * f for f in factors) + 3 * sum(factors))
        centred = where in ('half_pixel', 'pytorch_half_pixel')
        kernels = [_triangle(f, centred, 0 if corners or centred else f - 1) for f in factors]
        pad = [f // 2 if centred else f - 1 for f in factors]
        divided = not corners
    return _spread(node, value, factors, kernels, pad, divided)


def _enlarged(node: Node, value: Value) -> list[int]:
    """Height and width after it."""
    at = 1 if node.kind == 'Upsample' or node.state.opset < 11 else 2
    if node.attribute('axes', None) is not None or node.attribute('antialias', 0):
        raise BadInput('with axes or antialias of its own')
    if node.given(3):
        sizes = node.array(3).ravel().tolist()
    else:
        scales = node.attribute('scales', None) or node.array(at).ravel().tolist()
        if len(scales) != 4 or not np.isfinite(scales).all():
            raise BadInput(f'scales {scales}: expected one for each of 4 axes')
        sizes = [math.floor(d * s) for d, s in zip(value.dims, scales, strict=True)]
    if len(sizes) != 4 or tuple(sizes[:2]) != value.dims[:2]:
        raise BadInput(f'{by(value.dims)} to {by(sizes)}: it changes more than height and width')
    return [int(n) for n in sizes[2:]]


def _factors(sizes: Sequence[int], dims: Sequence[int], ends: int) -> list[int]:
    """By what a map is enlarged, counted without so many ends."""
    steps_before, steps_after = ([max(n - ends, 1) for n in shape] for shape in (dims, sizes))
    if any(a < 1 or a % b for a, b in zip(steps_after, steps_before, strict=True)) or any(
            ends and n == 1 and m != 1 for n, m in zip(dims, sizes, strict=True)):
        raise BadInput(f'{by(dims)} to {by(sizes)}: not by a whole factor')
    return [a // b for a, b in zip(steps_after, steps_before, strict=True)]


def _nearest(node: Node, where: str) -> bool:
    """Whether a position takes what lies before it, as it does by whole factors."""
    rounding = node.attribute('nearest_mode', 'round_prefer_floor') if node.state.opset >= 11 else 'floor'
    return (where, rounding) == ('asymmetric', 'floor') or where in ('half_pixel', 'pytorch_half_pixel') and (
        rounding.startswith('round_prefer'))


def _triangle(factor: int, centred: bool, zeros: int) -> NDArray[np.float64]:
    """Weights of a number on the enlarged axis: 1 at its own position, less towards the next ones."""
    side = 2 * factor - factor % 2 if centred else 2 * factor - 1
    return np.pad(1 - np.abs(np.arange(side) - (side - 1) / 2) / factor, (0, zeros))


def _spread(node: Node, value: Value, factors: Sequence[int], kernels: Sequence[NDArray[np.float64]],
            pad: Sequence[int], divided: bool) -> Value:
    """Each channel by a Deconvolution of its own."""
    channels, kernel = value.dims[1], np.outer(*kernels)
    weights = np.broadcast_to(kernel, (channels, 1, *kernel.shape)).astype(np.float32)

    def deconvolution(bottom: Value, suffix: str) -> Value:
        return node.add('Deconvolution', [bottom], [weights], suffix=suffix, axes=MAP, num_output=channels,
                        **field('kernel', kernel.shape), **field('pad', pad), **field('stride', factors),
                        bias_term=False, group=channels if channels > 1 else None)
    enlarged = deconvolution(value, '')
    if not divided or list(factors) == [1, 1]:
        return enlarged
    ones = node.add('Power', [value], suffix='_ones', scale=0.0, shift=1.0)
    inverse = node.add('Power', [deconvolution(ones, '_share')], suffix='_inverse', power=-1.0)
    return node.add('Eltwise', [enlarged, inverse], suffix='_whole', operation=ELTWISE['PROD'])


OPERATORS: dict[str, Operator] = {'ConvTranspose': _conv_transpose, 'Resize': _resize, 'Upsample': _resize}
