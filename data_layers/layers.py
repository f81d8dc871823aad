"""The Caffe layer that feeds a net: one sample an iteration, at its own size.

In a prototxt:

    layer {
      name: "data"  type: "Python"  top: "data"  top: "label"
      python_param {
        module: "data_layers.layers"  layer: "SegmentationData"
        param_str: "{'dataset': 'sbd', 'split': 'train', 'seed': 1337}"
      }
    }

`param_str` is the literal of a dict, never evaluated as code: `dataset` and `split` as for `open_dataset`, and
optionally `tops`, `root` and `seed`. Splits whose name contains 'train' are drawn at random with replacement; the
sample at a position of that stream depends on the seed and the position alone (`draw`), so that `seek` resumes it
exactly. Other splits are gone through in order, over and over; `rewind` starts them again.
"""
import ast

import caffe
import numpy as np

from cli import BadInput
from data_layers import draw, open_dataset, warn_overlap

SEED = 1337
_layers: list['SegmentationData'] = []     # in the order of their making; Caffe never frees a Python layer


class SegmentationData(caffe.Layer):
    """Load samples of a data set into the tops; the net is reshaped for every image."""

    def setup(self, bottom, top):
        options = parse_param(self.param_str)
        self.seed = options.pop('seed', SEED)
        self.dataset = open_dataset(options.pop('dataset'), **options)
        self.random = 'train' in self.dataset.split
        self.position = 0           # of the next sample
        self.sample: tuple[int, tuple[np.ndarray, ...]] | None = None     # a position and what lies there
        if bottom or len(top) != len(self.dataset.tops):
            raise BadInput(f'a data layer of {self.dataset.name} {self.dataset.split} has no bottoms and the tops '
                           f'{", ".join(self.dataset.tops)}; the net gives it {len(bottom)} and {len(top)}')
        if not self.random and (training := newest_training()):
            warn_overlap(training.dataset, self.dataset)
        _layers.append(self)

    def reshape(self, bottom, top):
        # Caffe reshapes once in setting up and again before every forward, so this must not advance.
        for number, array in enumerate(self.fetch(self.position)):      # a vector of blobs cannot be iterated over
            top[number].reshape(1, *array.shape)

    def forward(self, bottom, top):
        for number, array in enumerate(self.fetch(self.position)):
            top[number].data[0] = array
        self.position += 1
        self.sample = None

    def backward(self, top, propagate_down, bottom):
        pass

    def fetch(self, position: int) -> tuple[np.ndarray, ...]:
        """The sample at a position of the stream."""
        if self.sample is None or self.sample[0] != position:
            ids = self.dataset.ids
            index = draw(self.seed, position, len(ids)) if self.random else position % len(ids)
            self.sample = position, self.dataset.load(ids[index])
        return self.sample[1]


def parse_param(param_str: str) -> dict:
    """Read a layer's `param_str`: a literal dict with the keys dataset and split, and optionally tops, root, seed."""
    try:
        options = ast.literal_eval(param_str)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise BadInput(f'param_str must be a literal dict like {{"dataset": "voc", "split": "val"}}, '
                       f'and is never run as code: {param_str!r}')
    if missing := {'dataset', 'split'} - options.keys():
        raise BadInput(f'param_str lacks {", ".join(sorted(missing))}: {param_str!r}')
    kinds: dict[str, type | tuple[type, ...]] = {'dataset': str, 'split': str, 'tops': (list, tuple), 'root': str,
                                                 'seed': int}
    for key, value in options.items():
        if key not in kinds:
            raise BadInput(f'param_str has the unknown key {key!r}, not one of {", ".join(kinds)}: {param_str!r}')
        if not isinstance(value, kinds[key]) or (isinstance(value, int) and value < 0):
            raise BadInput(f'param_str has a {key} of the wrong kind, {value!r}: {param_str!r}')
    return options


def newest_training() -> SegmentationData | None:
    """The training layer made last: that of the solver at work."""
    return next((layer for layer in reversed(_layers) if layer.random), None)


def seek(position: int) -> None:
    """Set the position of the next training sample."""
    if layer := newest_training():
        layer.position = position


def position() -> int:
    """The position of the next training sample: 0 at first, then one more for every forward pass."""
    layer = newest_training()
    return layer.position if layer else 0


def rewind() -> None:
    """Start all in-order layers again from their first sample."""
    for layer in _layers:
        if not layer.random:
            layer.position = 0
