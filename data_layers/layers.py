"""The Caffe layer that feeds a net: one sample an iteration, at its own size.

In a prototxt:

    layer {
      name: "data"  type: "Python"  top: "data"  top: "label"
      python_param {
        module: "data_layers.layers"  layer: "SegmentationData"
        param_str: "{'dataset': 'sbd', 'split': 'train', 'seed': 1337}"
      }
    }

`param_str` is described in `data_layers.param_str`. Training splits are drawn at random with replacement: those with a
word in their name that begins with train or ends with it, such as train, trainval, train_aug or sbd_train, but not
constrained (`is_training`). The sample at a position of that stream depends on the seed and the position alone
(`draw`), so that `seek` resumes it exactly. Other splits are gone through in order, over and over; `rewind` starts them
again.

Data-parallel ranks share one stream: of `size` ranks, each takes every `size`th sample (`set_rank`), and positions
count the samples of all of them. In-order splits are dealt out in the same way, so of N samples, rank r scores
len(range(r, N, size)).
"""
from typing import Any

import caffe
import numpy as np

from cli import BadInput
from data_layers import SEED, VOID, augment, draw, is_training, param_str, warn_overlap
from data_layers.prefetch import Prefetcher, Sample

_layers: list['SegmentationData'] = []     # in the order of their making; Caffe never frees a Python layer
_rank, _size = 0, 1


class SegmentationData(caffe.Layer):    # type: ignore[misc]    # pycaffe comes without types
    """Load samples of a data set into the tops; the net is reshaped for every batch."""

    def setup(self, bottom: Any, top: Any) -> None:
        options = param_str.parse(self.param_str)
        self.seed = options.pop('seed', SEED)
        self.batch_size = options.pop('batch_size', 1)
        self.variation = {key: options.pop(key) for key in augment.OPTIONS if key in options}
        augment.check(**self.variation)
        planes = options.pop('planes', False)
        self.reader = Prefetcher(options.pop('dataset'), batch=self.batch_size, **options)
        self.dataset = self.reader.dataset
        self.split = {number: len(self.dataset.classes[top]) for number, top in enumerate(self.dataset.tops)
                      if planes and top in self.dataset.classes and not self.dataset.overlapping}
        self.photos = augment.photographs(self.dataset, **self.variation)
        self.random = is_training(self.dataset.split)
        self.position = 0           # of the next sample of all ranks
        self.every = 1              # of a split that is gone through in order, how far samples are apart
        self.fetched: tuple[range, list[Sample]] = range(0), []     # positions and what the net gets there
        if bottom or len(top) != len(self.dataset.tops):
            raise BadInput(f'a data layer of {self.dataset.name} {self.dataset.split} has no bottoms and the tops '
                           f'{", ".join(self.dataset.tops)}; the net gives it {len(bottom)} and {len(top)}')
        if self.variation and not self.random:
            raise BadInput(f'{", ".join(self.variation)} are for training splits, not for {self.dataset.split}: leave '
                           'them out of its param_str')
        if not self.random and (training := newest_training()):
            warn_overlap(training.dataset, self.dataset)
        close()     # a net made before may be in use no more; if it is, its workers start again
        _layers.append(self)

    def reshape(self, bottom: Any, top: Any) -> None:
        # Caffe reshapes once in setting up and again before every forward, so this must not advance.
        for number, array in enumerate(self.fetch()[0]):        # a vector of blobs cannot be iterated over
            top[number].reshape(self.batch_size, *array.shape)

    def forward(self, bottom: Any, top: Any) -> None:
        for item, sample in enumerate(self.fetch()):
            for number, array in enumerate(sample):
                top[number].data[item] = array
        self.position += self.batch_size * _size
        self.fetched = range(0), []
        # Not before the first forward pass: a net that is only made needs no workers.
        self.reader.expect(self.upcoming(self.reader.ahead))

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        pass

    def positions(self, count: int) -> range:
        """The positions of the `count` samples that this rank takes next."""
        first = self.position + _rank
        return range(first, first + count * _size, _size)

    def upcoming(self, count: int) -> list[str]:
        """The ids of the `count` samples that this rank takes next."""
        ids = self.dataset.ids
        return [ids[draw(self.seed, position, len(ids)) if self.random else position * self.every % len(ids)]
                for position in self.positions(count)]

    def fetch(self) -> list[Sample]:
        """Read the samples of the next batch.

        Returns
        -------
        list of tuple of array
            `batch_size` samples, as of `Dataset.load`, varied in training, all of one height and width.

        Raises
        ------
        BadInput
            As of `Prefetcher.take`, or the samples differ in size.
        """
        positions, ids = self.positions(self.batch_size), self.upcoming(self.batch_size)
        if self.fetched[0] != positions:
            self.fetched = range(0), []     # stays so when reading fails
            samples = self.reader.take(ids)
            if self.variation:
                samples = [augment.augment(sample, self.seed, position, photos=self.photos, **self.variation)
                           for position, sample in zip(positions, samples, strict=True)]
            if self.split:
                samples = [tuple(planes_of(array, self.split[number]) if number in self.split else array
                                 for number, array in enumerate(sample)) for sample in samples]
            for id, sample in zip(ids, samples, strict=True):
                self.check_size(ids[0], samples[0], id, sample)
            self.fetched = positions, samples
        return self.fetched[1]

    def check_size(self, first_id: str, first: Sample, id: str, sample: Sample) -> None:
        """Refuse a sample that has another height or width than the first of its batch."""
        height, width = first[0].shape[-2:]
        h, w = sample[0].shape[-2:]
        if (h, w) != (height, width):
            top, name = self.dataset.tops[0], self.dataset.name
            raise BadInput(f'{name} {id}: {self.dataset.file(top, id)} is {w}x{h} pixels but '
                           f'{self.dataset.file(top, first_id)}, of the same batch, is {width}x{height}; leave '
                           f'batch_size out and set iter_size: {self.batch_size} in the solver')


def planes_of(label: np.ndarray, classes: int) -> np.ndarray:
    """A label as planes.

    Parameters
    ----------
    label : array of uint8, 1 x H x W
        Class indices, 255 for void.
    classes : int
        How many there are.

    Returns
    -------
    array of uint8, classes x H x W
        1 where the class is, 0 where another is, 255 where it is void.
    """
    return np.where(label == VOID, np.uint8(VOID), (label == np.arange(classes)[:, None, None]).astype(np.uint8))


class ClassWeights(caffe.Layer):    # type: ignore[misc]
    """Scores as they are; on the way back, the gradient at every pixel times the weight of its true class.

    Between the scores and their loss, this makes a loss that weighs the classes; the loss shown stays unweighted.

        layer {
          name: "weighted"  type: "Python"  bottom: "score"  bottom: "label"  top: "weighted"
          python_param { module: "data_layers.layers"  layer: "ClassWeights"  param_str: "(0.4, 1.0, 2.5)" }
        }
    """

    def setup(self, bottom: Any, top: Any) -> None:
        weights = param_str.parse_weights(self.param_str, bottom[0].channels)
        self.weights = np.append(weights, np.zeros(256 - len(weights), np.float32))     # void has no gradient

    def reshape(self, bottom: Any, top: Any) -> None:
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom: Any, top: Any) -> None:
        top[0].data[...] = bottom[0].data

    def backward(self, top: Any, propagate_down: Any, bottom: Any) -> None:
        np.multiply(top[0].diff, self.weights[bottom[1].data.astype(np.uint8)], out=bottom[0].diff)


def newest_training() -> SegmentationData | None:
    """The training layer made last: that of the solver at work."""
    return next((layer for layer in reversed(_layers) if layer.random), None)


def set_rank(rank: int, size: int) -> None:
    """Make all layers of this process, present and to come, those of one of `size` data-parallel ranks.

    At position p, rank r draws the samples p + r, p + r + size, ...: together, the ranks draw each position once.

    Parameters
    ----------
    rank, size : int
        0 <= rank < size.
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


def rewind(every: int = 1) -> None:
    """Start all in-order layers again from their first sample, and give only each of them that `every` counts to."""
    for layer in _layers:
        if not layer.random:
            layer.position, layer.every = 0, every
            layer.fetched = range(0), []


def close() -> None:
    """End the worker processes of all layers, as the exit of Python does; those used again start new ones."""
    for layer in _layers:
        layer.reader.close()
