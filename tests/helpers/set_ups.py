"""Set-ups that learn, small enough that each step takes milliseconds: data, nets and weights to be broken by tests."""
import json
from types import SimpleNamespace

import caffe
import numpy as np
from google.protobuf import text_format

import cli
from data_layers import open_dataset, param_str
from nets import blocks
from nets.edits import narrow
from surgery import __main__ as surgery
from surgery import write_weights
from surgery.solver_parameter import solver_parameter
from tests.helpers import folders
from tests.helpers.surgery_nets import DATA, ip, layer, pool, randomise, relu

WIDTH = 8
IMAGES, HELD_OUT = 10, 4



def vgg(stride, root, classes=3, normalize=False):
    """Split -> the papers' net of a stride, for own data, `WIDTH` channels wide, that starts from weights."""
    package = __import__(f'nets.voc_fcn{stride}s.net', fromlist=['fcn'])

    def feed(split):
        return blocks.feed('folder', split, {'data': 'data'}, root=str(root))

    def fcn(split):
        net = narrow(package.fcn(split, SimpleNamespace(feed=feed, NUM_CLASSES=classes)), WIDTH, ('conv', 'fc'))
        for one in net.layer:
            if one.name.startswith(('conv', 'fc')):
                one.convolution_param.ClearField('weight_filler')
            if one.type == 'SoftmaxWithLoss':
                one.loss_param.normalize = normalize
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


def normalised(place, root):
    """The folder that surgery writes with a head for a classifier with BatchNorm, its statistics those of own data."""
    text = DATA % (3, 32, 32)
    for i, (bottom, stride) in enumerate((('data', 2), ('c1', 2), ('c2', 2)), 1):
        text += (layer(f'c{i}', 'Convolution', bottom, convolution_param={
            'num_output': 8 * i, 'kernel_size': 3, 'pad': 1, 'stride': stride, 'bias_term': 'false'})
            + layer(f'bn{i}', 'BatchNorm', f'c{i}', f'c{i}')
            + layer(f'scale{i}', 'Scale', f'c{i}', f'c{i}', scale_param={'bias_term': 'true'}) + relu(f'r{i}', f'c{i}'))
    text += pool('p', 'c3', pool='AVE', global_pooling='true') + ip('fc', 'p', 5)
    place.mkdir()
    (place / 'net.prototxt').write_text(text)
    net = caffe.Net(str(place / 'net.prototxt'), caffe.TRAIN)
    randomise(net)
    for name, blobs in net.params.items():
        if name.startswith('bn'):
            for blob in blobs:
                blob.data[...] = 0
        elif name.startswith('scale'):
            blobs[0].data[...], blobs[1].data[...] = 1, 0.1
    dataset = open_dataset('folder', 'train', root)
    for id in dataset.ids:
        image = dataset.load(id)[0]
        net.blobs['data'].reshape(1, *image.shape)
        net.blobs['data'].data[0] = image
        net.forward()       # which gathers its statistics
    net.save(str(place / 'net.caffemodel'))
    assert cli.run(surgery.main, [*map(str, (
        'convolutionalize', '--prototxt', place / 'net.prototxt', '--weights', place / 'net.caffemodel', '--out',
        place / 'head', '--grid', 0, '--head', 4, '--classes', 3, '--data', root))]) == 0
    return place / 'head'


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
