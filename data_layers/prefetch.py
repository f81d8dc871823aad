"""Samples read ahead of the solver, by worker processes.

A worker is a Python of its own that runs this module: started afresh and not forked, since a fork of a process with
Caffe's threads is unsafe, and without importing Caffe. Requests and replies are lines of JSON over its stdin and
stdout. The arrays travel in shared memory, anonymous files that the workers write to and the reader maps: to take a
sample costs no copy. When the reader dies, of whatever cause, its pipes close, the workers see the end of their input
and exit, and the memory goes with the last of them; no name is left behind in /dev/shm.

How many there are is set, in this order, by the `workers` and `ahead` of a layer's `param_str`, by the environment
variables FCN_WORKERS and FCN_AHEAD, and by `WORKERS` and `AHEAD`. With 0 workers, samples are read when needed.
"""
import json
import mmap
import os
import signal
import subprocess
import sys
import traceback
import weakref
from collections import deque
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from cli import BadInput
from data_layers import open_dataset
from data_layers.dataset import CHECKOUT

WORKERS = 2
AHEAD = 8           # samples; one of VOC has 2.4 MB
MOST_AHEAD = 128    # so that all requests and replies fit the pipes, and nobody waits for room in one
# One thread for each worker. glibc would give the memory of every image back and fault it in anew: 35 % of the time.
ENVIRONMENT = {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1',
               'MALLOC_MMAP_THRESHOLD_': str(32 << 20), 'MALLOC_TRIM_THRESHOLD_': str(256 << 20)}

Sample = tuple[np.ndarray, ...]


class Worker(NamedTuple):
    """A process that reads samples."""
    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    replies: IO[bytes]


class Prefetcher:
    """Reads samples of a data set, ahead of need once it was told what to expect.

    Parameters
    ----------
    name, split, root, tops
        As for `open_dataset`.
    workers : int, optional
        Processes; 0 reads in this one. By default $FCN_WORKERS, or `WORKERS`.
    ahead : int, optional
        Samples that are read ahead at most. By default $FCN_AHEAD, or `AHEAD`.
    batch : int
        Samples that are taken at once; `ahead` is at least that.

    Raises
    ------
    BadInput
        What `open_dataset` complains of, or a number out of range.

    Notes
    -----
    The processes start at the first call of `expect`. Samples come in the order they are taken in, whoever reads them:
    request k goes to worker k modulo `workers`, and each answers in order.
    """

    def __init__(self, name: str, split: str, root: str | None = None, tops: Sequence[str] | None = None,
                 workers: int | None = None, ahead: int | None = None, batch: int = 1) -> None:
        self.dataset = open_dataset(name, split, root, tops)
        self.options = dict(name=name, split=split, root=root, tops=self.dataset.tops)
        self.workers = setting('workers', workers, WORKERS, 0, 64)
        self.ahead = max(batch, setting('ahead', ahead, AHEAD, 1, MOST_AHEAD))
        self.queue: deque[tuple[int, str]] = deque()    # (number, id) of the requests whose sample was not taken yet
        self.number = 0                                 # of the next request
        self.processes: list[Worker] = []
        self.slots: list[int] = []      # files of shared memory; request k is answered in slot k modulo their number
        self.maps: list[mmap.mmap | None] = []

    def expect(self, ids: Sequence[str]) -> None:
        """Have samples read that are to be taken next.

        Parameters
        ----------
        ids : sequence of str
            The samples, in order; the first `ahead` are read. Samples taken before become invalid.
        """
        if not self.workers:
            return
        if not self.processes:
            self._start()
        ids = ids[:self.ahead]
        if [id for _, id in self.queue] != list(ids[:len(self.queue)]):     # sought elsewhere
            self._flush()
        for id in ids[len(self.queue):]:
            self._request(id)

    def take(self, ids: Sequence[str]) -> list[Sample]:
        """Take samples, from the queue if they are next there.

        Parameters
        ----------
        ids : sequence of str
            The samples, at most `batch`.

        Returns
        -------
        list of tuple of array
            As of `Dataset.load`. They may be read-only, and are valid until the next call of `expect` or `take`.

        Raises
        ------
        BadInput
            As of `Dataset.load`; or a worker died.
        """
        if not self.processes:
            return [self.dataset.load(id) for id in ids]
        if [id for _, id in self.queue][:len(ids)] != list(ids):
            self.expect(ids)
        return [self._next() for _ in ids]

    def close(self) -> None:
        """End the worker processes; `expect` would start them again."""
        if self.processes:
            self._finalizer()
        self.processes, self.slots, self.maps = [], [], []
        self.queue.clear()

    def _start(self) -> None:
        self.slots = [os.memfd_create('sample') for _ in range(self.ahead)]
        self.maps = [None] * self.ahead
        self.processes = [start(self.options, self.slots) for _ in range(self.workers)]
        self._finalizer = weakref.finalize(self, end, self.processes, self.slots)   # at the exit of Python too

    def _request(self, id: str) -> None:
        number, self.number = self.number, self.number + 1
        pipe = self.processes[number % self.workers].requests
        try:
            pipe.write(json.dumps([number, number % self.ahead, id]).encode() + b'\n')
            pipe.flush()
        except BrokenPipeError:     # the worker died: reported when the sample is taken
            pass
        self.queue.append((number, id))

    def _reply(self) -> tuple[int, str, dict[str, Any]]:
        """Wait for the reply to the first of the queue: its number, id, and what the worker wrote."""
        number, id = self.queue.popleft()
        answered = -1
        while answered < number:    # skips what an interrupted call left unread
            line = self.processes[number % self.workers].replies.readline()
            if not line.endswith(b'\n'):
                self.close()
                raise BadInput(f'{self.dataset.name} {id}: the worker process reading it died, probably out of '
                               'memory; use fewer (FCN_WORKERS, 0 for none) or read fewer ahead (FCN_AHEAD)')
            answered, reply = json.loads(line)
        return number, id, reply

    def _flush(self) -> None:
        while self.queue:
            self._reply()

    def _next(self) -> Sample:
        number, id, reply = self._reply()
        if 'arrays' not in reply:
            self._flush()       # a retry reads all anew
        if 'bad' in reply:
            raise BadInput(reply['bad'])
        if 'failed' in reply:
            raise RuntimeError(f'reading {self.dataset.name} {id} failed in a worker process:\n{reply["failed"]}')
        return self._arrays(number % self.ahead, reply['arrays'])

    def _arrays(self, slot: int, layout: list[tuple[str, list[int]]]) -> Sample:
        """The arrays, given as (dtype, shape), that lie one after the other in a slot."""
        shared, size = self.maps[slot], os.fstat(self.slots[slot]).st_size
        if shared is None or len(shared) < size:    # the old map stays as long as an array needs it
            shared = self.maps[slot] = mmap.mmap(self.slots[slot], size, access=mmap.ACCESS_READ)
        arrays, offset = [], 0
        for dtype, shape in layout:
            arrays.append(np.ndarray(shape, dtype, shared, offset))
            offset += arrays[-1].nbytes
        return tuple(arrays)


def setting(name: str, given: int | None, default: int, least: int, most: int) -> int:
    """A number given, or that of the environment variable FCN_NAME, or the default.

    Parameters
    ----------
    name : str
        Of the setting, in lower case.
    given : int, optional
        Comes first.
    default : int
        Comes last.
    least, most : int
        The range.

    Returns
    -------
    int
        The number.

    Raises
    ------
    BadInput
        It is not a whole number from `least` to `most`.
    """
    variable = f'FCN_{name.upper()}'
    value = os.environ.get(variable) or default if given is None else given
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise BadInput(f'{name if given is not None else variable} is {value!r}; give a number from {least} to {most}')
    return number


def start(options: dict[str, Any], slots: Sequence[int]) -> Worker:
    """Start a worker process.

    Parameters
    ----------
    options : dict
        As for `open_dataset`.
    slots : sequence of int
        Descriptors of the files that it writes samples to.

    Returns
    -------
    Worker
        It opens the data set at its first request.
    """
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get('PYTHONPATH'))))
    # Signals to the whole job are for the solver, which may have a step to finish. A process inherits what is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        process = subprocess.Popen([sys.executable, '-m', __name__, json.dumps(options), json.dumps(slots)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=slots,
                                   env={**os.environ, **ENVIRONMENT, 'PYTHONPATH': path})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert process.stdin and process.stdout
    return Worker(process, process.stdin, process.stdout)


def end(workers: Sequence[Worker], slots: Sequence[int]) -> None:
    """End worker processes and close the files of shared memory, whose descriptors are `slots`."""
    for worker in workers:
        worker.process.kill()       # it writes no files that could be left unfinished
        for pipe in (worker.requests, worker.replies):
            try:
                pipe.close()
            except BrokenPipeError:     # a request it did not live to read
                pass
    for worker in workers:
        worker.process.wait()
    for slot in slots:
        os.close(slot)


# In the worker.

def main(argv: Sequence[str]) -> None:
    """Answer the requests on stdin, [number, slot, id] a line, until they end."""
    options, slots = map(json.loads, argv)
    dataset = None
    for line in sys.stdin:
        number, slot, id = json.loads(line)
        reply: dict[str, Any]
        try:
            dataset = dataset or open_dataset(**options)
            reply = {'arrays': write(slots[slot], dataset.load(id))}
        except BadInput as problem:
            reply = {'bad': str(problem)}
        except Exception:
            reply = {'failed': traceback.format_exc()}
        sys.stdout.write(json.dumps([number, reply]) + '\n')
        sys.stdout.flush()


def write(file: int, arrays: Sample) -> list[tuple[str, tuple[int, ...]]]:
    """Write arrays one after the other to the start of a file.

    Parameters
    ----------
    file : int
        Its descriptor.
    arrays : tuple of array
        A sample.

    Returns
    -------
    list of (str, tuple of int)
        The dtype and shape of each.
    """
    offset = 0
    for array in arrays:
        rest = np.ascontiguousarray(array).data.cast('B')
        while rest:
            written = os.pwrite(file, rest, offset)
            offset, rest = offset + written, rest[written:]
    return [(array.dtype.str, array.shape) for array in arrays]


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except BrokenPipeError:     # nobody reads the replies any more
        os._exit(0)             # without the flush at exit, which would fail once more
