"""What the PASCAL VOC nets share: train on SBD, score on the part of VOC 2011 val that SBD does not train on."""
from dataclasses import replace
from typing import Any

from caffe.net_spec import NetSpec

from data_layers.voc import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)
PHASES = ('train', 'val')
DATASETS = {'train': ('sbd', 'train'), 'val': ('voc', 'seg11valid'), 'deploy': ('voc', 'deploy')}


def feed(split: str) -> NetSpec:
    """A net that begins with `data` and `label`."""
    return blocks.feed(*DATASETS[split], images={'data': 'data'})


def recipe(base_lr: float, **changes: Any) -> Recipe:
    """100,000 steps, scored and kept every 4,000."""
    return replace(Recipe(base_lr, iterations=100_000, score_every=4_000, snapshot=4_000, test_iter=736), **changes)
