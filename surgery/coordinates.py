"""Where on the image each position of a blob looks: stride, receptive field, and their alignment."""
from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

from cli import BadInput

from .shapes import Shapes, crop_offsets, window


class Field(NamedTuple):
    """Along one axis, position i of a blob sees the input's pixels from `stride*i + first` to `stride*i + last`.

    `centre` is where the middle of its windows lies, followed along first bottoms; `step` is the smallest shift of the
    input that shifts the blob, and everything on the way to it, by whole positions.
    """

    stride: Fraction
    first: Fraction
    last: Fraction
    centre: Fraction
    step: int

    @property
    def size(self) -> int:
        """The receptive field, in pixels."""
        return int(self.last - self.first) + 1


START = Field(Fraction(1), Fraction(0), Fraction(0), Fraction(0), 1)
Fields = tuple[Field, Field]


def fields(net: Any, shapes: Shapes) -> dict[str, Fields]:
    """The fields (y, x) of every blob of a net of image maps.

    Raises
    ------
    BadInput
        Blobs of different strides meet in a layer; names it.
    """
    result: dict[str, Fields] = {}
    for layer, bottoms in zip(net.layer, shapes.bottoms, strict=True):
        if layer.type == 'Input':
            result |= dict.fromkeys(layer.top, (START, START))
            continue
        seen = [result[name] for name in layer.bottom]
        if layer.type in ('Convolution', 'Deconvolution') and len(seen) > 1:
            tops = [_through(layer, bottom, one) for bottom, one in zip(bottoms, seen, strict=True)]
        else:
            tops = [_through(layer, bottoms[0], _meet(layer, seen))] * len(layer.top)
        result |= dict(zip(layer.top, tops, strict=True))
    return result


def _through(layer: Any, bottom: Sequence[int], seen: Fields) -> Fields:
    if layer.type == 'Crop':
        axis, offsets = crop_offsets(layer, tuple(bottom))
        shifts = [offsets[i - axis] if i >= axis else 0 for i in (2, 3)]
        y, x = [f._replace(first=f.first + o * f.stride, last=f.last + o * f.stride, centre=f.centre + o * f.stride)
                for f, o in zip(seen, shifts, strict=True)]
    elif layer.type in ('Convolution', 'Pooling', 'Deconvolution'):
        w = window(layer, tuple(bottom))
        move = _spread if layer.type == 'Deconvolution' else _slide
        y, x = [move(*of) for of in zip(seen, w.extent, w.stride, w.pad, strict=True)]
    elif layer.type == 'LRN' and layer.lrn_param.norm_region == layer.lrn_param.WITHIN_CHANNEL:
        n = layer.lrn_param.local_size
        y, x = [_slide(f, n, 1, n // 2) for f in seen]
    else:
        y, x = seen
    return y, x


def _slide(f: Field, extent: int, stride: int, pad: int) -> Field:
    """A window that slides over its bottom."""
    out = f.stride * stride
    return Field(out, f.first - pad * f.stride, f.last + (extent - 1 - pad) * f.stride,
                 f.centre + (Fraction(extent - 1, 2) - pad) * f.stride, lcm(f.step, out.numerator))


def _spread(f: Field, extent: int, stride: int, pad: int) -> Field:
    """A Deconvolution: position j of its top gets from positions (j + pad - extent + 1)/stride to (j + pad)/stride."""
    unit = f.stride / stride
    return Field(unit, f.first + (pad - extent + 1) * unit, f.last + pad * unit,
                 f.centre + (pad - Fraction(extent - 1, 2)) * unit, f.step)


def _meet(layer: Any, seen: list[Fields]) -> Fields:
    """What a layer with several bottoms sees: all that they see."""
    if layer.type == 'Crop':
        return seen[0]
    out = []
    for axis in zip(*seen, strict=True):
        if len({f.stride for f in axis}) > 1:
            strides = ' and '.join(str(f.stride) for f in axis)
            raise BadInput(f'layer {layer.name} ({layer.type}): its bottoms have different strides, {strides}, so they '
                           'meet at one image size only')
        out.append(Field(axis[0].stride, min(f.first for f in axis), max(f.last for f in axis), axis[0].centre,
                         lcm(*(f.step for f in axis))))
    return out[0], out[1]
