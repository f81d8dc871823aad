"""Where along an axis of the image the positions of a blob look, and how layers move that."""
from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from cli import BadInput


class Field(NamedTuple):
    """Along one axis, position i of a blob sees the input's pixels from `stride*i + first` to `stride*i + last`.

    Attributes
    ----------
    stride : Fraction
        Pixels from one position to the next.
    first, last : Fraction
        The first and last pixel that position 0 sees; negative ones lie in padding.
    centre : Fraction
        The pixel in the middle of position 0's windows, followed along first bottoms.
    step : int
        Pixels: the smallest shift of the input that shifts the blob, and all blobs on the way to it, by whole
        positions.
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


Fields = tuple[Field, Field]        # along y and x
PIXEL = Field(Fraction(1), Fraction(0), Fraction(0), Fraction(0), 1)


def slide(f: Field, extent: int, stride: int, pad: int) -> Field:
    """What the top of a window sees that slides over a blob: of `extent`, `stride` and `pad` positions of the blob."""
    out = f.stride * stride
    return Field(out, f.first - pad * f.stride, f.last + (extent - 1 - pad) * f.stride,
                 f.centre + (Fraction(extent - 1, 2) - pad) * f.stride, lcm(f.step, out.numerator))


def spread(f: Field, extent: int, stride: int, pad: int) -> Field:
    """What the top of a Deconvolution sees, whose `extent`, `stride` and `pad` are positions of the top.

    Position j of the top gets from the blob's positions (j + pad - extent + 1)/stride to (j + pad)/stride.
    """
    unit = f.stride / stride
    return Field(unit, f.first + (pad - extent + 1) * unit, f.last + pad * unit,
                 f.centre + (pad - Fraction(extent - 1, 2)) * unit, f.step)


def shift(f: Field, offset: int) -> Field:
    """What a blob sees without its first `offset` positions."""
    by = offset * f.stride
    return f._replace(first=f.first + by, last=f.last + by, centre=f.centre + by)


def meet(seen: Sequence[Fields]) -> Fields:
    """What a layer sees that reads several blobs: all that they see.

    Raises
    ------
    BadInput
        Their strides differ.
    """
    out = []
    for axis in zip(*seen, strict=True):
        if len({f.stride for f in axis}) > 1:
            strides = ' and '.join(str(f.stride) for f in axis)
            raise BadInput(f'its bottoms have different strides, {strides}, so they meet at one image size only')
        out.append(Field(axis[0].stride, min(f.first for f in axis), max(f.last for f in axis), axis[0].centre,
                         lcm(*(f.step for f in axis))))
    return out[0], out[1]
