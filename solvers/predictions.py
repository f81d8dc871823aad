"""Scores of pictures from anywhere: a folder of predictions beside a folder of truths, whatever made them.

Two pictures belong together that have the same path below their folders but for the suffix. Their pixels are numbers of
classes, in palette or grey pictures of 8 or 16 bits; or, where the list of classes has colours, those.
"""
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import cli
from cli import BadInput
from data_layers import VOID
from data_layers.own import classlist
from data_layers.own.masks import Colourful, read_stored, stored_size
from data_layers.reading import read_lines
from solvers.evaluation import Evaluation
from solvers.metrics import ConfusionMatrix

SUFFIXES = {'.png', '.tif', '.tiff', '.bmp'}    # of pictures that keep their values
NO_CLASS = 'no class'       # what a prediction is called whose value is none
LABEL = 'label'             # the task, in the words of the data sets
LISTED = 20                 # of files that are named in one line


class Classes(NamedTuple):
    """What the values of pictures mean.

    Attributes
    ----------
    names : tuple of str
        Of the classes.
    values : dict of str to int
        Value, as of `data_layers.own.masks`, -> class, or `VOID`.
    coloured : bool
        Whether pictures may hold colours.
    colours : tuple of (int, int, int)
        R, G and B of each class, where the list has them.
    """
    names: tuple[str, ...]
    values: dict[str, int]
    coloured: bool
    colours: tuple[tuple[int, ...], ...] = ()


def read_classes(path: Path, void: int | None = None) -> Classes:
    """Read a list of classes, as of `data_layers.own.classlist`.

    Parameters
    ----------
    path : Path
    void : int, optional
        The number that is void in truths; by default 255, unless it is that of a class.

    Raises
    ------
    BadInput
        The file cannot be read, or gives a number two meanings, or has more classes than are possible.
    """
    listed = classlist.read(path)
    names = tuple(dict.fromkeys(entry.name for entry in listed.entries if entry.name is not None))
    if not names or len(names) >= VOID or NO_CLASS in names:
        raise BadInput(f'{path}: {len(names)} classes; 1 to {VOID - 1} are possible, none of them called {NO_CLASS!r}')
    values = {} if void is None else {str(void): VOID}
    for entry in listed.entries:
        meaning = VOID if entry.name is None else names.index(entry.name)
        keys = [str(entry.number)] + ([' '.join(map(str, entry.colour))] if entry.colour else [])
        for key in keys:
            if values.setdefault(key, meaning) != meaning:
                raise BadInput(f'{path}: {key} means two things, each a class or void')
    first = {entry.name: entry.colour or () for entry in reversed(listed.entries)}
    return Classes(names, {str(VOID): VOID} | values if void is None else values, listed.coloured,
                   tuple(first[name] for name in names if first[name]))


class Pair(NamedTuple):
    """A prediction and its truth."""
    id: str
    prediction: Path
    truth: Path


def pairs(predictions: Path, truth: Path, ids: Path | None = None) -> list[Pair]:
    """The pictures that belong together.

    Parameters
    ----------
    predictions, truth : Path
        Folders, searched to any depth.
    ids : Path, optional
        A list of those to score, a path below the folders, without its suffix, a line; by default all truths.

    Returns
    -------
    list of Pair
        In the order of the list, or of the paths.

    Raises
    ------
    BadInput
        A folder has no picture, or pictures are missing or of another size than their truth; names them.
    """
    guesses, truths = found(predictions), found(truth)
    wanted = read_lines(ids) if ids else list(truths)
    for folder, there in ((truth, truths), (predictions, guesses)):
        if missing := [id for id in wanted if id not in there]:
            more = [id for id in guesses if id not in truths]
            raise BadInput(f'{folder} has no picture for {len(missing)} of {len(wanted)}: {listing(missing)}'
                           + (f'; {predictions} has {len(more)} more: {listing(more)}' if more else '')
                           + '; paths below both folders, without suffix, must be the same; --ids FILE scores those '
                             'that it lists')
    if more := [id for id in guesses if id not in set(wanted)]:
        cli.say(f'warning: {predictions} has {len(more)} pictures that are not scored: {listing(more)}')
    result = [Pair(id, guesses[id], truths[id]) for id in dict.fromkeys(wanted)]
    sizes = [(pair, stored_size(pair.prediction), stored_size(pair.truth)) for pair in result]
    if wrong := [f'{pair.id} ({a[1]}x{a[0]}, truth {b[1]}x{b[0]})' for pair, a, b in sizes if a and b and a != b]:
        raise BadInput(f'{predictions} has {len(wrong)} pictures of other sizes than their truth: {listing(wrong)}; '
                       'resize predictions with nearest neighbours, or better their scores')
    return result


def found(folder: Path) -> dict[str, Path]:
    """Path below a folder without suffix -> picture.

    Raises
    ------
    BadInput
        There is none, or two have one name.
    """
    if not folder.is_dir():
        raise BadInput(f'{folder} is no folder of pictures')
    result: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES and not path.is_dir()):
        id = path.relative_to(folder).with_suffix('').as_posix()
        if id in result:
            raise BadInput(f'{result[id]} and {path} are two pictures of one name; remove one of them')
        result[id] = path
    if not result:
        raise BadInput(f'{folder} has no picture; known are {", ".join(sorted(SUFFIXES))}')
    return result


def listing(names: Sequence[str]) -> str:
    """Some names, in a line."""
    return ', '.join(names[:LISTED]) + (f' and {len(names) - LISTED} more' if len(names) > LISTED else '')


def read_classes_of(path: Path, classes: Classes, strict: bool) -> npt.NDArray[np.uint8]:
    """The class of every pixel of a picture.

    Parameters
    ----------
    path : Path
    classes : Classes
    strict : bool
        Refuse values that are neither a class nor void; otherwise they become the number of classes, and so does void.

    Returns
    -------
    array
        H x W, uint8.

    Raises
    ------
    BadInput
        The file is missing, corrupt, or not such a picture.
    """
    try:
        positions, keys = read_stored(path, 'index')
    except Colourful as problem:
        if not classes.coloured:
            raise BadInput(f'{problem}; save class numbers as a palette or grey PNG, or put the colours into --classes'
                           ) from None
        positions, keys = read_stored(path, 'colour')
    if strict and (strange := [key for key in keys if key not in classes.values]):
        row, column = np.argwhere(positions == keys.index(strange[0]))[0]
        raise BadInput(f'{path} has the value {strange[0]} (at row {row}, column {column}), which is neither a class '
                       'nor void; correct it, or name it in --classes or with --void')
    other = len(classes.names)
    table = [classes.values.get(key, other) if strict or classes.values.get(key) != VOID else other for key in keys]
    return np.asarray(np.array(table, np.uint8)[positions])


def score_pictures(pictures: Sequence[Pair], classes: Classes) -> Evaluation:
    """Count what predictions say of truths.

    Parameters
    ----------
    pictures : sequence of Pair
    classes : Classes

    Returns
    -------
    Evaluation
        Its one matrix has the class `NO_CLASS` too where a prediction has a value that is no class: an error for the
        class that is there in truth, and never there itself.

    Raises
    ------
    BadInput
        As of `read_classes_of`, or sizes differ.
    """
    names = (*classes.names, NO_CLASS)
    total, images = ConfusionMatrix(names), {}
    for pair, truth, prediction in both(pictures, classes):
        one = ConfusionMatrix(names)
        try:
            one.update(truth, prediction)
        except ValueError:
            raise BadInput(f'{pair.prediction} is of another size than {pair.truth}') from None
        total.counts += one.counts
        if one.counts.any():
            images[pair.id] = one.compute().summary()
    if not total.counts[:, -1].any():
        total = ConfusionMatrix(classes.names, total.counts[:-1, :-1])
    return Evaluation({LABEL: total}, float('nan'), {LABEL: images})


def both(pictures: Sequence[Pair], classes: Classes
         ) -> Iterator[tuple[Pair, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Each pair with the classes of its truth and of its prediction."""
    for pair in cli.progress(pictures, desc='score', unit='image', leave=False):
        yield pair, read_classes_of(pair.truth, classes, True), read_classes_of(pair.prediction, classes, False)
