"""What nets for Cityscapes share: 19 classes of street scenes, and a 20th output that is none."""
from dataclasses import replace
from typing import Any

from caffe.net_spec import NetSpec

from data_layers.cityscapes import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)
PHASES = ('train', 'val')


def feed(split: str) -> NetSpec:
    """A net that begins with `data` and `label`."""
    return blocks.feed('cityscapes', split, {'data': 'data'})


def recipe(base_lr: float, **changes: Any) -> Recipe:
    """300,000 steps, as for VOC's FCN-8s in one stage, scored and kept every 4,000."""
    return replace(Recipe(base_lr, iterations=300_000, score_every=4_000, snapshot=4_000, test_iter=500), **changes)
