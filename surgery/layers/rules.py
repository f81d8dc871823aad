"""Rules that layer types of several families share."""
from collections.abc import Sequence
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .axes import Shape
from .field import Fields, meet
from .record import Converted, DenseBlob


def same_shape(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    """Shapes: one top like the bottom, no parameters."""
    return [bottoms[0]], []


def same_coordinates(layer: Any, bottoms: list[Shape], seen: list[Fields]) -> list[Fields]:
    """Coordinates: every top looks where all the bottoms look."""
    return [meet(seen)] * len(layer.top)


def like_bottom(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    """Dense: the same layer on whatever map holds the numbers."""
    return Converted([bottoms[0].new] * len(tops))


def same_on_maps(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    """Dense: the same layer, as long as its bottoms are maps in the classifier too."""
    need_maps(bottoms)
    return Converted()


def need_maps(bottoms: Sequence[DenseBlob]) -> None:
    """Raise BadInput where a bottom has another shape in the classifier than in the dense net."""
    for bottom in bottoms:
        if bottom.old != bottom.new:
            raise BadInput(f'its bottom was reshaped from {by(bottom.new)} to {by(bottom.old)}')
