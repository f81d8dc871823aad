"""An image segmented in overlapping tiles, so that memory is that of a tile; and what the tiles make together.

Tiles begin at multiples of the step by which a net moves as a whole (32 pixels for the papers' nets), so each of its
blobs lies on the positions that it has over the whole image. A pixel's scores depend on its receptive field alone:
where that lies in the tile, they are those of the whole image. Two neighbours meet in the middle of their overlap, and
as soon as they overlap by the receptive field less one pixel, all scores are the whole image's, to rounding. With less,
those beside the seam see the zeros of padding in place of what lies beyond their tile.
"""
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cli import BadInput
from surgery.caffemodel import by
from surgery.coordinates import fields
from surgery.layers.field import Field, meet
from surgery.scoring import whole_image
from surgery.shapes import infer

Array = npt.NDArray[np.float32]
PLENTY = 1024       # pixels a side of an image that is larger than the windows of a net


class Span(NamedTuple):
    """A tile along one axis: the net sees the pixels from `start` to `stop`, and those from `first` to `last` are kept.

    As Python counts: `stop` and `last` are one beyond the last pixel.
    """
    start: int
    stop: int
    first: int
    last: int

    @property
    def kept(self) -> slice:
        """What is kept, in the image."""
        return slice(self.first, self.last)

    @property
    def inside(self) -> slice:
        """What is kept, in the tile."""
        return slice(self.first - self.start, self.last - self.start)


class Tiling(NamedTuple):
    """How images are cut for a net.

    Attributes
    ----------
    side : int
        Of the square tiles, in pixels.
    seen : (Field, Field)
        What a score sees, along y and x.
    multiple : int
        Tiles begin at multiples of so many pixels, and all but the last ones are such a multiple long.
    """
    side: int
    seen: tuple[Field, Field]
    multiple: int = 1

    @property
    def enough(self) -> int:
        """The overlap in pixels from which on scores are those of the whole image."""
        return max(f.size for f in self.seen) - 1

    @property
    def exact(self) -> int:
        """A side from which on all scores are those of the whole image."""
        return 2 * self.enough

    @property
    def step(self) -> int:
        """Pixels from one tile to the next: neighbours share what is enough, or half a tile, and a little more."""
        return (self.side - min(self.enough, self.side // 2)) // self.unit * self.unit

    @property
    def unit(self) -> int:
        """Pixels: tiles begin at multiples of it, on the positions of all blobs."""
        return math.lcm(*(f.step for f in self.seen), self.multiple)

    @property
    def overlap(self) -> int:
        """Pixels that two neighbours share."""
        return self.side - self.step

    def spans(self, length: int, axis: int) -> list[Span]:
        """The tiles along an axis.

        Parameters
        ----------
        length : int
            Of the image along it, in pixels.
        axis : int
            0 for y, 1 for x.

        Returns
        -------
        list of Span
            What is kept of them is the image, once. All but the last are `side` long.
        """
        f = self.seen[axis]
        starts = range(0, max(length - self.overlap, 1), self.step)
        # Pixel j sees from j + f.first to j + f.last: in the middle of the overlap, as much is missing on either side.
        seams = [(start + before + self.side - int(f.first + f.last)) // 2
                 for before, start in zip(starts, starts[1:], strict=False)]
        edges = [0, *seams, length]
        return [Span(start, min(start + self.side, length), first, last)
                for start, first, last in zip(starts, edges, edges[1:], strict=False)]


def tiling(net: Any, side: int, multiple: int = 1) -> Tiling:
    """How images are cut for a net.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A deploy net.
    side : int
        Of the tiles, in pixels; rounded down to a multiple of `multiple`.
    multiple : int
        Heights and widths that the net takes are multiples of so many pixels.

    Returns
    -------
    Tiling

    Raises
    ------
    BadInput
        The net does not score every pixel of what it sees alone, or the tiles are too small for its stride.
    """
    side, plenty = side // multiple * multiple, PLENTY + -PLENTY % multiple
    inputs = {name: (*shape[:2], plenty, plenty) for name, shape in infer(net).blobs.items()
              for layer in net.layer if layer.type == 'Input' and name in layer.top}
    try:
        if reason := whole_image(net, inputs):
            raise BadInput(reason)
        shapes = infer(net, inputs)
        known = fields(net, shapes)
    except BadInput as problem:
        raise BadInput(f'--tile: {problem}') from None
    read = {name for layer in net.layer for name in layer.bottom}
    scores = [name for layer in net.layer for name in layer.top if name not in read]
    for name in scores:
        if shapes.blobs[name][2:] != (plenty, plenty) or any(f.stride != 1 for f in known[name]):
            raise BadInput(f'--tile is for nets that score every pixel; {name} is {by(shapes.blobs[name])} for images '
                           f'of {plenty}x{plenty}')
    result = Tiling(side, meet([known[name] for name in scores]), multiple)
    fewest = 2 * result.unit
    if side < fewest:
        raise BadInput(f'--tile {side}: tiles of this net have at least {fewest} pixels a side; its scores see '
                       f'{result.enough + 1}, and from {result.exact} on are those of the whole image')
    return result


def pieces(images: Mapping[str, Array], cut: Tiling | None) -> Iterator[tuple[Span, Span]]:
    """The tiles of an image along y and x, row by row; without a tiling, the image is the only one."""
    height, width = next(iter(images.values())).shape[1:]
    if cut is None:
        yield Span(0, height, 0, height), Span(0, width, 0, width)
        return
    for row in cut.spans(height, 0):
        for column in cut.spans(width, 1):
            yield row, column
