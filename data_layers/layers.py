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
optionally `tops`, `root`, `seed`, `batch_size` (1; more needs images of one size) and, as for `Prefetcher`, `workers`
and `ahead`. Splits whose name contains 'train' are drawn at random with replacement; the sample at a position of that
stream depends on the seed and the position alone (`draw`), so that `seek` resumes it exactly. Other splits are gone
through in order, over and over; `rewind` starts them again.

Data-parallel ranks share one stream: of `size` ranks, each takes every `size`th sample (`set_rank`), and positions
count the samples of all of them. In-order splits are dealt out in the same way, so of N samples, rank r scores
len(range(r, N, size)).
"""
import ast

import caffe

from cli import BadInput
from data_layers import draw, warn_overlap
from data_layers.prefetch import Prefetcher, Sample

SEED = 1337
_layers: list['SegmentationData'] = []     # in the order of their making; Caffe never frees a Python layer
_rank, _size = 0, 1


class SegmentationData(caffe.Layer):
    """Load samples of a data set into the tops; the net is reshaped for every batch."""

    def setup(self, bottom, top):
        options = parse_param(self.param_str)
        self.seed = options.pop('seed', SEED)
        self.batch_size = options.pop('batch_size', 1)
        self.reader = Prefetcher(options.pop('dataset'), batch=self.batch_size, **options)
        self.dataset = self.reader.dataset
        self.random = 'train' in self.dataset.split
        self.position = 0           # of the next sample of all ranks
        self.fetched: tuple[list[str], list[Sample]] = [], []       # ids and what was read of them
        if bottom or len(top) != len(self.dataset.tops):
            raise BadInput(f'a data layer of {self.dataset.name} {self.dataset.split} has no bottoms and the tops '
                           f'{", ".join(self.dataset.tops)}; the net gives it {len(bottom)} and {len(top)}')
        if not self.random and (training := newest_training()):
            warn_overlap(training.dataset, self.dataset)
        _layers.append(self)

    def reshape(self, bottom, top):
        # Caffe reshapes once in setting up and again before every forward, so this must not advance.
        for number, array in enumerate(self.fetch()[0]):        # a vector of blobs cannot be iterated over
            top[number].reshape(self.batch_size, *array.shape)

    def forward(self, bottom, top):
        for item, sample in enumerate(self.fetch()):
            for number, array in enumerate(sample):
                top[number].data[item] = array
        self.position += self.batch_size * _size
        self.fetched = [], []
        # Not before the first forward pass: a net that is only made needs no workers.
        self.reader.expect(self.upcoming(self.reader.ahead))

    def backward(self, top, propagate_down, bottom):
        pass

    def upcoming(self, count: int) -> list[str]:
        """The ids of the samples that this rank takes next."""
        ids, first = self.dataset.ids, self.position + _rank
        positions = range(first, first + count * _size, _size)
        return [ids[draw(self.seed, position, len(ids)) if self.random else position % len(ids)]
                for position in positions]

    def fetch(self) -> list[Sample]:
        """The samples of the next batch, all of one size."""
        ids = self.upcoming(self.batch_size)
        if self.fetched[0] != ids:
            self.fetched = [], []       # stays so when reading fails
            samples = self.reader.take(ids)
            for id, sample in zip(ids, samples, strict=True):
                self.check_size(ids[0], samples[0], id, sample)
            self.fetched = ids, samples
        return self.fetched[1]

    def check_size(self, first_id: str, first: Sample, id: str, sample: Sample) -> None:
        """Refuse a sample that does not fit into a batch with the first."""
        height, width = first[0].shape[-2:]
        h, w = sample[0].shape[-2:]
        if (h, w) != (height, width):
            top, name = self.dataset.tops[0], self.dataset.name
            raise BadInput(f'{name} {id}: {self.dataset.file(top, id)} is {w}x{h} pixels but '
                           f'{self.dataset.file(top, first_id)}, of the same batch, is {width}x{height}; leave '
                           f'batch_size out and set iter_size: {self.batch_size} in the solver')


def parse_param(param_str: str) -> dict:
    """Read a layer's `param_str`: a literal dict with the keys dataset and split, and optionally the others."""
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
                                                 'seed': int, 'batch_size': int, 'workers': int, 'ahead': int}
    for key, value in options.items():
        if key not in kinds:
            raise BadInput(f'param_str has the unknown key {key!r}, not one of {", ".join(kinds)}: {param_str!r}')
        if not isinstance(value, kinds[key]) or (isinstance(value, int) and value < (key == 'batch_size')):
            raise BadInput(f'param_str has a {key} of the wrong kind, {value!r}: {param_str!r}')
    return options


def newest_training() -> SegmentationData | None:
    """The training layer made last: that of the solver at work."""
    return next((layer for layer in reversed(_layers) if layer.random), None)


def set_rank(rank: int, size: int) -> None:
    """Make all layers of this process, present and to come, those of one of `size` data-parallel ranks.

    At position p, rank r draws the samples p + r, p + r + size, ...: together, the ranks draw each position once.
    """
    global _rank, _size
    if not 0 <= rank < size:
        raise ValueError(f'of {size} ranks, none has the number {rank}')
    _rank, _size = rank, size


def seek(position: int) -> None:
    """Set the position of the next training sample, of all ranks."""
    if layer := newest_training():
        layer.position = position


def position() -> int:
    """The position of the next training sample: 0 at first; a forward pass adds its batch size times the ranks."""
    layer = newest_training()
    return layer.position if layer else 0


def rewind() -> None:
    """Start all in-order layers again from their first sample."""
    for layer in _layers:
        if not layer.random:
            layer.position = 0


def close() -> None:
    """End the worker processes of all layers, as the exit of Python does; those used again start new ones."""
    for layer in _layers:
        layer.reader.close()
