"""An image segmented with a deploy net: at once or in tiles, once or averaged over scales and mirrored images.

What is averaged are probabilities, the softmax of the scores, as the field's scoring scripts do: for each scale, the
image is resized bilinearly, its scores are resized back bilinearly, and their softmax is added up.
"""
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cli import BadInput
from data_layers.pictures import softmax
from solvers.instance import segment
from solvers.tiles import Tiling, pieces
from surgery.bilinear import interpolate, positions, resize
from surgery.caffemodel import by
from surgery.layers import Fields
from surgery.preparation import enlarged

Array = npt.NDArray[np.float32]
ROWS = 128      # whose softmax is made at once: that of a whole image would take several times its memory


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


@dataclass(frozen=True)
class Way:
    """How images go through a net.

    Attributes
    ----------
    cut : Tiling, optional
        By default an image is sent through as a whole.
    scales : tuple of float
        Factors of height and width at which it is sent through.
    flip : bool
        Whether it is also sent through with left and right swapped.
    multiple : int
        Height and width are enlarged to multiples of so many pixels, with zeros.
    coarse : mapping of str to (Field, Field) or None
        Score blobs that do not lie on the pixels of the image, as of `surgery.scoring.Scoring`.
    """
    cut: Tiling | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    multiple: int = 1
    coarse: Mapping[str, Fields | None] = field(default_factory=dict)

    @property
    def averages(self) -> bool:
        """Whether probabilities are averaged."""
        return self.flip or self.scales != (1.0,)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of what the net sees at most at once of an image, for each scale."""
        result = []
        for scale in self.scales:
            size = [n + -n % self.multiple for n in scaled(height, width, scale)]
            result.append((size[0], size[1]) if self.cut is None else (min(size[0], self.cut.side),
                                                                       min(size[1], self.cut.side)))
        return result


ONCE = Way()


def scaled(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width of an image at a scale, in pixels."""
    return max(1, round(scale * height)), max(1, round(scale * width))


def segment_image(net: Any, images: Mapping[str, Array], way: Way = ONCE, probabilities: bool = False
                  ) -> dict[str, Segmented]:
    """Run a deploy net over an image; of the scores of a tile only what is asked for is kept.

    Parameters
    ----------
    net : caffe.Net
        With weights; it is reshaped to what goes through it.
    images : mapping of str to array
        Input blob -> C x H x W image as the data layers give it, all of one height and width.
    way : Way
    probabilities : bool
        Whether to keep the probabilities.

    Returns
    -------
    dict of str to Segmented
        By score blob.

    Raises
    ------
    BadInput
        Scores do not lie on the pixels of the image, and the way does not say so.
    """
    if way.averages:
        return {name: Segmented(mean.argmax(0).astype(np.uint8), mean if probabilities else None)
                for name, mean in mean_probabilities(net, images, way).items()}
    height, width = next(iter(images.values())).shape[1:]
    result: dict[str, Segmented] = {}
    for name, place, scores in parts(net, images, way):
        if name not in result:
            result[name] = Segmented(np.empty((height, width), np.uint8), np.empty(
                (len(scores), height, width), np.float32) if probabilities else None)
        result[name].labels[place] = scores.argmax(0)
        if (all_of_them := result[name].probabilities) is not None:
            all_of_them[:, *place] = softmax(scores)
    return result


def mean_probabilities(net: Any, images: Mapping[str, Array], way: Way) -> dict[str, Array]:
    """The softmax of an image's scores, averaged over scales and mirrored images.

    Parameters
    ----------
    net, images, way
        As of `segment_image`.

    Returns
    -------
    dict of str to array
        Score blob -> K x H x W, float32.
    """
    height, width = next(iter(images.values())).shape[1:]
    total: dict[str, Array] = {}
    share = np.float32(1 / (len(way.scales) * (1 + way.flip)))
    for scale in way.scales:
        size = scaled(height, width, scale)
        seen = {name: resize(image, *size) for name, image in images.items()}
        for mirrored in (False, True)[:1 + way.flip]:
            maps: dict[str, Array] = {}
            for name, place, scores in parts(net, {name: swapped(image, mirrored) for name, image in seen.items()},
                                             way):
                maps.setdefault(name, np.empty((len(scores), *size), np.float32))[:, *place] = scores
            for name, scores in maps.items():
                mean = total.setdefault(name, np.zeros((len(scores), height, width), np.float32))
                for rows in (slice(first, min(first + ROWS, height)) for first in range(0, height, ROWS)):
                    back = interpolate(swapped(scores, mirrored), positions(height, size[0])[rows],
                                       positions(width, size[1]))
                    mean[:, rows] += share * softmax(back)
    return total


def swapped(planes: Array, mirrored: bool) -> Array:
    """Planes with left and right swapped, or as they are."""
    return planes[:, :, ::-1] if mirrored else planes


def parts(net: Any, images: Mapping[str, Array], way: Way) -> Iterator[tuple[str, tuple[slice, slice], Array]]:
    """The scores of an image tile by tile: score blob, rows and columns of the image, and K x h x w scores of those.

    A single score of a pixel is that of a class against all else, whose score is 0.
    """
    height, width = next(iter(images.values())).shape[1:]
    images = {name: enlarged(image, way.multiple) for name, image in images.items()}
    for row, column in pieces(images, way.cut):
        tile = {name: image[:, row.start:row.stop, column.start:column.stop] for name, image in images.items()}
        size = row.stop - row.start, column.stop - column.start
        place = tuple(slice(span.first, min(span.last, n)) for span, n in ((row, height), (column, width)))
        for name, scores in segment(net, tile).items():
            if name in way.coarse:
                scores = on_pixels(scores, way.coarse[name], size)
            elif scores.shape[1:] != size:
                raise BadInput(f'{name} is {by(scores.shape)} for an image of {by(size)}')
            scores = scores[:, row.inside, column.inside][:, :place[0].stop - row.first, :place[1].stop - column.first]
            if len(scores) == 1:
                scores = np.concatenate([np.zeros_like(scores), scores])
            if scores.size:
                yield name, (place[0], place[1]), scores


def on_pixels(scores: Array, seen: Fields | None, size: tuple[int, int]) -> Array:
    """Scores of a coarser map at the pixels of its image, linearly between where they look; beyond, as at the edge.

    Parameters
    ----------
    scores : array of float32, K x h x w
    seen : (Field, Field) or None
        What its positions see; without, they are spread over the image.
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    array of float32, K x H x W
    """
    if seen is None:
        return np.asarray(resize(scores, *size))
    y, x = ((np.arange(n) - float(f.centre)) / float(f.stride) for n, f in zip(size, seen, strict=True))
    return np.asarray(interpolate(scores, y, x))
