"""Nets of the project with few channels, alive with random weights: whole images take moments."""
import numpy as np

import nets
from nets.edits import narrow
from solvers.instance import instantiate
from surgery import fill_bilinear, write_weights

WIDTH = 8


class Narrow:
    """A net of nets/ whose convolutions are `WIDTH` wide; like a Training, with `fcn` and `phases`."""

    def __init__(self, name):
        self.published = nets.load(name)
        self.net, self.phases = name, self.published.phases

    def fcn(self, split):
        return narrow(self.published.fcn(split), WIDTH, ('conv', 'fc'))


def alive(name):
    """The deploy net, as NetParameter and as caffe.Net with random weights of a fixed seed."""
    parameter = Narrow(name).fcn('deploy')
    net, rng = instantiate(parameter), np.random.default_rng(0)
    for layer, blobs in net.params.items():
        scale = 0.01 if layer.startswith('score') else 1    # no class takes all
        for blob in blobs:
            shape = blob.data.shape
            deviation = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
            blob.data[...] = rng.standard_normal(shape) * scale * deviation
    fill_bilinear(net)
    return parameter, net


def stand_in(monkeypatch, name, path):
    """Let commands load the narrow net in place of the published one; its weights, written to `path`."""
    _, net = alive(name)
    write_weights(path, {layer: [blob.data for blob in blobs] for layer, blobs in net.params.items()})
    found = Narrow(name)
    monkeypatch.setattr(nets, 'load', lambda _: found)
    return path
