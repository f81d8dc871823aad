"""How upsampled scores come to lie on the blob they meet: kernel and pad of a Deconvolution, offset of a Crop."""
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from cli import BadInput

from ..coordinates import fields
from ..graph import input_layer
from ..shapes import Shapes, infer

ROOM = 4        # coordinates are the same at every size; at so many times the classifier's, all windows fit


class Upsampling(NamedTuple):
    """Kernel size and pad of a Deconvolution, in positions of its top, the same along y and x."""

    kernel_size: int
    pad: int


def set_upsampling(layer: Any, upsampling: Upsampling) -> None:
    """Give a Deconvolution its kernel size and pad."""
    p = layer.convolution_param
    p.ClearField('kernel_size')
    p.ClearField('pad')
    p.kernel_size.append(upsampling.kernel_size)
    if upsampling.pad:
        p.pad.append(upsampling.pad)


def offsets(net: Any, blob: str, like: str) -> list[Fraction]:
    """At which of a blob's positions another of the same stride begins, (y, x)."""
    seen = fields(net, _shapes_with_room(net))
    return [(b.centre - a.centre) / a.stride for a, b in zip(seen[blob], seen[like], strict=True)]


def align(net: Any, layer: Any, onto: str, last: bool) -> Upsampling:
    """Find the kernel size and pad with which a Deconvolution's top lies whole positions from the blob it meets.

    Between scores the pad takes off what lies outside the skip, as it does where the trunk's convolutions are all
    padded. The last Deconvolution needs none: there the first convolution's padding makes the difference.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        The net up to `layer`, and with `onto`.
    layer : caffe_pb2.LayerParameter
        The Deconvolution, the net's own; its kernel size and pad are changed on the way.
    onto : str
        The blob it meets.
    last : bool
        Whether that is the image.

    Returns
    -------
    Upsampling

    Raises
    ------
    BadInput
        No kernel aligns the two.
    """
    factor = layer.convolution_param.stride[0]
    for kernel_size in (2 * factor - factor % 2, 2 * factor - 1):
        set_upsampling(layer, Upsampling(kernel_size, 0))
        apart = offsets(net, onto, layer.top[0])
        if any(o.denominator != 1 for o in apart):
            continue
        if last:
            return Upsampling(kernel_size, 0)
        for pad in range(max(0, -int(min(apart))), ROOM * kernel_size):
            set_upsampling(layer, Upsampling(kernel_size, pad))
            if _inside_at_every_size(net, layer.top[0], onto, [int(o) + pad for o in apart]):
                return Upsampling(kernel_size, pad)
    raise BadInput(f'no upsampling of {layer.bottom[0]} aligns it with {onto}')


def _inside_at_every_size(net: Any, blob: str, other: str, apart: Sequence[int]) -> bool:
    """Whether a blob, laid over another from some offset on, ends inside it, whatever the size of the image."""
    data = input_layer(net)
    n, channels, height, width = data.input_param.shape[0].dim
    step = max(f.step for f in fields(net, _shapes_with_room(net))[blob])
    for more in range(step):                            # sizes a step apart behave alike
        blobs = infer(net, {data.top[0]: (n, channels, ROOM * height + more, ROOM * width + more)}).blobs
        if any(o + a > b for o, a, b in zip(apart, blobs[blob][2:], blobs[other][2:], strict=True)):
            return False
    return True


def _shapes_with_room(net: Any) -> Shapes:
    data = input_layer(net)
    n, channels, height, width = data.input_param.shape[0].dim
    return infer(net, {data.top[0]: (n, channels, ROOM * height, ROOM * width)})
