"""What the SIFT Flow nets share: two labels of each image, semantic and geometric, learnt at once over one trunk."""
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from caffe.net_spec import NetSpec

from data_layers.siftflow import GEOMETRIC, SEMANTIC
from nets import blocks
from nets.blocks import Net
from nets.vgg16 import vgg16
from solvers.recipe import Recipe

NUM_CLASSES = {'sem': len(SEMANTIC), 'geo': len(GEOMETRIC)}
PHASES = ('trainval', 'test')
LOSSES = {'sem': 'loss', 'geo': 'loss_geo'}


def feed(split: str) -> NetSpec:
    """A net that begins with `data`, `sem` and `geo`."""
    return blocks.feed('siftflow', split, {'data': 'data'}, tuple(NUM_CLASSES))


def two_tasks(head: Callable[[NetSpec, str, int], None]) -> Callable[[str], Net]:
    """A net with one trunk and twice the `head`, a function of the net, the suffix of its layers and the classes."""
    @wraps(head)
    def fcn(split: str) -> Net:
        n = feed(split)
        vgg16(n)
        for task, classes in NUM_CLASSES.items():
            head(n, f'_{task}', classes)
            blocks.loss(n, f'score_{task}', task, LOSSES[task])
        return n.to_proto()
    return fcn


def recipe(base_lr: float, **changes: Any) -> Recipe:
    """100,000 steps, scored every 2,000 and kept every 4,000."""
    return replace(Recipe(base_lr, iterations=100_000, score_every=2_000, snapshot=4_000, test_iter=200), **changes)
