"""What the NYUDv2 nets share: 40 classes, and color, log depth and HHA images in any combination."""
from dataclasses import replace
from typing import Any

from caffe.net_spec import NetSpec

from data_layers.nyud import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)
PHASES = ('trainval', 'test')


def feed(split: str, **images: str) -> NetSpec:
    """A net that begins with `label` and the given images: `feed(split, data='color')` calls the color image `data`."""
    return blocks.feed('nyud', split, images)


def recipe(base_lr: float, **changes: Any) -> Recipe:
    """100,000 steps, scored and kept every 2,000."""
    return replace(Recipe(base_lr, iterations=100_000, max_iter=300_000, score_every=2_000, snapshot=2_000,
                          test_iter=654), **changes)
