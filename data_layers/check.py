"""Read every image and label of a data set's splits, and list all that is wrong with them at once."""
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cli import BadInput, printable, progress
from data_layers import DATASETS, VOID, Dataset, dataset_type
from data_layers.own.folder import Folder
from workers import spread


@dataclass
class Findings:
    """What one sample, or many, turned out to hold.

    Attributes
    ----------
    problems : list of str
        A line each.
    pixels, images : dict
        Label top -> for each value 0 ... 255, the number of pixels that have it, and of images.
    sums : dict
        Image top -> the sum of each channel, mean included, then the number of pixels.
    """
    problems: list[str] = field(default_factory=list)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)

    def __iadd__(self, other: 'Findings') -> 'Findings':
        self.problems += other.problems
        for mine, theirs in ((self.pixels, other.pixels), (self.images, other.images), (self.sums, other.sums)):
            for top, counts in theirs.items():
                mine[top] = mine.get(top, 0) + counts
        return self


def check(name: str, root: str | Path | None = None, splits: Iterable[str] | None = None,
          tops: Iterable[str] | None = None, workers: int | None = None) -> dict[str, Any]:
    """Check a data set: every sample of its splits, each top on its own.

    Parameters
    ----------
    name, root
        As for `open_dataset`.
    splits : iterable of str, optional
        By default all that are present.
    tops : iterable of str, optional
        By default every one the data set has.
    workers : int, optional
        Processes; by default one a core.

    Returns
    -------
    dict
        What `--json` prints: dataset, root, splits (number of ids and classes absent from each),
        samples, problems and warnings (lines of text), classes (name, share of the labelled pixels, number of images),
        void (share of the pixels), means (of the data and of the recipe, in the channel order of the blob).

    Raises
    ------
    BadInput
        The data set has no split that can be opened; or a sample killed the process that read it.
    """
    dataset, members, problems = open_splits(name, root, splits, tops)
    jobs = {id: False for ids in members.values() for id in ids}
    jobs |= {id: True for split, ids in members.items() if split not in dataset.unlabelled for id in ids}
    total, by_split = Findings(problems), {split: Findings() for split in members}
    for id, found in progress(inspect_all(dataset, jobs, workers), total=len(jobs), desc=f'check {name}', unit='image'):
        total += found
        for split in (split for split in members if id in members[split]):
            by_split[split] += Findings(images=found.images)
    return {
        'dataset': name,
        'root': str(dataset.root),
        'splits': {split: {'ids': len(ids), 'absent': absent(dataset, by_split[split].images)}
                   for split, ids in members.items()},
        'samples': len(jobs),
        'problems': total.problems,
        'warnings': suspicions(dataset, members, total),
        'classes': {top: frequencies(dataset.classes[top], total.pixels[top], total.images[top])
                    for top in total.pixels},
        'void': {top: float(counts[VOID] / counts.sum()) for top, counts in total.pixels.items()},
        'means': {top: {'data': [round(float(channel / sums[-1]), 3) for channel in sums[:-1]],
                        'recipe': list(dataset.means[top])} for top, sums in total.sums.items()},
    }


def open_splits(name: str, root: str | Path | None, splits: Iterable[str] | None, tops: Iterable[str] | None,
                ) -> tuple[Dataset, dict[str, Counter[str]], list[str]]:
    """Open the splits to be checked.

    Parameters
    ----------
    name, root, splits, tops
        As for `check`.

    Returns
    -------
    dataset : Dataset
        To read from, with those of the tops whose folder is there.
    members : dict
        Split -> how often it lists each id.
    problems : list of str
        Splits and folders that are missing.

    Raises
    ------
    BadInput
        None of the splits can be opened.
    """
    kind = dataset_type(name, root)
    tops = tuple(tops or (*kind.means, *kind.classes))
    opened, problems = {}, []
    for split in splits or kind.splits(root):
        try:
            opened[split] = kind(split, root, tops)
        except BadInput as problem:
            problems.append(str(problem))
    if not opened:
        raise BadInput(problems[0] if problems else f'{name} has no split in {kind.lists(kind.locate(root))}; it needs '
                                                    f'{kind.layout}')
    dataset = next(iter(opened.values()))
    files = {top: dataset.file(top, dataset.ids[0]) for top in tops}
    folders = {top: next(folder for folder in path.parents if '*' not in folder.name and not folder.is_file())
               for top, path in files.items()}
    problems += [f'{name}: the folder {folder} of {top} is missing; restore it, or leave {top} out with --tops'
                 for top, folder in folders.items() if not folder.is_dir()]   # one line, not one an image
    dataset.tops = tuple(top for top in tops if folders[top].is_dir())
    return dataset, {split: Counter(one.ids) for split, one in opened.items()}, problems


def inspect_all(dataset: Dataset, jobs: dict[str, bool], workers: int | None) -> Iterator[tuple[str, Findings]]:
    """Inspect the samples of `jobs` (id -> whether it has labels), in order, in several processes."""
    return spread(inspect, jobs.items(), workers, lambda job: f'{dataset.name} {job[0]}', (dataset,))


def inspect(dataset: Dataset, job: tuple[str, bool]) -> tuple[str, Findings]:
    """Read all tops of one sample.

    Parameters
    ----------
    dataset : Dataset
        To read from.
    job : (str, bool)
        The id, and whether the sample has labels.

    Returns
    -------
    id : str
        The same.
    found : Findings
        Of this sample; what cannot be read is among its problems.
    """
    id, labelled = job
    found, sample = Findings(), {}
    tops = [top for top in dataset.tops if labelled or top in dataset.means]
    try:
        dataset.check_heads(id, tops)
    except BadInput as problem:
        found.problems.append(str(problem))
        return id, found
    for top in tops:
        try:
            sample[top] = dataset.read(top, id)
        except BadInput as problem:
            found.problems.append(str(problem))
    try:
        if sample:
            dataset.check_sizes(id, {top: array.shape for top, array in sample.items()})
    except BadInput as problem:
        found.problems.append(str(problem))
    for top, array in sample.items():
        if top in dataset.classes:
            found.pixels[top] = (plane_pixels(array) if dataset.overlapping else
                                 np.bincount(array.ravel(), minlength=256))
            found.images[top] = (found.pixels[top] > 0).astype(int)
        else:
            found.sums[top] = channel_sums(array, dataset.means[top])
            if (array == array[:, :1, :1]).all():
                found.problems.append(f'{dataset.name} {id}: {dataset.file(top, id)} has one {top} value everywhere; '
                                      'restore it from the download')
    return id, found


def plane_pixels(label: np.ndarray) -> np.ndarray:
    """The pixels of each class of a label of K planes, and at 255 those that are void: 256."""
    counts = np.zeros(256, np.int64)
    counts[:len(label)] = (label == 1).sum((1, 2))
    counts[VOID] = (label[0] == VOID).sum()
    return counts


def channel_sums(blob: np.ndarray, means: tuple[float, ...]) -> np.ndarray:
    """Sum up the channels of an image.

    Parameters
    ----------
    blob : array
        C x H x W, mean subtracted.
    means : tuple of float
        One a channel.

    Returns
    -------
    array
        C + 1, float64: the sum of each channel, mean included, and the number of pixels, at least 1. Holes in depth
        (one channel, exactly 0) do not count.
    """
    pixels = blob.reshape(len(blob), -1).astype(np.float64)
    if len(pixels) == 1:
        pixels = pixels[:, pixels[0] != 0]
    count = pixels.shape[1]
    return np.append(pixels.sum(1) + count * np.array(means), max(count, 1))


def absent(dataset: Dataset, images: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Label top -> names of the classes that no image has, given `Findings.images`."""
    return {top: [name for name, count in zip(dataset.classes[top], counts, strict=False) if not count]
            for top, counts in images.items()}


def frequencies(names: tuple[str, ...], pixels: np.ndarray, images: np.ndarray) -> list[dict[str, Any]]:
    """How frequent every class is.

    Parameters
    ----------
    names : tuple of str
        The classes.
    pixels, images : array
        256 each: the pixels of each label value, and the images that have it.

    Returns
    -------
    list of dict
        For every class: name, share of the labelled pixels (as a fraction of 1), number of images.
    """
    labelled = max(pixels[:len(names)].sum(), 1)
    return [{'name': name, 'share': float(pixels[index] / labelled), 'images': int(images[index])}
            for index, name in enumerate(names)]


def suspicions(dataset: Dataset, members: dict[str, Counter[str]], total: Findings) -> list[str]:
    """What need not be wrong but should be known, a line each; `members` is as of `open_splits`."""
    lines = []
    for split, ids in members.items():
        if (published := dataset.published.get(split, len(ids))) != len(ids):
            lines.append(f'{split} lists {len(ids)} ids, the published one {published}')
        if repeated := [id for id, count in ids.items() if count > 1]:
            lines.append(f'{split} lists {len(repeated)} ids more than once: {repeated[0]}, ...')
    trained_on = set(dataset.trained_on())
    if shared := sorted(trained_on & members.get(dataset.scored, Counter()).keys()):
        lines.append(f'the scored split {dataset.scored} shares {len(shared)} ids with what the nets train on: '
                     f'{shared[0]}, ...')
    for top, counts in total.pixels.items():
        if not counts[:len(dataset.classes[top])].any():
            lines.append(f'every pixel of {top} is void')
    return lines


def recognise(folder: Path) -> str:
    """The name of the data set that lies in a folder, by its subfolders.

    Raises
    ------
    BadInput
        None lies there, or several do.
    """
    found = []
    for name, kind in DATASETS.items():
        try:
            found.append((name, kind.locate(folder).resolve()))
        except BadInput:
            continue
    # VOC 2011 and 2012 look alike: tell them by the folder's name.
    names = [name for name, place in found if name not in ('voc', 'voc2012') or
             (name == 'voc2012') == ('2012' in place.name)]
    if len(names) == 1 or Folder.name in names:     # a folder with a description is what it says
        return names[0] if len(names) == 1 else Folder.name
    what = f'several data sets ({", ".join(names)})' if names else 'no data set known here'
    raise BadInput(f'{folder} holds {what}; name one of {", ".join(DATASETS)} and give the folder with --root')


def text(report: dict[str, Any]) -> str:
    """The report of `check` for reading."""
    lines = [f'{report["dataset"]}: {dataset_type(report["dataset"], report["root"]).title} in {report["root"]}, '
             f'{report["samples"]} samples']
    for split, about in report['splits'].items():
        missing = '; '.join(f'no {top} of {", ".join(names)}' for top, names in about['absent'].items()
                            if 0 < len(names) <= 12)
        lines.append(f'  {split:<12}{about["ids"]:>8} ids{"   " + missing if missing else ""}')
    for top, rows in report['classes'].items():
        lines.append(f'{top:<20}{"% of pixels":>12}{"images":>9}   (void {100 * report["void"][top]:.2f} %)')
        lines += [f'  {row["name"]:<18}{100 * row["share"]:>12.3f}{row["images"]:>9}' for row in rows]
    for top, means in report['means'].items():
        data, recipe = (', '.join(f'{value:.3f}' for value in means[key]) for key in ('data', 'recipe'))
        lines.append(f'mean of {top}: {data} (recipe: {recipe})')
    lines += [f'warning: {line}' for line in report['warnings']]
    lines += [f'{len(report["problems"]) or "no"} problems', *(f'  {line}' for line in report['problems'])]
    return '\n'.join(map(printable, lines))
