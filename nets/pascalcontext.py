"""What the PASCAL-Context nets share: 59 classes of objects and stuff, and background."""
from dataclasses import replace
from typing import Any

from caffe.net_spec import NetSpec

from data_layers.pascalcontext import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)
PHASES = ('train', 'val')


def feed(split: str) -> NetSpec:
    """A net that begins with `data` and `label`."""
    return blocks.feed('pascalcontext', split, {'data': 'data'})


def recipe(base_lr: float, **changes: Any) -> Recipe:
    """400,000 steps, scored every 8,000 and kept every 4,000."""
    return replace(Recipe(base_lr, iterations=400_000, max_iter=300_000, score_every=8_000, snapshot=4_000,
                          test_iter=5105), **changes)
