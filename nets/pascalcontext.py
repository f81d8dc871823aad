"""What the PASCAL-Context nets share: 59 classes of objects and stuff, and background."""
from data_layers.pascalcontext import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)


def feed(split):
    """A net that begins with `data` and `label`."""
    return blocks.feed('pascalcontext', split, {'data': 'data'})


def recipe(base_lr):
    return Recipe(base_lr=base_lr, iterations=400_000, max_iter=300_000, score_every=8_000, snapshot=4_000,
                  test_iter=5105)
