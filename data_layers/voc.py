"""PASCAL VOC 2011 and 2012: 20 kinds of object and background, masks as palette PNG whose index is the class.

The split the papers score on, seg11valid, is VOC 2011's segmentation val without the images that SBD trains on. It is
computed from the two lists, or taken from ImageSets/Segmentation/seg11valid.txt where that exists.
"""
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.dataset import VOC_MEAN, Dataset, data_home
from data_layers.reading import read_indices, read_lines, to_classes

CLASSES = ('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
           'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
NUM_CLASSES = len(CLASSES)
LICENCE = ('photographs from flickr, to be used under its terms; the annotations come without a stated licence, to be '
           'cited: Everingham et al., The PASCAL Visual Object Classes Challenge')


class VOC2012(Dataset):
    """PASCAL VOC 2012, segmentation: see `Dataset`."""

    name = 'voc2012'
    title = 'PASCAL VOC 2012'
    source = ('VOCtrainval_11-May-2012.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ '
              '(the test images for a submission: VOC2012test.tar from the evaluation server, after registration)')
    licence = LICENCE
    layout = 'JPEGImages/ID.jpg, SegmentationClass/ID.png, ImageSets/Segmentation/{train,val,trainval,test}.txt'
    home = 'pascal/VOC2012'
    places: tuple[str, ...] = ('', 'VOC2012', 'VOCdevkit/VOC2012', 'pascal/VOC2012')
    marker = 'ImageSets/Segmentation'
    means = {'data': VOC_MEAN}
    classes = {'label': CLASSES}
    unlabelled = ('test',)
    published = {'train': 1464, 'val': 1449, 'trainval': 2913, 'test': 1456}

    @classmethod
    def lists(cls, root: Path) -> Path:
        return root / 'ImageSets/Segmentation'

    @classmethod
    def splits(cls, root: str | Path | None = None) -> list[str]:
        """Names of all lists that are there, the published ones or a user's."""
        return cls.listed(root)

    def file(self, top: str, id: str) -> Path:
        return self.root / (f'JPEGImages/{id}.jpg' if top == 'data' else f'SegmentationClass/{id}.png')

    def read_label(self, top: str, path: Path) -> np.ndarray:
        return to_classes(read_indices(path), NUM_CLASSES, path)


class VOC(VOC2012):
    """PASCAL VOC 2011, segmentation, with the papers' validation split seg11valid: see `Dataset`."""

    name = 'voc'
    title = 'PASCAL VOC 2011'
    source = 'VOCtrainval_25-May-2011.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2011/'
    home = 'pascal/VOC2011'
    places = ('', 'VOC2011', 'VOCdevkit/VOC2011', 'TrainVal/VOCdevkit/VOC2011', 'pascal/VOC2011')
    published = {'train': 1112, 'val': 1111, 'trainval': 2223, 'seg11valid': 736}
    scored = 'seg11valid'

    @classmethod
    def splits(cls, root: str | Path | None = None) -> list[str]:
        """Names of all lists that are there, and seg11valid where it can be computed."""
        computed = ['seg11valid'] if sbd_train(cls.locate(root)).is_file() else []
        return sorted({*super().splits(root), *computed})

    def split_ids(self, split: str) -> list[str]:
        """The ids of a split, from its list, or computed for seg11valid."""
        if split != 'seg11valid' or (self.lists(self.root) / 'seg11valid.txt').is_file():
            return super().split_ids(split)
        train = sbd_train(self.root)
        if not train.is_file():
            raise BadInput(f'{self.name}: seg11valid is VOC 2011 val without SBD train, but {train} is missing; '
                           'prepare SBD first (python -m data_layers prepare sbd), or put a seg11valid.txt '
                           f'into {self.lists(self.root)}')
        return seg11valid(super().split_ids('val'), read_lines(train))

    def trained_on(self) -> list[str]:
        """The ids of SBD train, which the papers' nets learn from."""
        train = sbd_train(self.root)
        return read_lines(train) if train.is_file() else super().trained_on()


def sbd_train(root: Path) -> Path:
    """Where SBD's list of training images is.

    Parameters
    ----------
    root : path
        The folder of VOC 2011.

    Returns
    -------
    path
        Of the SBD beside VOC 2011, or of the one in `$FCN_DATA`, which may be missing.
    """
    beside = root / '../../sbdd/dataset/train.txt'
    return beside if beside.is_file() else data_home() / 'sbdd/dataset/train.txt'


def seg11valid(val: list[str], sbd_train: list[str]) -> list[str]:
    """The papers' validation split.

    Parameters
    ----------
    val, sbd_train : list of str
        Ids of VOC 2011 val and of SBD train.

    Returns
    -------
    list of str
        VOC 2011 val, in its order, without the images of SBD train.
    """
    trained_on = set(sbd_train)
    return [id for id in val if id not in trained_on]
