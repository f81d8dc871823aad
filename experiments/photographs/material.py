"""The photographs and masks that are learnt from and scored, brought together as one folder in the layout of VOC."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import cli
import files
from cli import BadInput
from data_layers import VOID, open_dataset
from data_layers.palette import save_indexed
from data_layers.reading import read_lines, read_rgb
from data_layers.sbd import SBD, read_mask
from data_layers.voc import VOC2012

HERE = Path(__file__).parent
SPLITS = 'train', 'val'
FEW, SCORED = 'few', 45      # a list of so many of the held-out photographs, that are scored on the way
QUICK = {'train': 30, 'val': 10}    # photographs of a smoke test
MOST_NAMED = 5                      # missing ids that a message names


class Sample(NamedTuple):
    """The files of a photograph and of its mask, a PNG of VOC or a PNG or MAT of SBD."""

    photo: Path
    mask: Path


def gather(folder: Path, root: Path | None, quick: bool, scale: float = 1) -> Path:
    """Bring the photographs together, unless they are there.

    Parameters
    ----------
    folder : Path
        Gets them: links to the files as they are, or smaller copies.
    root : Path, optional
        A folder in the layout of VOC with the lists train and val; by default this project's lists, of VOC 2012 and SBD
        in `$FCN_DATA`.
    quick : bool
        Only as many as `QUICK`, spread evenly.
    scale : float
        Of the pictures: 1 leaves their size.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    BadInput
        Photographs or masks are missing; or the folder holds others.
    """
    lists = {split: thin(ids, QUICK[split] if quick else len(ids)) for split, ids in listed(root).items()}
    if (folder / 'ImageSets').exists():
        if {split: read_lines(list_of(folder, split)) for split in SPLITS} != lists:
            raise BadInput(f'{folder} holds other photographs; remove it, or give another --out')
        return folder
    samples = {id: sample for ids in lists.values() for id, sample in found(ids, root).items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.whole_folder(folder) as aside:
        for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
            (aside / name).mkdir(parents=True)
        for id, sample in cli.progress(samples.items(), desc='photographs', unit='image'):
            place(sample, aside / f'JPEGImages/{id}.jpg', aside / f'SegmentationClass/{id}.png', scale)
        for split, ids in (*lists.items(), (FEW, thin(lists['val'], SCORED))):
            list_of(aside, split).write_text('\n'.join(ids) + '\n')
    return folder


def listed(root: Path | None) -> dict[str, list[str]]:
    """The ids of both splits: of a folder's own lists, or of this project's."""
    if root is None:
        return {split: read_lines(HERE / f'{split}.txt') for split in SPLITS}
    return {split: list(open_dataset(VOC2012.name, split, root).ids) for split in SPLITS}


def list_of(folder: Path, split: str) -> Path:
    """Where the ids of a split are."""
    return folder / f'ImageSets/Segmentation/{split}.txt'


def thin(ids: Sequence[str], most: int) -> list[str]:
    """At most so many of the ids, spread evenly.

    >>> thin('abcdefg', 3)
    ['a', 'c', 'e']
    """
    return [ids[k * len(ids) // min(most, len(ids))] for k in range(min(most, len(ids)))]


def found(ids: Sequence[str], root: Path | None) -> dict[str, Sample]:
    """The files of photographs: VOC's own masks, with void borders, where there is one, and SBD's for the others."""
    voc, sbd = VOC2012.locate(root), None if root else SBD.locate(None)
    result = {}
    for id in ids:
        photos, masks = [voc / f'JPEGImages/{id}.jpg'], [voc / f'SegmentationClass/{id}.png']
        if sbd:
            photos.append(sbd / f'img/{id}.jpg')
            masks += [sbd / f'cls/{id}.mat', sbd / f'cls/{id}.png']
        photo, mask = (next((path for path in paths if path.is_file()), None) for paths in (photos, masks))
        if photo and mask:
            result[id] = Sample(photo, mask)
    if missing := [id for id in ids if id not in result]:
        named = ', '.join(missing[:MOST_NAMED]) + (', ...' if len(missing) > MOST_NAMED else '')
        where = f'{voc}' if root else (f'VOC 2012 ({voc}) and SBD ({sbd}); python -m data_layers prepare voc2012 and '
                                       'prepare sbd put them there')
        raise BadInput(f'{len(missing)} photographs or their masks ({named}) are not in {where}')
    return result


def place(sample: Sample, photo: Path, mask: Path, scale: float) -> None:
    """Put a photograph and its mask where they belong, as links where nothing about them changes."""
    if scale == 1:
        os.symlink(sample.photo.resolve(), photo)
        if sample.mask.suffix == '.png':
            os.symlink(sample.mask.resolve(), mask)
        else:
            save_indexed(mask, read_mask(sample.mask))
        return
    labels = Image.fromarray(read_mask(sample.mask))
    size = round(scale * labels.width), round(scale * labels.height)
    Image.fromarray(read_rgb(sample.photo)).resize(size, Image.Resampling.BICUBIC).save(photo, quality=95)
    save_indexed(mask, np.asarray(labels.resize(size, Image.Resampling.NEAREST)))


def describe(folder: Path) -> dict[str, Any]:
    """What is learnt from and scored: of each split how many photographs, with void borders, and with which classes."""
    result: dict[str, Any] = {}
    for split in SPLITS:
        dataset = open_dataset(VOC2012.name, split, folder)
        counts, borders = np.zeros(len(dataset.classes['label']), int), 0
        for id in cli.progress(dataset.ids, desc=f'masks of {split}', unit='image', leave=False):
            there = np.unique(dataset.read('label', id)[0])
            borders += VOID in there
            counts[there[there != VOID]] += 1
        result[split] = {'photographs': len(dataset), 'with void borders': int(borders),
                         'with class': dict(zip(dataset.classes['label'], map(int, counts), strict=True))}
    return result
