"""Labels and photographs as a net gets them, read and measured without Caffe."""
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import cli
from cli import BadInput
from data_layers import VOID, Dataset, augment
from data_layers.own.folder import PLANES, Folder
from data_layers.own.masks import read_stored
from solvers.doctor.outlines import Alignment, align
from solvers.losses import overlap
from solvers.source import facts, open_source

MOST = 24           # samples of a split that are read
PAIRED = 8          # of which so many are compared with their masks
SIDE = 96           # pixels of the part of an image that is learnt
LARGE = 400         # pixels: larger photographs are thinned out before they are compared with their masks


@dataclass
class Split:
    """What the samples of a split came to.

    Attributes
    ----------
    name : str
        Of the split.
    count : int
        Samples that it has.
    read : int
        Samples that were read.
    problems : list of str
        Why others could not be.
    strange : Counter of str
        Value stored in a mask that means no class -> pixels; of your own data alone.
    histogram : array of int, 256
        Pixels of each value of the labels.
    single : int
        Samples whose labelled pixels are all of one class.
    labelled : list of int
        Labelled pixels of each sample, as the net gets it.
    mean, deviation : array of float, C
        Of the pixels of the photographs, on their own scale, before anything is subtracted.
    highest : float
        Of these pixels.
    """
    name: str
    count: int
    read: int = 0
    problems: list[str] = field(default_factory=list)
    strange: Counter[str] = field(default_factory=Counter)
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    single: int = 0
    labelled: list[int] = field(default_factory=list)
    mean: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    deviation: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    highest: float = 0.0

    @property
    def present(self) -> list[int]:
        """Classes that occur."""
        return [k for k in range(VOID) if self.histogram[k]]


@dataclass
class Samples:
    """What the data came to.

    Attributes
    ----------
    dataset : Dataset
        The split that trains.
    label : str
        The label top that is looked at: that of the first loss.
    train, val : Split
    alignment : Alignment
        Of the masks and what is in the photographs.
    images : list of (str, dict of str to array)
        Id and tops of parts of images, as the net gets them, C x H x W: the first is the one to be learnt, the others
        are held out.
    size : (int, int)
        Height and width of a whole image in training, in pixels: the median.
    """
    dataset: Dataset
    label: str
    train: Split
    val: Split
    alignment: Alignment
    images: list[tuple[str, dict[str, npt.NDArray[Any]]]]
    size: tuple[int, int]


def spread(count: int, most: int) -> list[int]:
    """Numbers of samples to read: half of them from the beginning, the others from everywhere."""
    if count <= most:
        return list(range(count))
    first = range(most // 2)
    return [*first, *np.linspace(most // 2, count - 1, most - most // 2).astype(int).tolist()]


def look_at(net: Any, scored: Any, label: str, held_out: int, side: int = SIDE) -> Samples:
    """Read samples of both splits.

    Parameters
    ----------
    net, scored : caffe_pb2.NetParameter
        The net that trains and the one that scores.
    label : str
        The label top to look at.
    held_out : int
        Parts of held-out images to bring along.
    side : int
        Of those parts, in pixels.

    Returns
    -------
    Samples

    Raises
    ------
    BadInput
        A data set is missing, or states something wrong.
    """
    trained, tested = open_source(net), open_source(scored)
    read = facts(net)
    crop = read.get('crop')
    result, parts, pairs, sizes = {}, [], [], []
    for which, dataset in (('train', trained), ('val', tested)):
        split = result[which] = Split(dataset.split, len(dataset))
        sums: list[npt.NDArray[np.float64]] = []
        for id, sample in _read(dataset, split, f'read {dataset.split}'):
            tops = dict(zip(dataset.tops, sample, strict=True))
            _add(split, tops[label], dataset.overlapping)
            image = next(top for top in dataset.tops if top in dataset.means)
            pixels = tops[image].astype(np.float64) + np.reshape(dataset.means[image], (-1, 1, 1))
            sums.append(np.array([pixels.mean((1, 2)), (pixels ** 2).mean((1, 2))]))
            split.highest = max(split.highest, float(pixels.max()))
            if not dataset.overlapping and split.read <= PAIRED:
                pairs.append((thinned(tops[image]), thinned(tops[label][0])))
            if which == 'train':
                sizes.append(tops[label].shape[1:])
            parts.append((which, id, _prepared(net, dataset, cut(tops, label, crop or side))))
        if sums:
            mean, square = np.mean(sums, 0)
            split.mean, split.deviation = mean, np.sqrt(np.maximum(square - mean ** 2, 0))
    learnt = max((part for part in parts if part[0] == 'train'), key=lambda part: variety(part[2][label]), default=None)
    others = [part for part in parts if part[0] == 'val'][:held_out]
    whole = tuple(int(n) for n in np.median(sizes, 0)) if sizes else (side, side)
    options = {key: read[key] for key in augment.OPTIONS if key in read}
    return Samples(trained, label, result['train'], result['val'], align(pairs),
                   [(id, tops) for _, id, tops in ([learnt] if learnt else []) + others],
                   augment.size_of(whole[0], whole[1], **{**options, 'scale': None} if options else {}))


def _read(dataset: Dataset, split: Split, what: str) -> Iterator[tuple[str, tuple[npt.NDArray[Any], ...]]]:
    """The samples of a split that can be read; notes the others."""
    ids = [dataset.ids[i] for i in spread(len(dataset.ids), MOST)]
    for id in cli.progress(list(dict.fromkeys(ids)), desc=what, unit='image', leave=False):
        try:
            sample = dataset.load(id)
        except BadInput as problem:
            split.problems.append(str(problem))
            if isinstance(dataset, Folder) and dataset.card.masks != PLANES:
                split.strange.update(strange_values(dataset, id))
            continue
        split.read += 1
        yield id, sample


def strange_values(dataset: Folder, id: str) -> Counter[str]:
    """The values stored in a mask that mean no class, with their pixels."""
    try:
        positions, keys = read_stored(dataset.file('label', id), dataset.card.masks)
    except BadInput:
        return Counter()
    counts = np.bincount(positions.ravel(), minlength=len(keys))
    return Counter({key: int(count) for key, count in zip(keys, counts, strict=True)
                    if key not in dataset.card.values})


def _add(split: Split, label: npt.NDArray[Any], overlapping: bool) -> None:
    if overlapping:         # K planes: a pixel is labelled where any is not void
        known = (label != VOID).any(0)
        split.histogram[:len(label)] += (label == 1).sum((1, 2))
        split.histogram[VOID] += int((~known).sum())
        split.labelled.append(int(known.sum()))
        return
    counts = np.bincount(label.ravel().astype(np.int64), minlength=256)[:256]
    split.histogram += counts
    split.single += int(np.count_nonzero(counts[:VOID]) == 1)
    split.labelled.append(int(counts[:VOID].sum()))


def cut(tops: dict[str, npt.NDArray[Any]], label: str, side: int) -> dict[str, npt.NDArray[Any]]:
    """The square of a sample with the most variety in its labels; all of it along an axis that is shorter.

    Parameters
    ----------
    tops : dict of str to array
        C x H x W each.
    label : str
        The label among them.
    side : int
        In pixels.
    """
    height, width = tops[label].shape[-2:]
    step = max(side // 2, 1)
    rows, columns = (range(0, max(length - side, 0) + 1, step) for length in (height, width))
    places = [(y, x) for y in rows for x in columns]
    y, x = max(places, key=lambda place: variety(tops[label][:, place[0]:place[0] + side, place[1]:place[1] + side]))
    return {top: np.ascontiguousarray(array[:, y:y + side, x:x + side]) for top, array in tops.items()}


def _prepared(net: Any, dataset: Dataset, tops: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """A sample with planes for each class, where the net takes its labels so."""
    from data_layers.layers import planes_of
    if dataset.overlapping or not (facts(net).get('planes') or overlap(net)):
        return tops
    return {top: planes_of(array, len(dataset.classes[top])) if top in dataset.classes else array
            for top, array in tops.items()}


def variety(label: npt.NDArray[Any]) -> float:
    """The loss of a pixel, in nats, for whoever knows how frequent the classes of a label are and nothing else."""
    counts = np.bincount(label.ravel().astype(np.int64), minlength=256)[:VOID].astype(np.float64)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum()) if len(shares) else -1.0


def thinned(array: npt.NDArray[Any], most: int = LARGE) -> npt.NDArray[Any]:
    """Every second, third, ... pixel, so that no side has more than so many."""
    step = -(-max(array.shape[-2:]) // most)
    return array[..., ::step, ::step]
