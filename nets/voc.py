"""What the PASCAL VOC nets share: train on SBD, score on the part of VOC 2011 val that SBD does not train on."""
from data_layers.voc import CLASSES
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = len(CLASSES)
DATASETS = {'train': ('sbd', 'train'), 'val': ('voc', 'seg11valid'), 'deploy': ('voc', 'deploy')}


def feed(split):
    """A net that begins with `data` and `label`."""
    return blocks.feed(*DATASETS[split], images={'data': 'data'})


def recipe(base_lr, **changes):
    return Recipe(**dict(base_lr=base_lr, iterations=100_000, score_every=4_000, snapshot=4_000, test_iter=736)
                  | changes)
