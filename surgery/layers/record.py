"""What surgery knows of one Caffe layer type, as plain data: a `LayerType` made of small rules.

A rule is a pure function of a layer (`caffe_pb2.LayerParameter`) and of its bottoms; it raises BadInput, without the
layer's name, for what Caffe would refuse or what has no equivalent.
"""
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axes import Pair, Shape
from .field import Fields

MANY = 10 ** 6          # bottoms


class DenseBlob(NamedTuple):
    """A blob of the classifier in the dense net.

    Attributes
    ----------
    name : str
        The dense net's map that has its numbers, in the same order.
    old, new : tuple of int
        Its shape in the classifier, and the map's, N x C x H x W, at the classifier's image size.
    """

    name: str
    old: Shape
    new: Shape

    @property
    def flat(self) -> bool:
        """Whether it is a map with a height and width in the dense net and none in the classifier."""
        return self.old != self.new and self.new[2:] != (1, 1)

    @property
    def per_channel(self) -> bool:
        """Whether axis 1 is the map's channels and nothing else is left of it, or it is the map itself."""
        return self.old == self.new or (not self.flat and len(self.old) > 1 and self.old[1] == self.new[1]
                                        and math.prod(self.old[1:]) == self.new[1])


class Change(NamedTuple):
    """A layer that became another: what, and whether its weights were transposed on the way."""

    layer: str
    what: str
    transposed: bool = False


class Alias(NamedTuple):
    """The layer goes: its top is its bottom under another name and shape. `what` tells it to a reader."""

    what: str


class Converted(NamedTuple):
    """The layer stays.

    Attributes
    ----------
    maps : list of shape, optional
        Shapes of its tops in the dense net, where they are not those of the classifier's blobs.
    change : Change, optional
        What became of the layer.
    """

    maps: list[Shape] | None = None
    change: Change | None = None


ShapeRule = Callable[[Any, list[Shape]], tuple[list[Shape], list[Shape]]]
CoordinateRule = Callable[[Any, list[Shape], list[Fields]], list[Fields]]
DenseRule = Callable[[Any, list[DenseBlob], list[Shape]], Alias | Converted]
ChannelRule = Callable[[Any, Sequence[NDArray[np.float32]], int], int]


def always(layer: Any) -> bool:
    """Whatever the layer's parameters."""
    return True


def never(layer: Any) -> bool:
    """Not with any parameters."""
    return False


@dataclass(frozen=True)
class LayerType:
    """A Caffe layer type: three rules, or the reason why some are missing.

    Attributes
    ----------
    name : str
        As in a prototxt.
    shapes : function, optional
        (layer, shapes of its bottoms) -> (shapes of its tops, shapes of its parameters).
    coordinates : function, optional
        (layer, shapes of its bottoms, fields of its bottoms) -> fields of its tops.
    dense : function, optional
        (copy of the layer, its bottoms in the dense net, the classifier's shapes of its tops) -> `Alias` or
        `Converted`; changes the copy into its equivalent in the dense net.
    refused : str
        Why there is no rule `dense`, to be read after "it".
    bottoms : (int, int)
        How many it takes at least and at most.
    elementwise : bool
        Each number of its top comes from one number of its bottom alone, by no parameters.
    pixelwise : bool
        Its tops lie on the same pixels as its bottoms: what it makes of an image still is one.
    follows_scores : bool
        May stand between a classifier's last scores and its output.
    in_place : bool
        May overwrite its bottom, as importers have it do.
    overwritable : function
        (layer) -> whether the next layer may overwrite its top: its gradient does not need it.
    channels : function, optional
        (layer, its parameters, pixels of its bottom) -> channels of its bottom.
    source : bool
        Feeds a net.
    end : bool
        Is of no use without labels: a loss, a score.
    """

    name: str
    shapes: ShapeRule | None = None
    coordinates: CoordinateRule | None = None
    dense: DenseRule | None = None
    refused: str = ''
    bottoms: Pair = (1, 1)
    elementwise: bool = False
    pixelwise: bool = False
    follows_scores: bool = False
    in_place: bool = False
    overwritable: Callable[[Any], bool] = never
    channels: ChannelRule | None = None
    source: bool = False
    end: bool = False
