"""What the SIFT Flow nets share: two labels of each image, semantic and geometric, learnt at once over one trunk."""
from data_layers.siftflow import GEOMETRIC, SEMANTIC
from nets import blocks
from nets.vgg16 import vgg16
from solvers.recipe import Recipe

TASKS = {'sem': len(SEMANTIC), 'geo': len(GEOMETRIC)}
LOSSES = {'sem': 'loss', 'geo': 'loss_geo'}
PHASES = ('trainval', 'test')


def two_tasks(head):
    """A net with one trunk and twice the `head`, a function of the net, the suffix of its layers and the classes."""
    def fcn(split):
        n = blocks.feed('siftflow', split, {'data': 'data'}, tuple(TASKS))
        vgg16(n)
        for task, classes in TASKS.items():
            head(n, f'_{task}', classes)
            blocks.loss(n, f'score_{task}', task, LOSSES[task])
        return n.to_proto()
    return fcn


def recipe(base_lr):
    return Recipe(base_lr=base_lr, iterations=100_000, score_every=2_000, snapshot=4_000, test_iter=200)
