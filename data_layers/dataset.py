"""What every data set has in common: one split on disk, read sample by sample as the nets take it.

A data set is a subclass of `Dataset` that says where its files lie (`file`), how their labels are stored (`read_label`)
and which ids a split has (`split_ids`). Everything else, above all the checks that keep bad data away from Caffe
(whose CPU loss indexes out of bounds on a wrong label), is here.

Images leave as float32, C x H x W, BGR, mean subtracted; labels as uint8, 1 x H x W, class indices with 255 for void.
"""
import os
import warnings
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from cli import BadInput

VOID = 255
CHECKOUT = Path(__file__).resolve().parent.parent
VOC_MEAN = (104.00699, 116.66877, 122.67892)    # BGR, the mean of ImageNet that the VGG and CaffeNet weights expect


def data_home() -> Path:
    """The folder of all data sets: `$FCN_DATA`, or `data/` of the checkout."""
    return Path(os.environ.get('FCN_DATA') or CHECKOUT / 'data')


@lru_cache(1024)     # those that are read ahead are asked for again and again
def draw(seed: int, position: int, n: int) -> int:
    """The sample, of n, at a position of the training stream: a pure function, so that a resumed run is exact."""
    return int(np.random.default_rng((seed, position)).integers(n))


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
    unlabelled: tuple[str, ...] = ()    # splits whose labels are kept back
    default_tops: tuple[str, ...] = ('data', 'label')
    published: dict[str, int] = {}      # split -> number of ids the papers' authors had
    training, scored = 'train', 'val'   # the splits of the papers' recipe
    left_out: str | None = None         # a class that some publications leave out of the scores
    void = VOID

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
            if Path(id).name != id or '\\' in id or id == '..':   # ids become file names, of results too
                raise BadInput(f'{self.name}: split {split} in {self.root} has the id {id!r}, which is not a file name')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def mean(self) -> tuple[float, ...]:
        return next(iter(self.means.values()))

    @classmethod
    def describe(cls) -> str:
        """Where the data come from, on which terms, and how they lie on disk."""
        return (f'{cls.name}: {cls.title}\n  from     {cls.source}\n  licence  {cls.licence}\n'
                f'  folder   $FCN_DATA/{cls.home}\n  layout   {cls.layout}')

    # Hooks: each data set has its own.

    @classmethod
    def lists(cls, root: Path) -> Path:
        """The folder of the splits' lists of ids, below the data set's folder."""
        return root

    @classmethod
    def splits(cls, root: str | Path | None = None) -> list[str]:
        """Names of the splits present."""
        folder = cls.lists(cls.locate(root))
        return [split for split in cls.published if (folder / f'{split}.txt').is_file()]

    def split_ids(self, split: str) -> list[str]:
        path = self.lists(self.root) / f'{split}.txt'
        if not path.is_file():
            present = ', '.join(self.splits(self.root)) or 'none'
            raise BadInput(f'{self.name} has no split {split}: {path} is missing (present: {present})')
        return read_lines(path)

    def trained_on(self) -> list[str]:
        """The ids that the papers' nets for this data set learn from, as far as they are here."""
        return self.split_ids(self.training) if self.training in self.splits(self.root) else []

    def file(self, top: str, id: str) -> Path:
        """The file a top of a sample is read from."""
        raise NotImplementedError

    @classmethod
    def read_image(cls, top: str, path: Path) -> np.ndarray:
        """Read an image top, C x H x W, from a file of the data set or of a user: a photograph, if not overridden."""
        return read_photo(path, cls.means[top])

    def read_label(self, top: str, path: Path) -> np.ndarray:
        """Read a label top: H x W class indices."""
        raise NotImplementedError

    # What the rest of the program calls.

    def load(self, id: str) -> tuple[np.ndarray, ...]:
        """Read a sample, one array a top, all of one height and width.

        Raises
        ------
        BadInput
            A file is missing, damaged, of another size than its image, or has labels outside the classes.
        """
        sample = tuple(self.read(top, id) for top in self.tops)
        self.check_sizes(id, dict(zip(self.tops, sample, strict=True)))
        return sample

    def read(self, top: str, id: str) -> np.ndarray:
        """Read one top of a sample, as `load` does."""
        try:
            path = self.file(top, id)
            return self.read_label(top, path)[np.newaxis] if top in self.classes else self.read_image(top, path)
        except BadInput as problem:
            raise BadInput(f'{self.name} {id}: {problem}') from None

    def check_sizes(self, id: str, sample: dict[str, np.ndarray]) -> None:
        """Refuse a sample whose tops differ in height or width."""
        first, *others = sample
        height, width = sample[first].shape[-2:]
        for top in others:
            h, w = sample[top].shape[-2:]
            if (h, w) != (height, width):
                raise BadInput(f'{self.name} {id}: {self.file(top, id)} is {w}x{h} pixels but {self.file(first, id)} '
                               f'is {width}x{height}; replace the wrong one, they must agree')

    def image(self, id: str) -> np.ndarray:
        """The photograph of a sample, H x W x 3, RGB, uint8: for pictures."""
        try:
            return read_rgb(self.file(next(iter(self.means)), id))
        except BadInput as problem:
            raise BadInput(f'{self.name} {id}: {problem}') from None

    @classmethod
    def locate(cls, root: str | Path | None) -> Path:
        """The folder of the data set, given one that is it or holds it."""
        start = Path(root) if root else data_home() / cls.home
        for place in cls.places:
            if (start / place / cls.marker).is_dir():
                return start / place
        raise cls.absent(start, cls.marker)

    @classmethod
    def absent(cls, folder: Path, what: str) -> BadInput:
        return BadInput(f'no {cls.title} in {folder} (there is no {what}): download {cls.source}, then run '
                        f'python -m data_layers prepare {cls.name} --from FOLDER_WITH_THE_DOWNLOAD')


def warn_overlap(training: Dataset, scored: Dataset) -> int:
    """Warn when two splits share samples, so that a score would not be a held-out one; return how many they share."""
    shared = sorted(set(training.ids) & set(scored.ids))
    if shared:
        warnings.warn(f'{scored.name} {scored.split} shares {len(shared)} of its {len(scored)} samples ({shared[0]}, '
                      f'...) with the training split {training.name} {training.split}: its scores are not held-out '
                      'ones', stacklevel=2)
    return len(shared)


# Readers: each names its file when it fails.

def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise unreadable(path, problem) from None
    return [line.strip() for line in lines if line.strip()]


def read_pixels(path: Path) -> Image.Image:
    """Decode a picture file whole."""
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception as problem:  # a damaged file makes the decoders raise almost anything
        raise unreadable(path, problem) from None
    return picture


def read_rgb(path: Path) -> np.ndarray:
    """Read a photograph of any colour mode (grey, CMYK, palette, with alpha) as H x W x 3, RGB, uint8."""
    picture = read_pixels(path)
    if picture.mode[0] in 'IF':     # 16 or 32 bit: a conversion would clip, not scale
        raise BadInput(f'{path} has more than 8 bits a channel; save it as an 8 bit picture')
    return np.asarray(picture if picture.mode == 'RGB' else picture.convert('RGB'))    # which would copy


def read_photo(path: Path, mean: Sequence[float]) -> np.ndarray:
    """Read a photograph as the nets take it: 3 x H x W, float32, BGR, mean subtracted."""
    return to_blob(read_rgb(path)[:, :, ::-1], mean)


def read_indices(path: Path) -> np.ndarray:
    """Read a mask whose pixels are class indices, a palette or grey picture, as H x W integers."""
    picture = read_pixels(path)
    if picture.mode not in ('P', 'L', 'I', 'I;16'):
        raise BadInput(f'{path} is a {picture.mode} picture, not class indices; save the mask as a palette or grey PNG '
                       'whose pixel values are the classes')
    return np.asarray(picture)


def read_mat(path: Path, key: str):
    """Read one variable of a MATLAB file."""
    try:
        variables = scipy.io.loadmat(path, variable_names=[key], struct_as_record=False)
    except NotImplementedError:
        raise BadInput(f'{path} is a MATLAB 7.3 file; save it again in MATLAB with the option -v7') from None
    except Exception as problem:  # a damaged file makes the reader raise almost anything
        raise unreadable(path, problem) from None
    if key not in variables:
        raise BadInput(f'{path} has no variable {key}; it is not a file of this data set')
    return variables[key]


def unreadable(path: Path, problem: Exception) -> BadInput:
    if isinstance(problem, FileNotFoundError):
        return BadInput(f'{path} is missing; restore it from the download')
    reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return BadInput(f'{path} cannot be read ({reason}); restore it from the download')


# From stored values to what the net takes.

def to_blob(image: np.ndarray, mean: Sequence[float]) -> np.ndarray:
    """H x W x C pixels, already in the channel order of `mean`, to C x H x W float32 with the mean subtracted."""
    blob = np.empty((image.shape[2], *image.shape[:2]), np.float32)
    for channel, value in enumerate(mean):      # in double, rounded once
        np.subtract(image[:, :, channel], value, out=blob[channel], dtype=np.float64, casting='same_kind')
    return blob


def to_classes(values: np.ndarray, count: int, path: Path, first: int = 0,
               void: Collection[int] = (VOID,)) -> np.ndarray:
    """Turn stored label values into class indices.

    Parameters
    ----------
    values : array
        H x W label values as stored.
    count : int
        Number of classes, stored as `first` ... `first + count - 1`.
    path : path
        Where they come from, for the complaint.
    void : collection of int
        The values that stand for void.

    Returns
    -------
    array
        H x W, uint8, 0 ... count - 1, or 255 for void.

    Raises
    ------
    BadInput
        A value is neither a class nor void, or the array is not a plane of integers.
    """
    bytes_only = values.dtype == np.uint8
    values = to_integers(values, path)
    possible = np.arange(256) if bytes_only else values     # a mask of bytes is looked up in a table, ten times faster
    is_void = np.isin(possible, tuple(void))
    wrong = ~is_void & ((possible < first) | (possible >= first + count))
    classes = np.where(is_void, VOID, possible - first).astype(np.uint8)
    if bytes_only:
        wrong, classes = wrong.take(values), classes.take(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        some = ', '.join(map(str, np.unique(values[wrong])[:5]))
        raise BadInput(f'{path} has label value {some} (first at row {row}, column {column}), which is neither a class '
                       f'({first} to {first + count - 1}) nor void ({", ".join(map(str, void))}); '
                       'correct the mask, or the list of classes')
    return classes


def to_integers(values: np.ndarray, path: Path) -> np.ndarray:
    """Label values, H x W of any numeric type (MATLAB likes doubles), as int64."""
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in 'iufb':
        raise BadInput(f'{path} holds no plane of labels but an array of shape {values.shape} and type {values.dtype}; '
                       'restore it from the download')
    with np.errstate(invalid='ignore'):     # NaN: found by the comparison
        whole = values.astype(np.int64)
    if (different := whole != values).any():
        raise BadInput(f'{path} has label value {values[different][0]:g}, which is no integer; restore it from the '
                       'download')
    return whole
