"""What can be measured on masks without knowing their classes: how the pixels of each value lie among the others.

What nobody has labelled lies in seams between all classes, or in ragged patches that touch most of them; a background
is large, in every picture, and what the other values meet; a class is neither. `measure` looks at one mask, `Evidence`
sums up many.
"""
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli import progress
from data_layers.own.masks import read_stored
from workers import spread

BAND = 0.06             # of the shorter side: what is narrower is a seam, where it is between two values
NARROW = 5              # pixels: always narrow
LARGEST = 4096          # pixels a side, of what is measured of a mask
FEW = 0.01              # of all contacts of a value: what it touches less, it does not touch


class Trait(NamedTuple):
    """How the pixels of a value lie, over all masks measured.

    Attributes
    ----------
    share : float
        Of all pixels, in all masks.
    images : float
        Share of the masks that have it.
    seam : float
        Share of its pixels in narrow runs, along a row or a column, between two different other values.
    width : float
        Of the runs through its pixels, the shorter of row and column, the mean over pixels, in pixels.
    met : float
        Share of the other values that it touches.
    even : float
        1 where it touches the others by how many pixels they have, 0 where it touches only what has none.
    contact : float
        Share of all contacts between different values that are its own.
    frame : float
        Share of the outermost pixels that it has.
    height : float
        Of its pixels, the mean: 0 at the top of the picture, 1 at the bottom.
    """
    share: float
    images: float
    seam: float
    width: float
    met: float
    even: float
    contact: float
    frame: float
    height: float


@dataclass
class Evidence:
    """Sums over masks; `+=` takes another's.

    Attributes
    ----------
    count : int
        Of all masks.
    sums : dict of str to Counter
        Name of a quantity -> stored value -> its sum: `stored` and `images`, pixels and masks that have it, over all
        masks; the others over those measured, see `measure`.
    contacts : Counter
        (Value, value), in order -> pairs of neighbouring pixels, along rows and columns.
    across : Counter
        (Value, one side, other side) -> narrow runs of a value between two different ones, which are in order.
    """
    count: int = 0
    sums: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    contacts: Counter[tuple[str, str]] = field(default_factory=Counter)
    across: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __iadd__(self, other: 'Evidence') -> 'Evidence':
        for name, counter in other.sums.items():
            self.sums[name].update(counter)
        self.contacts.update(other.contacts)
        self.across.update(other.across)
        return self

    def traits(self, *void: str) -> dict[str, Trait]:
        """Value -> trait, where some values are void: what lies on both sides of their seams touches."""
        contacts = Counter({pair: number for pair, number in self.contacts.items() if not set(pair) & {*void}})
        for (value, *pair), number in self.across.items():
            if value in void and not set(pair) & {*void}:
                contacts[pair[0], pair[1]] += number
        touched: dict[str, Counter[str]] = {key: Counter() for key in self.sums['stored'] if key not in void}
        for (one, other), number in contacts.items():
            touched[one][other] += number
            touched[other][one] += number
        return {key: self._trait(key, touched[key], max(sum(contacts.values()), 1), len(touched)) for key in touched}

    def _trait(self, key: str, touched: Counter[str], contacts: int, values: int) -> Trait:
        sums, own = self.sums, sum(touched.values())
        measured = max(sums['pixels'][key], 1)
        others = sum(sums['pixels'].values()) - sums['pixels'][key]
        uneven = sum(abs(touched[other] / max(own, 1) - number / max(others, 1))
                     for other, number in sums['pixels'].items() if other != key) / 2
        return Trait(share=sums['stored'][key] / sum(sums['stored'].values()),
                     images=sums['images'][key] / max(self.count, 1),
                     seam=sums['seam'][key] / measured,
                     width=sums['width'][key] / measured,
                     met=sum(1 for number in touched.values() if number >= FEW * own) / max(values - 1, 1),
                     even=1 - uneven,
                     contact=own / contacts,
                     frame=sums['frame'][key] / max(sum(sums['frame'].values()), 1),
                     height=sums['height'][key] / measured)


def measure(positions: np.ndarray, keys: Sequence[str]) -> Evidence:
    """Measure one mask.

    Parameters
    ----------
    positions : array
        H x W integers, as of `masks.read_stored`.
    keys : sequence of str
        The values.

    Returns
    -------
    Evidence
        With the sums `pixels`, `seam` (pixels in narrow runs between two different values), `width` (of the shorter run
        through each pixel, in pixels), `frame` (pixels at the sides) and `height` (of each pixel, from 0 to 1).
    """
    height, width = positions.shape
    narrow = max(NARROW, round(BAND * min(height, width)))
    rows, columns = runs(positions, narrow), runs(positions.T, narrow)
    shorter = np.minimum(rows.length, columns.length.T)
    frame = np.concatenate([positions[0], positions[-1], positions[1:-1, 0], positions[1:-1, -1]])
    tall = np.repeat((np.arange(height) + 0.5) / height, width)
    flat, count = positions.ravel(), len(keys)
    planes = {'pixels': np.bincount(flat, minlength=count),
              'seam': np.bincount(flat, (rows.seam | columns.seam.T).ravel(), count),
              'width': np.bincount(flat, shorter.ravel(), count),
              'frame': np.bincount(frame, minlength=count),
              'height': np.bincount(flat, tall, count)}
    sums = {name: Counter(dict(zip(keys, values.tolist(), strict=True))) for name, values in planes.items()}
    neighbours = [np.stack([positions[:, :-1].ravel(), positions[:, 1:].ravel()]),
                  np.stack([positions[:-1].ravel(), positions[1:].ravel()])]
    pairs = np.concatenate([sides[:, sides[0] != sides[1]] for sides in neighbours], axis=1)
    seams = np.concatenate([rows.seams, columns.seams], axis=1)
    touching = {(a, b): number for (a, b), number in tally(pairs, keys, 0).items()}
    between = {(value, a, b): number for (value, a, b), number in tally(seams, keys, 1).items()}
    return Evidence(0, defaultdict(Counter, sums), Counter(touching), Counter(between))


class Runs(NamedTuple):
    """Along the rows of a map, for each pixel how long the run is that it lies in and whether that is a seam.

    `seams` is 3 x S: of each seam its value, and those before and behind it.
    """
    length: np.ndarray
    seam: np.ndarray
    seams: np.ndarray


def runs(labels: np.ndarray, narrow: int) -> Runs:
    """Runs of one value along the rows of a map.

    Parameters
    ----------
    labels : array
        H x W.
    narrow : int
        Pixels of the longest run that may be a seam.

    Returns
    -------
    Runs
        A seam has another value before it and a third one behind it.

    Examples
    --------
    >>> length, seam, seams = runs(np.array([[0, 0, 9, 1, 9, 1]]), 3)
    >>> length.tolist(), seam.astype(int).tolist(), seams.T.tolist()
    ([[2, 2, 1, 1, 1, 1]], [[0, 0, 1, 0, 0, 0]], [[9, 0, 1]])
    """
    height, width = labels.shape
    begins = np.ones((height, width), bool)
    begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], labels.size)
    flat = np.ascontiguousarray(labels).ravel()
    inside = (starts % width > 0) & (ends % width > 0)
    before, behind = flat[np.maximum(starts - 1, 0)], flat[np.minimum(ends, labels.size - 1)]
    seam = inside & (before != behind) & (ends - starts <= narrow)
    length, of_seam = (np.repeat(values, ends - starts).reshape(height, width) for values in (ends - starts, seam))
    return Runs(length, of_seam, np.stack([flat[starts], before, behind])[:, seam])


def tally(groups: np.ndarray, keys: Sequence[str], fixed: int) -> dict[tuple[str, ...], int]:
    """How often each group of values occurs, whatever the order of all but the first `fixed`.

    Parameters
    ----------
    groups : array
        G x N integers, positions in `keys`.
    keys : sequence of str
        The values.
    fixed : int
        How many of the G keep their place.
    """
    result: Counter[tuple[str, ...]] = Counter()
    coded = np.ravel_multi_index(tuple(groups.astype(np.int64)), (len(keys),) * len(groups))
    for code, number in zip(*np.unique(coded, return_counts=True), strict=True):
        group = [keys[position] for position in np.unravel_index(code, (len(keys),) * len(groups))]
        result[(*group[:fixed], *sorted(group[fixed:]))] += int(number)
    return result


def measure_masks(folder: Path, masks: str, labels: Sequence[str], workers: int | None = None) -> Evidence:
    """Measure masks, in several processes if there are many.

    Parameters
    ----------
    folder : path
        Where they are.
    masks : str
        Their kind, one of `masks.KINDS`.
    labels : sequence of str
        Their files, below the folder; all of them can be read.
    workers : int, optional
        Processes; by default one a core.
    """
    total = Evidence()
    few = len(labels) < 16      # for which no process is worth its start
    every = spread(measure_file, labels, 1 if few else workers, lambda label: folder / label, (folder, masks))
    for one in progress(every, total=len(labels), desc='compare', unit='mask', leave=False):
        total += one
    return total


def measure_file(folder: Path, masks: str, label: str) -> Evidence:
    """Measure the mask in a file, the middle of it where it is larger than `LARGEST`; raises as of `read_stored`."""
    positions, keys = read_stored(folder / label, masks)
    tops = [max((side - LARGEST) // 2, 0) for side in positions.shape]
    return measure(positions[tops[0]:tops[0] + LARGEST, tops[1]:tops[1] + LARGEST], keys)
