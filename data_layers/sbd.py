"""SBD, the Semantic Boundaries Dataset: masks for 11,355 images of VOC 2011. The papers' VOC nets learn on its train.

A label is the original cls/ID.mat (struct `GTcls`, field `Segmentation`) or, where that is missing, cls/ID.png of a
converted copy.
"""
from pathlib import Path

import numpy as np

from data_layers.dataset import VOC_MEAN, Dataset
from data_layers.reading import read_indices, read_mat, to_classes
from data_layers.voc import CLASSES, NUM_CLASSES


class SBD(Dataset):
    """SBD: see `Dataset`."""

    name = 'sbd'
    title = 'Semantic Boundaries Dataset'
    source = ('benchmark.tgz from '
              'http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz')
    licence = ('photographs from flickr (VOC 2011), to be used under its terms; the annotations come without a stated '
               'licence, to be cited: Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011')
    layout = 'img/ID.jpg, cls/ID.mat (or converted: cls/ID.png), train.txt, val.txt'
    home = 'sbdd/dataset'
    places = ('', 'dataset', 'benchmark_RELEASE/dataset', 'sbdd/dataset')
    marker = 'cls'
    means = {'data': VOC_MEAN}
    classes = {'label': CLASSES}
    stored = ('GTcls', 'Segmentation')
    published = {'train': 8498, 'val': 2857}

    def file(self, top: str, id: str) -> Path:
        if top == 'data':
            return self.root / f'img/{id}.jpg'
        original, converted = self.root / f'cls/{id}.mat', self.root / f'cls/{id}.png'
        return converted if converted.is_file() and not original.is_file() else original

    def read_label(self, top: str, path: Path) -> np.ndarray:
        return read_mask(path)


def read_mask(path: Path) -> np.ndarray:
    """The classes of a mask, H x W, uint8: the original MAT or a converted PNG."""
    values = read_indices(path) if path.suffix == '.png' else read_mat(path, *SBD.stored)
    return to_classes(values, NUM_CLASSES, path)
