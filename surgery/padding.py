"""Padding that differs between the two sides of a map, in convolutions that pad both sides alike."""
import math
from collections.abc import Sequence

import numpy as np

from .builder import Builder
from .layers import Pair


def same(n: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """Zeros around one axis of a map that make a window step over it n / stride times, rounded up.

    What TensorFlow calls 'SAME' padding.

    Parameters
    ----------
    n : int
        Length of the axis, in pixels.
    kernel, stride, dilation : int
        Of the window along the axis.

    Returns
    -------
    (int, int)
        Together as many as it takes, the second the larger by one where they are odd.

    Examples
    --------
    >>> same(224, 3, 2), same(56, 5, 2), same(7, 3, 1)
    ((0, 1), (1, 2), (1, 1))
    """
    total = max(0, (-(-n // stride) - 1) * stride + (kernel - 1) * dilation + 1 - n)
    return total // 2, total - total // 2


def pad_alike(builder: Builder, weights: np.ndarray, before: Sequence[int],
              after: Sequence[int]) -> tuple[np.ndarray, list[int]]:
    """Pad both sides by the larger number, and let rows of zeros in the kernel stand on the surplus.

    Parameters
    ----------
    builder : Builder
        Counts the numbers of the larger kernel.
    weights : ndarray
        Outputs x inputs x height x width.
    before, after : sequence of int
        Rows and columns of zeros above and left of the map, and below and right of it.

    Returns
    -------
    (ndarray, list of int)
        The kernel, and the padding (y, x) of both sides.

    Raises
    ------
    BadInput
        The kernel takes more memory than its file can ask for.
    """
    both = [max(a, b) for a, b in zip(before, after, strict=True)]
    margins = [(p - a, p - b) for p, a, b in zip(both, before, after, strict=True)]
    size = [k + a + b for k, (a, b) in zip(weights.shape[2:], margins, strict=True)]
    builder.reserve(math.prod((*weights.shape[:2], *size)))
    return np.pad(weights, [(0, 0), (0, 0), *margins]), both
