"""Nets over blobs filled by hand, run forward and backward, and compared."""
import tempfile
from pathlib import Path

import caffe
import numpy as np

from nets.blocks import CHANNELS
from surgery import fill_bilinear


def build(net_parameter, shape):
    """The net over blobs filled by hand, with random weights of a fixed seed in every layer."""
    images, height, width = shape
    feed = net_parameter.layer[0]
    feed.ClearField('python_param')
    feed.type = 'Input'
    feed.input_param.ClearField('shape')
    labels = {layer.bottom[1] for layer in net_parameter.layer if layer.type == 'SoftmaxWithLoss'}
    for top in feed.top:
        channels = 1 if top in labels else CHANNELS.get(top, 3)
        feed.input_param.shape.add().dim.extend((images, channels, height, width))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'net.prototxt')
        path.write_text(str(net_parameter))
        net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    for params in net.params.values():
        weights = params[0].data
        weights[...] = rng.standard_normal(weights.shape, np.float32) * np.sqrt(2 / max(weights[0].size, 1))
    fill_bilinear(net)
    for top in feed.top:
        blob = net.blobs[top].data
        blob[...] = rng.integers(0, 3, blob.shape) if top in labels else rng.standard_normal(blob.shape) * 50
        if top in labels:
            blob[rng.random(blob.shape) < 0.1] = 255
    return net


def forward(net):
    """All scores and losses."""
    caffe.set_random_seed(1)  # dropout
    net.forward()
    return {name: blob.data.copy() for name, blob in net.blobs.items() if name.startswith(('score', 'loss'))}


def backward(net):
    """The gradient of every parameter."""
    net.clear_param_diffs()
    net.backward()
    return {f'{name}[{i}]': param.diff.copy() for name, params in net.params.items() for i, param in enumerate(params)}


def compare(ours, theirs, tolerance):
    """Assert that arrays, by name, differ by less than the tolerance in the L2 norm; the largest difference."""
    worst = 0.0
    for name, value in ours.items():
        norm = np.linalg.norm(theirs[name].astype(np.float64))
        difference = np.linalg.norm(value.astype(np.float64) - theirs[name])
        if norm == 0:
            assert difference == 0, name
            continue
        assert difference / norm < tolerance, f'{name}: {difference / norm:.2g}'
        worst = max(worst, difference / norm)
    return worst
