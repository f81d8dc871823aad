"""SIFT Flow: outdoor scenes of 256x256 pixels, each labelled twice, with 33 semantic and 3 geometric classes.

In the files, classes count from 1; 0 is void in both labels, and so is -1 in the geometric one. Cow, desert and moon do
not occur in the test split, and highway_bost181 and street_urb506 have no annotation.
"""
from pathlib import Path

import numpy as np

from data_layers.dataset import Dataset
from data_layers.reading import read_mat, to_classes

SEMANTIC = ('awning', 'balcony', 'bird', 'boat', 'bridge', 'building', 'bus', 'car', 'cow', 'crosswalk', 'desert',
            'door', 'fence', 'field', 'grass', 'moon', 'mountain', 'person', 'plant', 'pole', 'river', 'road', 'rock',
            'sand', 'sea', 'sidewalk', 'sign', 'sky', 'staircase', 'streetlight', 'sun', 'tree', 'window')
GEOMETRIC = ('sky', 'horizontal', 'vertical')
CATEGORIES = 'spatial_envelope_256x256_static_8outdoorcategories'   # the one folder below Images and the labels


class SIFTFlow(Dataset):
    """SIFT Flow, with the label tops `sem` and `geo`: see `Dataset`."""

    name = 'siftflow'
    title = 'SIFT Flow'
    source = 'SiftFlowDataset.zip from http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip'
    licence = ('no licence is stated; to be cited: Liu et al., Nonparametric Scene Parsing via Label Transfer, PAMI '
               '2011, and for the geometric labels Tighe and Lazebnik, SuperParsing, ECCV 2010')
    layout = (f'Images/{CATEGORIES}/ID.jpg, SemanticLabels/{CATEGORIES}/ID.mat, GeoLabels/{CATEGORIES}/ID.mat, '
              '{trainval,test}.txt')
    home = 'sift-flow'
    places = ('', 'sift-flow', 'SiftFlowDataset')
    marker = 'SemanticLabels'
    means = {'data': (114.578, 115.294, 108.353)}
    classes = {'sem': SEMANTIC, 'geo': GEOMETRIC}
    stored = ('S',)
    default_tops = ('data', 'sem', 'geo')
    published = {'trainval': 2488, 'test': 200}
    training, scored = 'trainval', 'test'

    def file(self, top: str, id: str) -> Path:
        if top == 'data':
            return self.root / 'Images' / CATEGORIES / f'{id}.jpg'
        return self.root / {'sem': 'SemanticLabels', 'geo': 'GeoLabels'}[top] / CATEGORIES / f'{id}.mat'

    def read_label(self, top: str, path: Path) -> np.ndarray:
        return to_classes(read_mat(path, *self.stored), len(self.classes[top]), path, first=1,
                          void=(0,) if top == 'sem' else (0, -1))
