"""An image segmented in overlapping tiles, so that memory is that of a tile; and what the tiles make together.

Tiles begin at multiples of the step by which a net moves as a whole (32 pixels for the papers' nets), so each of its
blobs lies on the positions that it has over the whole image. A pixel's scores depend on its receptive field alone:
where that lies in the tile, they are those of the whole image. Two neighbours meet in the middle of their overlap, and
as soon as they overlap by the receptive field less one pixel, all scores are the whole image's, to rounding. With less,
those beside the seam see the zeros of padding in place of what lies beyond their tile.
"""
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cli import BadInput
from data_layers.pictures import softmax
from solvers.instance import segment
from surgery.caffemodel import by
from surgery.coordinates import fields
from surgery.layers.field import Field, meet
from surgery.shapes import infer

Array = npt.NDArray[np.float32]


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
    """
    side: int
    seen: tuple[Field, Field]

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
        unit = max(f.step for f in self.seen)
        return (self.side - min(self.enough, self.side // 2)) // unit * unit

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


def tiling(net: Any, side: int) -> Tiling:
    """How images are cut for a net.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A deploy net.
    side : int
        Of the tiles, in pixels.

    Returns
    -------
    Tiling

    Raises
    ------
    BadInput
        The net does not score every pixel of what it sees alone, or the tiles are too small for its stride.
    """
    shapes = infer(net)
    try:
        known = fields(net, shapes)
    except BadInput as problem:
        raise BadInput(f'--tile: {problem}') from None
    read = {name for layer in net.layer for name in layer.bottom}
    scores = [name for layer in net.layer for name in layer.top if name not in read]
    size = next(shapes.blobs[layer.top[0]][2:] for layer in net.layer if layer.type == 'Input')
    for name in scores:
        if shapes.blobs[name][2:] != size or any(f.stride != 1 for f in known[name]):
            raise BadInput(f'--tile is for nets that score every pixel; {name} is {by(shapes.blobs[name])} for images '
                           f'of {by(size)}')
    result = Tiling(side, meet([known[name] for name in scores]))
    fewest = 2 * max(f.step for f in result.seen)
    if side < fewest:
        raise BadInput(f'--tile {side}: tiles of this net have at least {fewest} pixels a side; its scores see '
                       f'{result.enough + 1}, and from {result.exact} on are those of the whole image')
    return result


class Segmented(NamedTuple):
    """What a net makes of an image.

    Attributes
    ----------
    labels : array
        H x W, uint8: the class of every pixel.
    probabilities : array or None
        K x H x W, float32, where they were asked for.
    """
    labels: npt.NDArray[np.uint8]
    probabilities: Array | None


def pieces(images: Mapping[str, Array], cut: Tiling | None) -> Iterator[tuple[Span, Span]]:
    """The tiles of an image along y and x, row by row; without a tiling, the image is the only one."""
    height, width = next(iter(images.values())).shape[1:]
    if cut is None:
        yield Span(0, height, 0, height), Span(0, width, 0, width)
        return
    for row in cut.spans(height, 0):
        for column in cut.spans(width, 1):
            yield row, column


def segment_in_tiles(net: Any, images: Mapping[str, Array], cut: Tiling | None = None, probabilities: bool = False
                     ) -> dict[str, Segmented]:
    """Run a deploy net over an image, tile by tile; of the scores of a tile only what is asked for is kept.

    Parameters
    ----------
    net : caffe.Net
        With weights; it is reshaped to the tiles.
    images : mapping of str to array
        Input blob -> C x H x W image as the data layers give it, all of one height and width.
    cut : Tiling, optional
        By default the image is sent through as a whole.
    probabilities : bool
        Whether to keep the softmax of the scores.

    Returns
    -------
    dict of str to Segmented
        By score blob.
    """
    height, width = next(iter(images.values())).shape[1:]
    result: dict[str, Segmented] = {}
    for row, column in pieces(images, cut):
        tile = {name: image[:, row.start:row.stop, column.start:column.stop] for name, image in images.items()}
        for name, scores in segment(net, tile).items():
            if name not in result:
                result[name] = Segmented(np.empty((height, width), np.uint8), np.empty(
                    (len(scores), height, width), np.float32) if probabilities else None)
            kept = scores[:, row.inside, column.inside]
            result[name].labels[row.kept, column.kept] = kept.argmax(0)
            if (all_of_them := result[name].probabilities) is not None:
                all_of_them[:, row.kept, column.kept] = softmax(kept)
    return result
