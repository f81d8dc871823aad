"""What the NYUDv2 nets share: 40 classes, and color, log depth and HHA images in any combination."""
from data_layers.nyud import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)
PHASES = ('trainval', 'test')


def feed(split, **images):
    """A net that begins with `label` and the given images: `feed(split, data='color')` calls the color image `data`."""
    return blocks.feed('nyud', split, images)


def recipe(base_lr):
    return Recipe(base_lr=base_lr, iterations=100_000, max_iter=300_000, score_every=2_000, snapshot=2_000,
                  test_iter=654)
