"""Whether masks lie on what is in their photographs: outlines of labels and of colours, compared.

Objects end where colours change. So the colours' gradient is larger along the outlines of a mask than elsewhere, unless
the mask is mirrored, shifted or another photograph's. Of several ways to lay a mask over its photograph, the right one
is that whose outlines lie on the largest gradients.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from data_layers import VOID

BLUR, AROUND = 2.0, 15.0    # pixels: how far off hand-drawn outlines are, and how large an object is at least
ENOUGH = 4          # photographs that a verdict takes
CLEARLY = 2.0       # standard errors by which another way must be better
BETTER = 1.15       # and how much larger its gradients are than elsewhere, at least
FARTHEST = 0.25     # of a side, that a mask is sought away from its place
NEAREST = 4         # pixels: closer is how people draw
WAYS = {'left to right': (slice(None), slice(None, None, -1)), 'upside down': (slice(None, None, -1), slice(None)),
        'by half a turn': (slice(None, None, -1), slice(None, None, -1))}


@dataclass(frozen=True)
class Alignment:
    """How well the masks of some photographs lie on them.

    Attributes
    ----------
    count : int
        Photographs with an outline in their masks.
    own : float
        Gradient along the outlines over that elsewhere, the mean over photographs; 1 is chance.
    mirrored : str
        The way in which all masks are mirrored, as far as can be told.
    shift : (int, int)
        By how many pixels all masks are too far down and right.
    strangers : float
        Standard errors by which masks fit their own photographs better than others; nan where not known.
    """
    count: int = 0
    own: float = float('nan')
    mirrored: str = ''
    shift: tuple[int, int] = (0, 0)
    strangers: float = float('nan')
    figures: dict[str, Any] = field(default_factory=dict)


def outline(label: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """1 where a pixel's class differs from that to the right or below, H x W.

    Void is taken for the nearest class: people leave it along outlines. The border of the image is left out.
    """
    void = label == VOID
    if void.any() and not void.all():
        label = label[tuple(ndimage.distance_transform_edt(void, return_distances=False, return_indices=True))]
    result = np.zeros(label.shape)
    result[:-1] += label[1:] != label[:-1]
    result[:, :-1] += label[:, 1:] != label[:, :-1]
    result = np.minimum(result, 1)
    result[[0, -2, -1]] = 0
    result[:, [0, -2, -1]] = 0
    return result


def gradient(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """How much colours change at each pixel beside its surroundings, H x W, with mean 1; zero for a plain image."""
    blurred = ndimage.gaussian_filter(image.astype(np.float64), (0, BLUR, BLUR), mode='nearest')
    result = np.sqrt(sum(ndimage.sobel(blurred, axis, mode='nearest') ** 2 for axis in (1, 2)).sum(0))
    if not result.any():
        return np.asarray(result)
    result /= ndimage.gaussian_filter(result, AROUND, mode='nearest') + result.mean() / 20      # not texture, but edges
    return np.asarray(result / result.mean())


def along(lines: npt.NDArray[np.float64], slope: npt.NDArray[np.float64]) -> float:
    """Mean gradient along an outline; nan without one."""
    total = lines.sum()
    return float((lines * slope).sum() / total) if total else float('nan')


def align(pairs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Alignment:
    """Compare masks with their photographs.

    Parameters
    ----------
    pairs : sequence of (array, array)
        C x H x W and H x W.

    Returns
    -------
    Alignment
    """
    known = [(outline(label), gradient(image)) for image, label in pairs if min(label.shape) > 2 * NEAREST]
    known = [(lines, slope) for lines, slope in known if lines.any() and slope.any()]
    if not known:
        return Alignment()
    own = np.array([along(lines, slope) for lines, slope in known])
    ways = {name: np.array([along(lines[way], slope) for lines, slope in known]) for name, way in WAYS.items()}
    mirrored = max(ways, key=lambda name: float(ways[name].mean()))
    place, there = _shifted(known)
    others = np.array([[along(_resized(lines, slope.shape), slope) for _, slope in known] for lines, _ in known])
    moved = max(map(abs, place)) > NEAREST and _clearly(there, own)
    turned = _clearly(ways[mirrored], own)
    if moved and turned:        # what fits better
        moved, turned = there.mean() > ways[mirrored].mean(), there.mean() <= ways[mirrored].mean()
    figures = {'own': float(own.mean()), **{name: float(found.mean()) for name, found in ways.items()},
               'shifted': float(there.mean())}
    return Alignment(len(known), float(own.mean()), mirrored if turned else '',
                     place if moved else (0, 0),
                     _apart(own, others), figures)


def _clearly(found: npt.NDArray[np.float64], own: npt.NDArray[np.float64]) -> bool:
    """Whether another way to lay masks over photographs is right: it is better for nearly all, by far."""
    more = found - own
    if len(more) < ENOUGH or found.mean() < BETTER:
        return False
    error = more.std(ddof=1) / np.sqrt(len(more))
    return bool(more.mean() > max(CLEARLY * error, 0.25 * (found.mean() - 1)) and (more > 0).mean() >= 0.75)


def _shifted(known: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
             ) -> tuple[tuple[int, int], npt.NDArray[np.float64]]:
    """The shift at which all masks together fit best, and how well each does there."""
    height, width = (min(lines.shape[axis] for lines, _ in known) for axis in (0, 1))
    down, right = (max(int(FARTHEST * n), 1) for n in (height, width))
    total = np.zeros((2 * down + 1, 2 * right + 1))
    maps = []
    for lines, slope in known:
        size = [n + m for n, m in zip(lines.shape, (down, right), strict=True)]
        # Beyond the image the gradient is that of chance.
        sums = np.fft.irfft2(np.conj(np.fft.rfft2(lines, size)) * np.fft.rfft2(slope - 1, size), size)
        found = 1 + np.roll(sums, (down, right), (0, 1))[:2 * down + 1, :2 * right + 1] / lines.sum()
        maps.append(found)
        total += found
    y, x = np.unravel_index(int(total.argmax()), total.shape)
    # The masks are to be moved by (y - down, x - right), so that is how far up and left of their place they are.
    return (int(down - y), int(right - x)), np.array([found[y, x] for found in maps])


def _resized(lines: npt.NDArray[np.float64], size: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """An outline at another size, each pixel the nearest one."""
    y, x = (np.minimum((np.arange(n) * m) // n, m - 1) for n, m in zip(size, lines.shape, strict=True))
    return np.asarray(lines[np.ix_(y, x)])


def _apart(own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    """Standard errors by which masks fit their own photographs better than those of others."""
    n = len(own)
    if n < ENOUGH:
        return float('nan')
    rest = np.where(np.eye(n, dtype=bool), np.nan, others)
    if np.isnan(rest).sum() > n:
        return float('nan')
    more = own - np.nanmean(rest, 1)
    error = more.std(ddof=1) / np.sqrt(n)
    return float(more.mean() / error) if error else float('nan')
