"""Generated street scenes, and the labels of Cityscapes that they were generated from: which belong together."""
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import cli
from cli import BadInput
from data_layers.cityscapes import LABEL_ENDING, LABELS, PHOTOGRAPHS, read_numbers
from data_layers.reading import IMAGES, read_rgb

FRAME = re.compile(r'([^_]+_[^_]+_\d+)(?!\d)')      # CITY_SHOT_FRAME, at the beginning of a name

Size = tuple[int, int]      # height and width, in pixels


class Frames(NamedTuple):
    """What is compared with what.

    Attributes
    ----------
    pairs : dict of str to (Path, Path)
        Id -> generated picture and label file, sorted by id.
    missing : list of str
        Ids of labels without a picture.
    strange : list of Path
        Pictures without a label.
    """
    pairs: dict[str, tuple[Path, Path]]
    missing: list[str]
    strange: list[Path]


def label_files(folder: Path) -> dict[str, Path]:
    """The label files of a split of Cityscapes, by id.

    Parameters
    ----------
    folder : path
        gtFine/val, or a folder that has it: the labels lie in it, or in its folders of cities.

    Raises
    ------
    BadInput
        There are none, or two of one id.
    """
    for place in (folder / LABELS / 'val', folder / 'val', folder):
        paths = [path for pattern in ('', '*/') for path in sorted(place.glob(f'{pattern}*{LABEL_ENDING}'))]
        found = {path.name.removesuffix(LABEL_ENDING): path for path in paths}
        if len(found) < len(paths):
            id = Counter(path.name.removesuffix(LABEL_ENDING) for path in paths).most_common(1)[0][0]
            raise BadInput(f'{place} has several label files of {id}; leave one of them')
        if found:
            return dict(sorted(found.items()))
    raise BadInput(f'{folder} has no labels: give the folder {LABELS}/val of Cityscapes, whose files are called '
                   f'CITY/CITY_SHOT_FRAME{LABEL_ENDING}')


def match(results: Path, labels: Mapping[str, Path]) -> Frames:
    """Find the generated picture of each label.

    Parameters
    ----------
    results : path
        Folder of pictures, or of folders of them.
    labels : mapping of str to path
        As of `label_files`.

    Raises
    ------
    BadInput
        No such folder, none of its pictures has a label, or several have one.
    """
    if not results.is_dir():
        raise BadInput(f'{results} is no folder; give the one with the generated frames')
    pictures: dict[str, list[Path]] = {}
    strange = []
    for path in sorted(path for pattern in ('*', '*/*') for path in results.glob(pattern)
                       if path.suffix.lower() in IMAGES):
        found = FRAME.match(path.stem)
        if found and found[1] in labels:
            pictures.setdefault(found[1], []).append(path)
        else:
            strange.append(path)
    if not pictures:
        raise BadInput(f'{results} has no picture of any of the {len(labels)} labelled frames: call them as in '
                       f'{next(iter(labels))}_{PHOTOGRAPHS}.png')
    pairs = {id: (the_one(id, pictures[id]), labels[id]) for id in sorted(pictures)}
    return Frames(pairs, [id for id in labels if id not in pairs], strange)


def the_one(id: str, paths: Sequence[Path]) -> Path:
    """The picture of a frame: the only one, or the one that is called as the published script has it."""
    named = [path for path in paths if path.stem == f'{id}_{PHOTOGRAPHS}']
    if len(paths) > 1 and len(named) != 1:
        raise BadInput(f'{paths[0].parent} has {len(paths)} pictures of {id}: {paths[0].name}, {paths[1].name}, ...; '
                       'put those that are to be scored into a folder of their own')
    return (named or paths)[0]


def check(frames: Frames) -> dict[str, tuple[Size, Size]]:
    """Read all files once, which takes minutes, before the net takes hours.

    Parameters
    ----------
    frames : Frames

    Returns
    -------
    dict of str to (Size, Size)
        Id -> height and width of the picture and of the label.

    Raises
    ------
    BadInput
        A file is damaged or of another kind, or labels are of several sizes.
    """
    sizes = {id: (size_of(read_rgb(picture)), size_of(read_numbers(label)))
             for id, (picture, label) in cli.progress(frames.pairs.items(), desc='check', unit='frame', leave=False)}
    common = Counter(label for _, label in sizes.values()).most_common(1)[0][0]
    for id, (_, label) in sizes.items():
        if label != common:
            raise BadInput(f'{frames.pairs[id][1]} is {by(label)} pixels, other labels are {by(common)}; restore it '
                           'from the download')
    return sizes


def size_of(pixels: npt.NDArray[np.uint8]) -> Size:
    """The size of an array H x W ..."""
    return pixels.shape[0], pixels.shape[1]


def by(size: Size) -> str:
    """A size as WIDTHxHEIGHT."""
    return f'{size[1]}x{size[0]}'
