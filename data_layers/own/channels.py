"""What the pictures of your own data are, where they are not colours of 8 bits: channels, and a window for each.

A window goes from the value that 0.5 % of the training pixels are below to the one that 0.5 % are above; channels of 8
bits keep 0 to 255. Blue, green and red share one, so that what is grey stays grey.
"""
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.bands import COLOURS, FULL, Bands, Stored, beside, stored
from workers import spread

OPEN = (-math.inf, math.inf)        # a window that is not found yet
ROBUST = (0.5, 99.5)                # percentiles
POOLED = 1 << 22                    # values of a channel that these are found from
MOST_OF_ONE = 1 << 12               # of them, of one picture
DIGITS = 6                          # of a window of floats


def find(folder: Path, photos: Sequence[str], also: Sequence[str] = (), alpha: bool = False,
         ) -> tuple[Bands | None, list[str]]:
    """Look at the heads of all pictures.

    Parameters
    ----------
    folder : path
        Where they are.
    photos : sequence of str
        The pictures, below the folder.
    also : sequence of str
        Folders beside theirs that hold further channels.
    alpha : bool
        Whether transparency is a channel.

    Returns
    -------
    pictures : Bands or None
        What they are, with windows that are `OPEN` where they are to be found; None for colours of 8 bits, among which
        some pictures may be grey. A picture that cannot be read says nothing, which reading it tells.
    notes : list of str
        What a user should know.

    Raises
    ------
    BadInput
        They are of different kinds, or a file of a folder of `also` is missing.
    """
    heads = {photo: head for photo in photos if (head := _head(folder / photo))}
    clear = [photo for photo, head in heads.items() if head.alpha]
    notes = [f'what {len(clear)} pictures call transparency is left out, {clear[0]} for one; with --alpha it is a '
             'channel'] if clear and not alpha else []
    if not heads:
        return None, notes
    seen = {(head.bands if alpha else head.seen, head.dtype) for head in heads.values()}
    if not also and (3, 'uint8') in seen and seen <= {(3, 'uint8'), (1, 'uint8')}:
        return None, notes
    alike = seen == {(1, 'uint8')} and not also     # transparency comes after the only band
    first = next(iter(heads))
    files = [_kinds(folder, {photo: folder / photo for photo in heads}, alike),
             *(_kinds(folder, {photo: beside(folder / photo, name) for photo in heads}) for name in also)]
    names, bands, window, before = list[str](), list[int](), list[tuple[float, float]](), 0
    for kind, name in zip(files, (None, *also), strict=True):
        kept = [band for band in range(kind.bands) if alpha or band not in kind.alpha]
        names += _names(Path(first).parent.name if name is None else name, kind, len(kept), name is None)
        bands += [before + band + 1 for band in kept]
        window += [FULL if kind.dtype == 'uint8' else OPEN] * len(kept)
        before += kind.bands
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f'two channels would be called {twice[0]}: rename the folder {twice[0]} of --and')
    if not files[0].coloured and names[:3] == [*COLOURS][::-1] and files[0].bands >= 3:
        notes.append(f'the first three bands, of {first} for one, are taken for red, green and blue; if they are '
                     'others, correct "pictures" in dataset.json before training')
    colours = [names.index(name) for name in COLOURS] if {*COLOURS} <= {*names} else []
    order = [*colours, *(i for i in range(len(names)) if i not in colours)]
    found = Bands(tuple(names[i] for i in order), tuple(bands[i] for i in order), tuple(window[i] for i in order),
                  tuple(also))
    return (None if found == Bands(COLOURS, (3, 2, 1), (FULL,) * 3) else found), notes


def _head(path: Path) -> Stored | None:
    try:
        return stored(path)
    except BadInput:
        return None


def _kinds(folder: Path, paths: dict[str, Path], any_alpha: bool = False) -> Stored:
    """The kind of some files, by the first, once they are seen to be of one."""
    kinds: dict[tuple[object, ...], tuple[Path, Stored]] = {}
    for path in paths.values():
        head = stored(path)
        kinds.setdefault((head.dtype,) if any_alpha else (head.bands, head.dtype, head.alpha), (path, head))
    (one, head), *others = kinds.values()
    if others:
        other, its = others[0]
        raise BadInput(f'the pictures are of different kinds: {one} is {_said(head)}, {other} {_said(its)}; make them '
                       'alike, or leave some out')
    return head


def _said(head: Stored) -> str:
    return f'{head.bands} {"band" if head.bands == 1 else "bands"} of {head.dtype}' + (
        ', one of them transparency' if head.alpha else '')


def _names(folder: str, kind: Stored, count: int, first: bool) -> list[str]:
    """Names of the channels of a file, in its order."""
    if count == 1:
        return [folder if not first or folder in COLOURS else 'grey']
    if not first:
        return [f'{folder} {number}' for number in range(1, count + 1)]
    known = [*COLOURS][::-1] if count >= 3 else ['grey']
    return known + [f'band {number}' for number in range(len(known) + 1, count + 1)]


def sample(pictures: Bands, values: Sequence[np.ndarray], pictures_in_all: int) -> list[np.ndarray]:
    """Some values of each channel whose window is `OPEN`, drawn evenly over a picture; of others none.

    Parameters
    ----------
    pictures : Bands
        As of `find`.
    values : sequence of array, H x W
        As of `Bands.values`.
    pictures_in_all : int
        How many share `POOLED`.

    Returns
    -------
    list of array
        float64, finite.
    """
    count = max(64, min(MOST_OF_ONE, POOLED // max(pictures_in_all, 1)))
    drawn = []
    for plane, window in zip(values, pictures.window, strict=True):
        flat = plane.ravel()
        if flat.size > count:
            flat = flat[np.random.default_rng(0).integers(flat.size, size=count)]
        drawn.append(flat[np.isfinite(flat)].astype(np.float64) if window == OPEN else np.empty(0))
    return drawn


def with_windows(pictures: Bands, samples: Sequence[Sequence[np.ndarray]]) -> Bands:
    """The pictures with all windows found.

    Parameters
    ----------
    pictures : Bands
        As of `find`.
    samples : sequence of list of array
        As of `sample`, of each training picture.

    Raises
    ------
    BadInput
        A channel has no value that is a number.
    """
    pools = [np.concatenate([one[channel] for one in samples]) if samples else np.empty(0)
             for channel in range(len(pictures.channels))]
    if pictures.coloured and all(window == OPEN for window in pictures.window[:3]):
        pools[:3] = [np.concatenate(pools[:3])] * 3
    return replace(pictures, window=tuple(
        window_of(name, pool) if window == OPEN else window
        for name, pool, window in zip(pictures.channels, pools, pictures.window, strict=True)))


def window_of(name: str, values: np.ndarray) -> tuple[float, float]:
    """The window of a channel by its values; whole numbers where all are whole.

    Examples
    --------
    >>> window_of('depth', np.arange(1001.))
    (5.0, 995.0)
    >>> window_of('depth', np.full(9, 7.))
    (7.0, 8.0)
    """
    if not values.size:
        raise BadInput(f'the channel {name} has no number in any training picture; leave it out')
    low, high = (float(value) for value in np.percentile(values, ROBUST))
    if (values == np.round(values)).all():
        low, high = float(math.floor(low)), float(math.ceil(high))
    else:
        low, high = float(f'{low:.{DIGITS}g}'), float(f'{high:.{DIGITS}g}')
    return low, high if high > low else low + max(1.0, abs(low) * 1e-3)


def means(folder: Path, photos: Iterable[str], pictures: Bands, workers: int | None) -> tuple[float, ...]:
    """The mean of each channel after its window, over all pixels with a measurement of some pictures.

    Parameters
    ----------
    folder, photos, pictures
        As of `find`; the windows are found.
    workers : int, optional
        Processes; by default one a core.
    """
    jobs = [*photos]
    sums = np.zeros((2, len(pictures.channels)))
    for one in _spread(folder, jobs, pictures, workers):
        sums += one
    return tuple(round(float(value), 3) for value in sums[0] / np.maximum(sums[1], 1))


def _spread(folder: Path, jobs: list[str], pictures: Bands, workers: int | None) -> Iterator[np.ndarray]:
    few = len(jobs) < 16
    return spread(_sums, jobs, 1 if few else workers, lambda job: folder / job, (folder, pictures))


def _sums(folder: Path, pictures: Bands, photo: str) -> np.ndarray:
    """Sum and number of the measured pixels of each channel."""
    result = np.zeros((2, len(pictures.channels)))
    for channel, _, values in pictures.through(pictures.values(folder / photo)):
        result[:, channel] += np.nansum(values), np.isfinite(values).sum()
    return result
