"""The window with which a convolution or a pooling reads its bottom, and the map size it gives: Caffe's arithmetic."""
from collections.abc import Sequence
from typing import Any, NamedTuple

from cli import BadInput

from ..caffemodel import by
from .axes import Pair, Shape, need_image_map

LARGEST = 10 ** 6       # of a kernel, pad or dilation


class Window(NamedTuple):
    """How a convolution or pooling reads its bottom: positions of the bottom, (y, x) each.

    Attributes
    ----------
    kernel, stride, pad, dilation : (int, int)
        As in the layer's parameters.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """Height and width of the kernel with its dilation."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1


def conv_window(layer: Any, bottom: Shape) -> Window:
    """The window of a Convolution or Deconvolution, whose fields may be given once, twice, or as `_h` and `_w`.

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
        With a `convolution_param`.
    bottom : tuple of int
        N x C x H x W.

    Raises
    ------
    BadInput
        Caffe would refuse the window, or the bottom is not a map.
    """
    need_image_map(bottom)
    p = layer.convolution_param

    def pair(repeated: Sequence[int], stem: str, default: int | None) -> Pair:
        if p.HasField(f'{stem}_h') or p.HasField(f'{stem}_w'):
            if len(repeated):
                raise BadInput(f'both {stem}_h/{stem}_w and the common value')
            return getattr(p, f'{stem}_h'), getattr(p, f'{stem}_w')
        return _twice(repeated, stem, default)

    return _valid(Window(pair(p.kernel_size, 'kernel', None), pair(p.stride, 'stride', 1), pair(p.pad, 'pad', 0),
                         _twice(p.dilation, 'dilation', 1)))


def _twice(values: Sequence[int], stem: str, default: int | None) -> Pair:
    if not len(values) and default is not None:
        return default, default
    if len(values) not in (1, 2):
        raise BadInput(f'{len(values)} values for its {stem}, where images have two axes')
    return values[0], values[-1]


def pooling_window(layer: Any, bottom: Shape) -> Window:
    """The window of a Pooling layer; global pooling has the whole map as its kernel.

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
        With a `pooling_param`.
    bottom : tuple of int
        N x C x H x W.

    Raises
    ------
    BadInput
        Caffe would refuse the window, or the bottom is not a map.
    """
    need_image_map(bottom)
    p = layer.pooling_param

    def pair(stem: str, whole: str) -> Pair:
        if p.HasField(f'{stem}_h') or p.HasField(f'{stem}_w'):
            if p.HasField(whole) or not (p.HasField(f'{stem}_h') and p.HasField(f'{stem}_w')):
                raise BadInput(f'its {stem} must be given once, or as {stem}_h and {stem}_w')
            return getattr(p, f'{stem}_h'), getattr(p, f'{stem}_w')
        return getattr(p, whole), getattr(p, whole)

    stride, pad = pair('stride', 'stride'), pair('pad', 'pad')
    if p.global_pooling:
        if p.HasField('kernel_size') or p.HasField('kernel_h') or p.HasField('kernel_w'):
            raise BadInput('global pooling with a kernel size')
        if stride != (1, 1) or pad != (0, 0):
            raise BadInput('global pooling with a stride or padding')
        return Window((bottom[2], bottom[3]), stride, pad)
    w = _valid(Window(pair('kernel', 'kernel_size'), stride, pad))
    if any(pad) and (p.pool == p.STOCHASTIC or pad[0] >= w.kernel[0] or pad[1] >= w.kernel[1]):
        raise BadInput(f'its padding {by(pad)} does not go with its {by(w.kernel)} window')
    return w


def _valid(w: Window) -> Window:
    if min(w.kernel) < 1 or min(w.stride) < 1 or min(w.dilation) < 1 or max(*w.kernel, *w.pad, *w.dilation) > LARGEST:
        raise BadInput(f'impossible window: kernel {by(w.kernel)}, stride {by(w.stride)}, pad {by(w.pad)}, '
                       f'dilation {by(w.dilation)}')
    return w


def set_kernel(param: Any, size: Sequence[int]) -> None:
    """State a kernel's height and width in a `convolution_param` that states none."""
    if size[0] == size[1]:
        param.kernel_size.append(size[0])
    else:
        param.kernel_h, param.kernel_w = size


# --------------------------------------------------------------------------------------------------- sizes of maps

def pooled(w: Window, size: Sequence[int], floor: bool) -> Pair:
    """Height and width after pooling a map of `size`.

    Caffe rounds up unless `floor`, and drops a window that would lie in the padding alone.
    """
    out = []
    for n, k, s, p in zip(size, w.kernel, w.stride, w.pad, strict=True):
        steps = n + 2 * p - k
        count = (steps // s if floor else -(-steps // s)) + 1
        if any(w.pad) and (count - 1) * s >= n + p:
            count -= 1
        out.append(count)
    return out[0], out[1]


def convolved(w: Window, size: Sequence[int]) -> Pair:
    """Height and width after a convolution of a map of `size`: the windows that fit."""
    out = [(n + 2 * p - e) // s + 1 if n + 2 * p >= e else 0
           for n, e, s, p in zip(size, w.extent, w.stride, w.pad, strict=True)]
    return out[0], out[1]


def deconvolved(w: Window, size: Sequence[int]) -> Pair:
    """Height and width after a deconvolution of a map of `size`."""
    out = [(n - 1) * s + e - 2 * p for n, s, e, p in zip(size, w.stride, w.extent, w.pad, strict=True)]
    return out[0], out[1]
