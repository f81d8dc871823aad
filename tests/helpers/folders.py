"""Folders of prototxts as people write them, on small data sets of their own: for `python -m solvers train`."""
import json
from pathlib import Path

import numpy as np

from data_layers.palette import save_indexed
from data_layers.reading import read_photo
from solvers.instance import instantiate, load
from tests.helpers.datasets import save_jpeg, save_lines, save_png, scene
from tests.helpers.surgery_nets import conv, layer

CLASSES = ('ground', 'road', 'car')
MEAN = [104.0, 117.0, 123.0]
MSRA = 'weight_filler { type: "msra" }'
DATA = '''layer { name: "data" type: "Python" top: "data" top: "label" python_param { module: "data_layers.layers"
  layer: "SegmentationData" param_str: "%s" } %s }
'''
SOLVER = '''train_net: "train.prototxt" test_net: "val.prototxt" test_iter: 2 test_interval: 4 base_lr: 0.01
lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 max_iter: 8 snapshot: 2 snapshot_prefix: "x"
'''


def write_own(root, count=4, size=(24, 32), classes=CLASSES, val=2):
    """Own data of one size, described in `root`; id -> label."""
    root, rng, made = Path(root), np.random.default_rng(0), {}
    for number in range(count):
        label, photo = scene(rng, size, np.arange(len(classes)), void=255)
        made[f'p{number}'] = label.astype(np.uint8)
        save_jpeg(root / f'images/p{number}.jpg', photo)
        (root / 'masks').mkdir(exist_ok=True)
        save_indexed(root / f'masks/p{number}.png', made[f'p{number}'])
    card = {'folder': '.', 'masks': 'index', 'classes': classes, 'mean': MEAN,
            'values': {**{str(number): name for number, name in enumerate(classes)}, '255': None}}
    (root / 'dataset.json').write_text(json.dumps(card))
    write_lists(root, made, 'masks/{}.png', val)
    return made


def write_overlapping(root, count=4, size=(24, 32), val=2):
    """Own data whose classes overlap, masks in a folder for each class; id -> planes, 255 for void."""
    root, rng, made = Path(root), np.random.default_rng(0), {}
    for number in range(count):
        planes = (rng.random((2, size[0] // 4, size[1] // 4)) < 0.4).astype(np.uint8).repeat(4, 1).repeat(4, 2)
        void = np.zeros(size, bool)
        void[0] = True
        photo = np.stack([200 * planes[0], 200 * planes[1], np.full(size, 90)], 2) + rng.integers(0, 40, (*size, 3))
        save_jpeg(root / f'images/p{number}.jpg', photo.astype(np.uint8))
        for name, mask in (('road', planes[0]), ('wet', planes[1]), ('dirt', void)):
            if mask.any():
                save_png(root / f'masks/{name}/p{number}.png', mask.astype(np.uint8) * 255)
        planes[:, void] = 255
        made[f'p{number}'] = planes
    (root / 'dataset.json').write_text(json.dumps({
        'folder': '.', 'masks': 'planes', 'classes': ['road', 'wet'], 'mean': MEAN,
        'values': {'road': 'road', 'wet': 'wet', 'dirt': None}}))
    write_lists(root, made, 'masks/*/{}.png', val)
    return made


def write_lists(root, ids, mask, val):
    ids = list(ids)
    for split, members in (('train', ids[:-val]), ('val', ids[-val:])):
        save_lines(root / f'{split}.tsv', [f'{id}\timages/{id}.jpg\t{mask.format(id)}' for id in members])


def data(root, split, rule='', **options):
    return DATA % ({'dataset': 'folder', 'split': split, 'root': str(root), 'tops': ['data', 'label'], **options}, rule)


def loss(name='loss', score='score', kind='SoftmaxWithLoss', extra='', label='label'):
    return layer(name, kind, [score, label], extra=f'loss_param {{ ignore_label: 255 }} {extra}')


def unit(name, bottom, outputs):
    """Convolution, BatchNorm, Scale and ReLU."""
    return (layer(name, 'Convolution', bottom,
                  extra=f'convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 bias_term: false {MSRA} }}')
            + layer(f'{name}_bn', 'BatchNorm', name, name) + layer(f'{name}_scale', 'Scale', name, name,
                                                                   scale_param={'bias_term': 'true'})
            + layer(f'{name}_relu', 'ReLU', name, name))


def unet(classes=3):
    """A U-Net of one level between `data` and the scores `aux` and `score`."""
    return (unit('down', 'data', 6) + layer('pool', 'Pooling', 'down', pooling_param={'kernel_size': 2, 'stride': 2})
            + unit('deep', 'pool', 8)
            + layer('aux_low', 'Convolution', 'deep',
                    extra=f'convolution_param {{ num_output: {classes} kernel_size: 1 {MSRA} }}')
            + layer('aux', 'Deconvolution', 'aux_low', extra=f'param {{ lr_mult: 0 }} convolution_param {{ num_output: '
                    f'{classes} kernel_size: 2 stride: 2 bias_term: false }}')
            + layer('up', 'Deconvolution', 'deep',
                    extra=f'convolution_param {{ num_output: 8 kernel_size: 2 stride: 2 {MSRA} }}')
            + layer('joined', 'Concat', ['up', 'down']) + unit('fine', 'joined', 6)
            + layer('drop', 'Dropout', 'fine', 'fine')
            + layer('score', 'Convolution', 'fine',
                    extra=f'convolution_param {{ num_output: {classes} kernel_size: 1 {MSRA} }}'))


def simple(classes=3):
    """Two convolutions."""
    return (conv('conv1', 'data', num_output=6, kernel_size=3, pad=1, weight_filler='{ type: "msra" }').replace(
        'weight_filler: {', 'weight_filler {') + layer('relu1', 'ReLU', 'conv1', 'conv1')
        + layer('score', 'Convolution', 'conv1',
                extra=f'convolution_param {{ num_output: {classes} kernel_size: 1 {MSRA} }}'))


def write(folder, root, net=None, losses=None, solver=SOLVER, train=None, **options):
    """A folder with train, val and solver prototxt; the path."""
    folder.mkdir(parents=True)
    net, losses = net or simple(), losses or loss()
    (folder / 'train.prototxt').write_text(data(root, 'train', **options) + net + losses)
    (folder / 'val.prototxt').write_text(data(root, 'val', **options) + net + losses)
    (folder / 'solver.prototxt').write_text(solver)
    return folder


def predict(training, weights, root, ids, score='score'):
    """Scores of photographs by the deploy net, outside of the loop and its data layers."""
    net = load(instantiate(training.fcn('deploy')), weights)
    for id in ids:
        image = read_photo(root / f'images/{id}.jpg', tuple(MEAN))
        net.blobs['data'].reshape(1, *image.shape)
        net.blobs['data'].data[0] = image
        net.forward()
        yield net.blobs[score].data[0].copy()
