"""Shapes of blobs and how their axes are counted."""
from cli import BadInput

from ..caffemodel import by

Shape = tuple[int, ...]
Pair = tuple[int, int]


def canonical(axis: int, shape: Shape) -> int:
    """Count an axis from the front.

    Parameters
    ----------
    axis : int
        As a prototxt states it: from the back if negative.
    shape : tuple of int
        The blob's.

    Returns
    -------
    int
        From 0 to `len(shape) - 1`.

    Raises
    ------
    BadInput
        The blob does not have that axis.
    """
    if not -len(shape) <= axis < len(shape):
        raise BadInput(f'axis {axis} of a {by(shape)} blob')
    return axis % len(shape)


def need_image_map(bottom: Shape) -> None:
    """Raise BadInput for a blob that is not N x C x H x W."""
    if len(bottom) != 4:
        raise BadInput(f'its bottom is {by(bottom)}, it takes N x C x H x W')
