"""Set-ups that learn, small enough that each step takes milliseconds: data, nets and weights to be broken by tests."""
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from google.protobuf import text_format

import nets
from data_layers import param_str
from nets import blocks
from nets.edits import narrow
from solvers.training import Training
from surgery import write_weights
from surgery.solver_parameter import solver_parameter
from tests.helpers import folders

WIDTH = 8
IMAGES, HELD_OUT = 10, 4



def vgg(stride, root, classes=3, normalize=False):
    """Split -> the papers' net of a stride, for own data, `WIDTH` channels wide, that starts from weights."""
    package = __import__(f'nets.voc_fcn{stride}s.net', fromlist=['fcn'])

    def feed(split):
        return blocks.feed('folder', split, {'data': 'data'}, root=str(root))

    def fcn(split):
        net = narrow(package.fcn(split, SimpleNamespace(feed=feed, NUM_CLASSES=classes)), WIDTH, ('conv', 'fc'))
        for layer in net.layer:
            if layer.name.startswith(('conv', 'fc')):
                layer.convolution_param.ClearField('weight_filler')
            if layer.type == 'SoftmaxWithLoss':
                layer.loss_param.normalize = normalize
        return net
    return fcn


def small(root, classes=3, normalize=True, skip=True):
    """Split -> a net of four convolutions with a skip, in the manner of the papers' nets: scores at strides 8 and 4."""
    def fcn(split):
        n = blocks.feed('folder', split, {'data': 'data'}, root=str(root))
        top = n.data
        for i, (width, pad) in enumerate(((6, 28), (8, 1), (12, 1)), 1):
            n[f'conv{i}'], n[f'relu{i}'] = top, _ = blocks.conv_relu(top, width, pad=pad)
            n[f'pool{i}'] = top = blocks.max_pool(n[f'conv{i}'])
        n.fc4, n.relu4 = blocks.conv_relu(n.pool3, 24, kernel_size=5, pad=0)
        n.drop4 = blocks.dropout(n.fc4)
        n.score_fr = blocks.score(n.drop4, classes)
        n.upscore2 = blocks.upsample(n.score_fr, 2)
        blocks.skip(n, 'pool2', onto='upscore2')
        n.upscore4 = blocks.upsample(n.fuse_pool2, 4)
        n.score = blocks.crop(n.upscore4, n.data)
        blocks.loss(n, normalize=normalize)
        return n.to_proto()
    return fcn


def small_weights(seed=0):
    """Weights for the trunk of `small`."""
    return random_weights({'conv1': (6, 3, 3), 'conv2': (8, 6, 3), 'conv3': (12, 8, 3), 'fc4': (24, 12, 5)}, seed)


def random_weights(shapes, seed=0):
    """Layer -> weights and bias that keep the size of numbers (He et al., ICCV 2015), from pixels to about 1."""
    rng, found = np.random.default_rng(seed), {}
    for number, (name, (out, channels, side)) in enumerate(shapes.items()):
        scale = np.sqrt(2 / (channels * side * side)) * (0.02 if number == 0 else 1)
        found[name] = [(rng.standard_normal((out, channels, side, side)) * scale).astype(np.float32),
                       (0.05 * rng.standard_normal(out)).astype(np.float32)]
    return found


def classifier(seed=0):
    """Weights for that net's trunk: random, but each layer keeps the size of its numbers (He et al., ICCV 2015)."""
    shapes, channels = {}, 3
    sides = {f'conv{stage}_{i}': 3 for stage, depth in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, depth + 1)}
    for name, side in {**sides, 'fc6': 7, 'fc7': 1}.items():
        shapes[name] = WIDTH, channels, side
        channels = WIDTH
    return random_weights(shapes, seed)


class SetUp:
    """A folder of prototxts that learns, its data and its weights; tests change one thing and `write` it.

    Parameters
    ----------
    place : Path
        Gets `own/`, the data set, and `net/`, the folder.
    fcn : callable
        Root of the data -> (split -> NetParameter).
    weights : dict
        To start from; None for fillers.
    base_lr, momentum, iterations
        Of the solver.
    """

    def __init__(self, place, fcn, weights=None, base_lr=1e-4, momentum=0.9, iterations=4000, size=(48, 64)):
        self.root, self.folder = place / 'own', place / 'net'
        folders.write_own(self.root, count=IMAGES, size=size, val=HELD_OUT)
        made = fcn(self.root)
        self.nets = {split: made(split) for split in ('train', 'val', 'deploy')}
        self.weights = weights
        self.solver = solver_parameter(test_iter=HELD_OUT, base_lr=base_lr, momentum=momentum, weight_decay=0.0005,
                                       max_iter=iterations, snapshot=iterations, snapshot_prefix='x')

    def layer(self, name):
        """The layer of a name in each net that has it."""
        return [layer for net in self.nets.values() for layer in net.layer if layer.name == name]

    def data(self, **changes):
        """State more in the data layer of the net that trains."""
        layer = self.nets['train'].layer[0]
        layer.python_param.param_str = param_str.write(**param_str.parse(layer.python_param.param_str) | changes)

    def card(self, **changes):
        """State otherwise in dataset.json."""
        path = self.root / 'dataset.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def write(self):
        """Write the folder; its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, message in {**self.nets, 'solver': self.solver}.items():
            (self.folder / f'{name}.prototxt').write_text(text_format.MessageToString(message))
        if self.weights is not None:
            write_weights(self.folder / 'init.caffemodel', self.weights)
        return self.folder
