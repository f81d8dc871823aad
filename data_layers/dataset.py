"""What every data set has in common: one split on disk, read sample by sample as the nets take it.

A data set is a subclass of `Dataset` that says where its files lie (`file`), how their labels are stored (`read_label`)
and which ids a split has (`split_ids`). The rest, above all the checks that keep bad data away from Caffe (whose CPU
loss indexes out of bounds on a wrong label), is here.

Images leave as float32, C x H x W, BGR, mean subtracted; labels as uint8, 1 x H x W, class indices with 255 for void.
"""
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.bands import Bands
from data_layers.reading import (
    LARGE,
    LARGE_MAT,
    VOID,
    mat_size,
    picture_size,
    read_lines,
    read_photo,
    read_rgb,
)

CHECKOUT = Path(__file__).resolve().parent.parent
VOC_MEAN = (104.00699, 116.66877, 122.67892)    # BGR, the mean of ImageNet that the VGG and CaffeNet weights expect
SEED = 1337     # of the training stream
TRAINING = re.compile('(?<![a-z])train|(?<!s)train(val)?(?![a-z])')


def data_home() -> Path:
    """The folder of all data sets: `$FCN_DATA`, or `data/` of the checkout."""
    return Path(os.environ.get('FCN_DATA') or CHECKOUT / 'data')


def runs_home() -> Path:
    """The folder of all runs: `$FCN_RUNS`, or `runs/` of the checkout."""
    return Path(os.environ.get('FCN_RUNS') or CHECKOUT / 'runs')


@lru_cache(1024)     # those that are read ahead are asked for again and again
def draw(seed: int, position: int, n: int) -> int:
    """Draw the sample at a position of the training stream: a pure function, so that a resumed run is exact.

    Parameters
    ----------
    seed, position : int
        Of the stream; the first sample is at position 0.
    n : int
        Samples in the split.

    Returns
    -------
    int
        The index of the sample, 0 ... n - 1, each as probable as the others.
    """
    return int(np.random.default_rng((seed, position)).integers(n))


def is_training(split: str) -> bool:
    """Whether samples of a split are drawn at random: a word of its name begins with train, or ends with it.

    Words that end with strain (`strain`, `constrain`) do not count, and one may also end with trainval.

    >>> [split for split in ('train', 'trainval', 'train_aug', 'sbd_train', '2012-train', 'mytrain', 'voctrainval')
    ...  if not is_training(split)]
    []
    >>> [split for split in ('val', 'constrained', 'strain', 'restrained', 'constrain') if is_training(split)]
    []
    """
    return TRAINING.search(split) is not None


class Dataset:
    """One split of a data set.

    Parameters
    ----------
    split : str
        Name of the split, e.g. 'train'.
    root : path, optional
        The data set's folder; by default its own place under `$FCN_DATA`.
    tops : sequence of str, optional
        What `load` returns, in order; by default `default_tops`.

    Attributes
    ----------
    ids : list of str
        The samples of the split, in the order of its file.
    classes : dict
        Label top -> names of its classes, in the order of the net's output.
    mean : tuple of float
        BGR mean of the photographs; `means` has one tuple for each image top, in the channel order of its blob.

    Raises
    ------
    BadInput
        No such data, split or top, or an empty split.
    """

    # What a subclass states.
    name: str                           # as given to open_dataset
    title: str                          # as people call it
    source: str                         # what to download, from where
    licence: str                        # on which terms
    layout: str                         # the folders below `root`
    home: str                           # the usual `root`, under $FCN_DATA
    places: tuple[str, ...] = ('',)     # where else it may lie below the root given: a freshly unpacked archive
    marker: str                         # the folder by which it is recognised
    means: dict[str, tuple[float, ...]]
    classes: dict[str, tuple[str, ...]]
    colours: dict[str, tuple[tuple[int, ...], ...]] = {}    # label top -> R, G and B of its classes; else VOC's
    values: dict[str, tuple[str, ...]] = {}     # label top -> what stands for its classes in the user's own masks
    unlabelled: tuple[str, ...] = ()    # splits whose labels are kept back
    default_tops: tuple[str, ...] = ('data', 'label')
    published: dict[str, int] = {}      # split -> number of ids the papers' authors had; empty: see `splits`
    list_suffix = '.txt'                # of the splits' lists of ids
    training, scored = 'train', 'val'   # the splits of the papers' recipe
    overlapping = False                     # whether labels are K x H x W, a plane for each class
    left_out: str | None = None         # a class that some publications leave out of the scores
    void = VOID
    pictures: Bands | None = None       # what the photographs are where they are not colours of 8 bits
    stored: tuple[str, ...] = ()        # the array of a label that is a MATLAB file: its variable, and perhaps a field

    def __init__(self, split: str, root: str | Path | None = None, tops: Sequence[str] | None = None) -> None:
        self.root = self.locate(root)
        self.split = split
        self.tops = tuple(tops) if tops else self.default_tops
        known = (*self.means, *self.classes)
        if unknown := [top for top in self.tops if top not in known]:
            raise BadInput(f'{self.name} has no top {", ".join(unknown)}: choose from {", ".join(known)}')
        self.ids = self.split_ids(split)
        if not self.ids:
            raise BadInput(f'{self.name}: split {split} in {self.root} is empty; restore its list of ids')
        for id in self.ids:
            if Path(id).name != id or '\\' in id or '\0' in id or id == '..':   # ids become file names, of results too
                raise BadInput(f'{self.name}: split {split} in {self.root} has the id {id!r}, which is not a file name')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean of the first image top, in the channel order of its blob, on the scale 0 ... 255."""
        return next(iter(self.means.values()))

    @classmethod
    def describe(cls) -> str:
        """Where the data come from, on which terms, and how they lie on disk."""
        return (f'{cls.name}: {cls.title}\n  from     {cls.source}\n  licence  {cls.licence}\n'
                f'  folder   $FCN_DATA/{cls.home}\n  layout   {cls.layout}')

    # Hooks: each data set has its own.

    @classmethod
    def lists(cls, root: Path) -> Path:
        """The folder of the splits' lists of ids.

        Parameters
        ----------
        root : path
            The data set's folder, as `locate` gives it.

        Returns
        -------
        path
            `root` itself, if not overridden.
        """
        return root

    @classmethod
    def splits(cls, root: str | Path | None = None) -> list[str]:
        """Names of the splits present: those `published` whose list is there, or without any published, all lists.

        Parameters
        ----------
        root : path, optional
            As for the class.

        Returns
        -------
        list of str
            In the order of `published`, or sorted.

        Raises
        ------
        BadInput
            The data set is not there.
        """
        present = cls.listed(root)
        return [split for split in cls.published if split in present] if cls.published else present

    def split_ids(self, split: str) -> list[str]:
        """Read the ids of a split.

        Parameters
        ----------
        split : str
            Its name.

        Returns
        -------
        list of str
            In the order of the split's list, repeated where that repeats them.

        Raises
        ------
        BadInput
            The list is missing or cannot be read.
        """
        return read_lines(self.list_of(split))

    def trained_on(self) -> list[str]:
        """The ids that the papers' nets for this data set learn from, as far as they are here."""
        return self.split_ids(self.training) if self.training in self.splits(self.root) else []

    def file(self, top: str, id: str) -> Path:
        """The file a top of a sample is read from.

        Parameters
        ----------
        top : str
            One of `means` or `classes`.
        id : str
            The sample.

        Returns
        -------
        path
            The file, whether or not it exists.
        """
        raise NotImplementedError

    @classmethod
    def read_image(cls, top: str, path: Path) -> np.ndarray:
        """Read an image top from a file of the data set or of a user: a photograph, if not overridden.

        Parameters
        ----------
        top : str
            One of `means`.
        path : path
            The file.

        Returns
        -------
        array
            C x H x W, float32, mean subtracted; of a photograph, C is 3, BGR.

        Raises
        ------
        BadInput
            The file is missing, corrupt or of another kind.
        """
        return read_photo(path, cls.means[top])

    def read_label(self, top: str, path: Path) -> np.ndarray:
        """Read a label top from a file of the data set.

        Parameters
        ----------
        top : str
            One of `classes`.
        path : path
            The file.

        Returns
        -------
        array
            H x W, uint8: indices into `classes[top]`, or 255 for void. Of a data set with overlapping classes
            K x H x W, 1 where the class of a plane is and 0 where not, or 255.

        Raises
        ------
        BadInput
            The file is missing, corrupt or of another kind, or holds a value that is neither a class nor void.
        """
        raise NotImplementedError

    # What the rest of the program calls.

    def load(self, id: str) -> tuple[np.ndarray, ...]:
        """Read a sample.

        Parameters
        ----------
        id : str
            One of `ids`.

        Returns
        -------
        tuple of array
            One for each of `tops`, all of one height and width: images C x H x W, float32, mean subtracted; labels
            1 x H x W, uint8, class indices with 255 for void.

        Raises
        ------
        BadInput
            A file is missing, corrupt, of another size than its image, or has labels outside the classes.
        """
        self.check_heads(id, self.tops)
        sample = tuple(self.read(top, id) for top in self.tops)
        self.check_sizes(id, {top: array.shape for top, array in zip(self.tops, sample, strict=True)})
        return sample

    def check_heads(self, id: str, tops: Sequence[str]) -> None:
        """Refuse a sample of `LARGE` files whose sizes differ, before any is decoded.

        Parameters
        ----------
        id : str
            The sample.
        tops : sequence of str
            Those to be read.

        Raises
        ------
        BadInput
            Names the two files that differ.
        """
        sizes = {top: self.size_of(top, self.file(top, id)) for top in tops} if len(tops) > 1 else {}
        known = {top: size for top, size in sizes.items() if size}
        if any(math.prod(size) > LARGE for size in known.values()):
            self.check_sizes(id, known)

    def size_of(self, top: str, path: Path) -> tuple[int, ...] | None:
        """Height and width of a file of the data set, in pixels, where its head says so.

        Parameters
        ----------
        top : str
            One of `means` or `classes`.
        path : path
            The file.

        Returns
        -------
        tuple of int or None
            None where this is not known before the file is read, or it cannot be read.
        """
        if path.suffix != '.mat':
            return picture_size(path)
        try:
            return mat_size(path, *self.stored) if self.stored and path.stat().st_size > LARGE_MAT else None
        except (OSError, ValueError):
            return None

    def read(self, top: str, id: str) -> np.ndarray:
        """Read one top of a sample, as `load` does.

        Parameters
        ----------
        top : str
            One of `means` or `classes`.
        id : str
            The sample.

        Returns
        -------
        array
            C x H x W, float32, of an image; 1 x H x W, uint8, of a label.

        Raises
        ------
        BadInput
            Its file is missing, corrupt, or has labels outside the classes.
        """
        try:
            path = self.file(top, id)
            if top not in self.classes:
                return self.read_image(top, path)
            label = self.read_label(top, path)
            return label if self.overlapping else label[np.newaxis]
        except BadInput as problem:
            raise BadInput(f'{self.name} {id}: {problem}') from None

    def check_sizes(self, id: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a sample whose tops differ in height or width.

        Parameters
        ----------
        id : str
            The sample.
        shapes : mapping of str to tuple of int
            Top -> the shape of its array, ... x H x W.

        Raises
        ------
        BadInput
            Names the two files that differ.
        """
        first, *others = shapes
        height, width = shapes[first][-2:]
        for top in others:
            h, w = shapes[top][-2:]
            if (h, w) != (height, width):
                raise BadInput(f'{self.name} {id}: {self.file(top, id)} is {w}x{h} pixels but {self.file(first, id)} '
                               f'is {width}x{height}; replace the wrong one, they must agree')

    def image(self, id: str) -> np.ndarray:
        """Read the photograph of a sample, H x W x 3, RGB, uint8: for pictures."""
        path = self.file(next(iter(self.means)), id)
        try:
            return self.pictures.rgb(path) if self.pictures else read_rgb(path)
        except BadInput as problem:
            raise BadInput(f'{self.name} {id}: {problem}') from None

    @classmethod
    def locate(cls, root: str | Path | None) -> Path:
        """Find the folder of the data set.

        Parameters
        ----------
        root : path, optional
            A folder that is it or holds it; by default the usual place below `$FCN_DATA`.

        Returns
        -------
        path
            The first of `places` below `root` with a `marker`.

        Raises
        ------
        BadInput
            No such folder; says what to download.
        """
        start = Path(root) if root else data_home() / cls.home
        for place in cls.places:
            if (start / place / cls.marker).is_dir():
                return start / place
        raise cls.absent(start, cls.marker)

    @classmethod
    def listed(cls, root: str | Path | None = None) -> list[str]:
        """Names of all lists of ids that are there, sorted."""
        return sorted(path.stem for path in cls.lists(cls.locate(root)).glob(f'*{cls.list_suffix}'))

    def list_of(self, split: str) -> Path:
        """The list of ids of a split.

        Raises
        ------
        BadInput
            It is missing; names the splits that are present.
        """
        path = self.lists(self.root) / f'{split}{self.list_suffix}'
        if not path.is_file():
            present = ', '.join(self.splits(self.root)) or 'none'
            raise BadInput(f'{self.name} has no split {split}: {path} is missing (present: {present})')
        return path

    @classmethod
    def absent(cls, folder: Path, what: str) -> BadInput:
        """The complaint that a folder holds no such data set, since `what` is missing there."""
        return BadInput(f'no {cls.title} in {folder} (there is no {what}): download {cls.source}, then run '
                        f'python -m data_layers prepare {cls.name} --from FOLDER_WITH_THE_DOWNLOAD')


def warn_overlap(training: Dataset, scored: Dataset) -> int:
    """Warn when two splits share samples, so that a score would not be a held-out one.

    Parameters
    ----------
    training, scored : Dataset
        The two splits, perhaps of different data sets with common ids.

    Returns
    -------
    int
        How many samples they share.
    """
    shared = sorted(set(training.ids) & set(scored.ids))
    if shared:
        warnings.warn(f'{scored.name} {scored.split} shares {len(shared)} of its {len(scored)} samples ({shared[0]}, '
                      f'...) with the training split {training.name} {training.split}: its scores are not held-out '
                      'ones', stacklevel=2)
    return len(shared)
