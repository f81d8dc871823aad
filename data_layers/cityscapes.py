"""Cityscapes: street scenes of 50 cities, with fine annotations of which 19 classes are scored.

The label files number 34 kinds of things, 15 of them void to the task. Nothing lists the splits: they are folders, and
so are the cities in them. The net that was published for the data set has 20 outputs; the last is no class of the task.
"""
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.dataset import Dataset
from data_layers.reading import VOID, read_indices, to_classes

# Number in the label files -> class, in the order of the numbers for training: road is 0 there, bicycle 18.
NUMBERS = {7: 'road', 8: 'sidewalk', 11: 'building', 12: 'wall', 13: 'fence', 17: 'pole', 19: 'traffic light',
           20: 'traffic sign', 21: 'vegetation', 22: 'terrain', 23: 'sky', 24: 'person', 25: 'rider', 26: 'car',
           27: 'truck', 28: 'bus', 31: 'train', 32: 'motorcycle', 33: 'bicycle'}
SCORED = tuple(NUMBERS.values())
UNUSED = 'unused'               # the net's 20th output, which no label has
CLASSES = (*SCORED, UNUSED)
# The data set's own, red, green and blue, of SCORED, and black for what is not used.
COLOURS = ((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
           (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
           (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32), (0, 0, 0))
KINDS = 34                      # numbers in the label files, from 0; 255 is what -1, a licence plate, becomes in a byte
PHOTOGRAPHS, LABELS = 'leftImg8bit', 'gtFine'       # the folders, and parts of the files' names
LABEL_ENDING = f'_{LABELS}_labelIds.png'

_class_of = np.full(256, VOID, np.uint8)
_class_of[list(NUMBERS)] = range(len(NUMBERS))


class Cityscapes(Dataset):
    """Cityscapes with its fine annotations: see `Dataset`. An id is CITY_SHOT_FRAME."""

    name = 'cityscapes'
    title = 'Cityscapes'
    source = ('leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from '
              'https://www.cityscapes-dataset.com/downloads/, after registration')
    licence = ('free for research, teaching and other purposes that are not commercial, on the terms of that page; to '
               'be cited: Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016')
    layout = (f'{PHOTOGRAPHS}/{{train,val,test}}/CITY/ID_{PHOTOGRAPHS}.png, '
              f'{LABELS}/{{train,val,test}}/CITY/ID{LABEL_ENDING}')
    home = 'cityscapes'
    places = ('', 'cityscapes')
    marker = PHOTOGRAPHS
    means = {'data': (72.78044, 83.21195, 73.45286)}
    classes = {'label': CLASSES}
    colours = {'label': COLOURS}
    unlabelled = ('test',)
    published = {'train': 2975, 'val': 500, 'test': 1525}

    @classmethod
    def listed(cls, root: str | Path | None = None) -> list[str]:
        """Names of all folders of photographs, sorted."""
        return sorted(path.name for path in (cls.locate(root) / PHOTOGRAPHS).iterdir() if path.is_dir())

    def split_ids(self, split: str) -> list[str]:
        """The ids of a split: its photographs, sorted, city by city."""
        if split not in (present := self.listed(self.root)):
            raise BadInput(f'{self.name} has no split {split}: {self.root / PHOTOGRAPHS / split} is missing (present: '
                           f'{", ".join(present) or "none"})')
        ending = f'_{PHOTOGRAPHS}.png'
        return [path.name.removesuffix(ending)
                for city in sorted((self.root / PHOTOGRAPHS / split).iterdir())
                for path in sorted(city.glob(f'{city.name}_*{ending}'))]

    def file(self, top: str, id: str) -> Path:
        city = id.partition('_')[0]
        split = next((split for split in (self.split, *self.published)
                      if (self.root / PHOTOGRAPHS / split / city / f'{id}_{PHOTOGRAPHS}.png').is_file()), self.split)
        if top == 'data':
            return self.root / PHOTOGRAPHS / split / city / f'{id}_{PHOTOGRAPHS}.png'
        return self.root / LABELS / split / city / f'{id}{LABEL_ENDING}'

    def read_label(self, top: str, path: Path) -> np.ndarray:
        return read_numbers(path)


def read_numbers(path: Path) -> np.ndarray:
    """Read a label file, whose pixels are numbers of kinds of things.

    Parameters
    ----------
    path : path
        A `*_gtFine_labelIds.png`.

    Returns
    -------
    array
        H x W, uint8: indices into `SCORED`, or 255 for void.

    Raises
    ------
    BadInput
        The file is missing, corrupt or in colours, or holds a number that Cityscapes does not have.
    """
    classes: np.ndarray = _class_of[to_classes(read_indices(path), KINDS, path)]
    return classes
