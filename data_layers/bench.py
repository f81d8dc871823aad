"""How fast samples come, and how long a solver waits for them.

The consumer does what the data layer does: it takes a sample, copies it into a blob, and says what comes next; its
wait is all of that. The solver at `rate` sleeps between its steps, as one that computes on a GPU.
"""
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cli import BadInput
from data_layers import dataset_type, draw
from data_layers.prefetch import Prefetcher


def bench(name: str, root: str | None = None, split: str | None = None, tops: Sequence[str] | None = None,
          images: int = 200, rate: float = 20, workers: int | None = None, ahead: int | None = None) -> dict[str, Any]:
    """Measure how a solver is fed from a split, its samples drawn as in training.

    Parameters
    ----------
    name, root, split, tops
        As for `open_dataset`; by default the split that the nets train on.
    images : int
        Samples in each of three measurements.
    rate : float
        Steps per second of the solver.
    workers, ahead : int, optional
        As for `Prefetcher`.

    Returns
    -------
    dict
        What `--json` prints: dataset, root, split, samples, images, workers, ahead, megabytes (mean
        of a sample), in_process and fed (images per second without and with workers), start (seconds until the first
        sample from a worker), and wait: rate, and median, p95 and max in milliseconds.

    Raises
    ------
    BadInput
        As of `Prefetcher`, or too few images, or a rate of 0 or less.
    """
    if images < 2 or rate <= 0:
        raise BadInput(f'--images {images} --rate {rate:g}: measure at least 2 images, at a rate above 0')
    split = split or dataset_type(name, root).training
    alone = Prefetcher(name, split, root, tops, workers=0)
    ids = [alone.dataset.ids[draw(0, position, len(alone.dataset))] for position in range(images)]
    in_process, size = consume(alone, ids)
    reader = Prefetcher(name, split, root, tops, workers, ahead)
    try:
        begin = time.perf_counter()
        reader.expect(ids)      # starts the workers
        reader.take(ids[:1])
        start = time.perf_counter() - begin
        fed, _ = consume(reader, ids)
        waits, _ = consume(reader, ids, 1 / rate)
    finally:
        reader.close()
    median, p95, longest = (float(1e3 * value) for value in (*np.quantile(waits, (0.5, 0.95)), waits.max()))
    return {'dataset': name, 'root': str(alone.dataset.root), 'split': split, 'samples': len(alone.dataset),
            'images': images, 'workers': reader.workers, 'ahead': reader.ahead, 'megabytes': size / images / 1e6,
            'in_process': images / float(in_process.sum()), 'fed': images / float(fed.sum()),
            'start': start, 'wait': {'rate': rate, 'median': median, 'p95': p95, 'max': longest}}


def consume(reader: Prefetcher, ids: Sequence[str], pause: float = 0) -> tuple[np.ndarray, int]:
    """Take samples one by one.

    Parameters
    ----------
    reader : Prefetcher
        Gives them.
    ids : sequence of str
        The samples.
    pause : float
        Seconds of sleep after each.

    Returns
    -------
    waits : array
        Float64, one a sample: seconds until it was in its blobs.
    size : int
        Bytes of all samples.
    """
    waits, size, blobs = [], 0, [np.empty(0)] * len(reader.dataset.tops)
    for position in range(len(ids)):
        begin = time.perf_counter()
        sample, = reader.take(ids[position:position + 1])
        for number, array in enumerate(sample):
            if blobs[number].size < array.size:
                blobs[number] = np.empty(array.size, np.float32)
            blobs[number][:array.size] = array.ravel()
        size += sum(array.nbytes for array in sample)
        reader.expect(ids[position + 1:position + 1 + reader.ahead])
        waits.append(time.perf_counter() - begin)
        time.sleep(pause)
    return np.array(waits), size


def text(figures: dict[str, Any]) -> str:
    """The figures of `bench` for reading."""
    wait = figures['wait']
    return (f'{figures["dataset"]} {figures["split"]} in {figures["root"]}: {figures["samples"]} samples, '
            f'{figures["megabytes"]:.2f} MB each\n'
            f'in process          {figures["in_process"]:8.1f} images/s\n'
            f'read ahead          {figures["fed"]:8.1f} images/s   {figures["workers"]} workers, {figures["ahead"]} '
            f'ahead, started in {figures["start"]:.2f} s\n'
            f'at {wait["rate"]:g} steps/s, the solver waits {wait["median"]:.2f} ms (median), {wait["p95"]:.2f} ms '
            f'(95 %), {wait["max"]:.2f} ms (longest)')
