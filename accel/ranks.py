"""Data-parallel training over MPI: `mpirun -n 4 python solve.py`.

Each rank runs the whole net on its own images; after the backward pass the gradients are averaged over the ranks, so a
step is that of one process with `iter_size` times the number of ranks. On cards NCCL makes the sums, where Caffe has
it; otherwise MPI does, in the host's memory. Without mpirun there is one rank, and nothing here has an effect. mpi4py
is optional: pip install -r requirements-mpi.txt.
"""
import functools
import hashlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

import cli
from accel import nccl

LAUNCHED = ('OMPI_COMM_WORLD_SIZE', 'PMI_SIZE', 'PMIX_RANK')  # set by Open MPI, MPICH and their relatives
YIELD = 1e-4        # seconds
LAUNCHER = ('OMPI_', 'PMI_', 'PMIX_')    # what all its variables begin with
BUCKET = 16 << 20   # bytes of gradients that travel together; fc6 alone has 411 MB
Array = npt.NDArray[Any]
Item = TypeVar('Item')


class Alone:
    """One rank: the interface of `Ranks`, with nothing to do."""
    rank, size, first = 0, 1, True
    local = 0   # number of this rank among those of its machine

    def sum(self, array: Array) -> Array:
        """The sum of an array over the ranks, on every rank."""
        return array

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on every rank."""
        return [value]

    def wait(self) -> None:
        """Wait for all ranks."""

    def abort(self, status: int) -> None:
        """End all ranks at once."""

    def broadcast(self, net: Any) -> None:
        """Give every rank the parameters of the first."""

    def check_equal(self, net: Any) -> None:
        """Raise RuntimeError when the ranks' parameters have drifted apart."""

    def average_gradients(self, solver: Any, net_parameter: Any, iter_size: int, on_gpu: bool = False) -> None:
        """Average the gradients of each step over the ranks before the solver uses them.

        Parameters
        ----------
        solver : caffe.Solver
            This rank's.
        net_parameter : caffe_pb2.NetParameter
            Its training net.
        iter_size : int
            Passes of a step.
        on_gpu : bool
            The net is on a card: NCCL makes the sums, where all ranks have it.
        """

    def average(self, blobs: Sequence[Any]) -> None:
        """Give every rank the mean of the ranks' blobs, such as statistics of the images that each has seen."""

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The part of `items` that is this rank's."""
        return items

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return flag


class Ranks(Alone):
    """The ranks of an MPI communicator; what its methods do is told at `Alone`.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        `MPI.COMM_WORLD`.
    """

    def __init__(self, comm: Any) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self.first = self.rank == 0
        self.local = comm.Split_type(_shared()).rank
        self.nccl: Any = None

    def sum(self, array: Array) -> Array:
        total: Array = self.comm.allreduce(array)
        return total

    def gather(self, value: Any) -> list[Any]:
        return list(self.comm.allgather(value))

    def wait(self) -> None:
        self.comm.Barrier()

    def abort(self, status: int) -> None:
        sys.stderr.flush()
        self.comm.Abort(status)

    def any(self, flag: bool) -> bool:
        return bool(self.comm.allreduce(int(flag)))

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        return items[self.rank::self.size]

    def average(self, blobs: Sequence[Any]) -> None:
        for blob in blobs:
            blob.data[...] = self.sum(np.array(blob.data)) / self.size

    def broadcast(self, net: Any) -> None:
        for blobs in net.params.values():
            for blob in blobs:
                self.comm.Bcast(blob.data)

    def check_equal(self, net: Any) -> None:
        digest = hashlib.sha256()
        for blobs in net.params.values():
            for blob in blobs:
                digest.update(blob.data)
        digests = self.comm.allgather(digest.hexdigest())
        if len(set(digests)) > 1:
            raise RuntimeError(f'the ranks hold different weights: {digests}; resume from the last snapshot')

    def average_gradients(self, solver: Any, net_parameter: Any, iter_size: int, on_gpu: bool = False) -> None:
        if on_gpu and not self.any(not nccl.available()):
            self.nccl = nccl.connect(solver, self.comm)
        else:
            GradientAverage(self.comm, solver, net_parameter, iter_size)


class GradientAverage:
    """Averages gradients over ranks while the backward pass goes on.

    A layer's gradients are final once the last pass of a step has gone through it. They then join a bucket, and a full
    bucket starts on its way while the layers below compute; `on_gradients_ready`, which Caffe calls before the update,
    waits for the rest. Gradients larger than a bucket are summed where they lie, without a copy.

    Buckets travel one after the other in a thread: MPI's own nonblocking sums run only when polled, and are slower than
    the blocking ones. Meanwhile no other thread calls MPI.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    solver : caffe.Solver
        This rank's.
    net_parameter : caffe_pb2.NetParameter
        Its training net.
    iter_size : int
        Passes of a step.
    """

    def __init__(self, comm: Any, solver: Any, net_parameter: Any, iter_size: int) -> None:
        self.comm, self.iter_size = comm, iter_size
        self.learnt = _learnt(solver.net, net_parameter)
        self.lowest = min(self.learnt)
        self.passes = 0
        self.waiting: list[Array] = []
        self.travelling: list[tuple[Future[Any], Array, list[Array]]] = []
        self.thread = ThreadPoolExecutor(1)
        solver.net.after_backward(self._layer_done)
        solver.add_callback(lambda: None, self._finish)

    def _layer_done(self, layer: int) -> None:
        if self.passes == self.iter_size - 1:
            for blob in self.learnt.get(layer, ()):
                self.waiting.append(blob.diff)
            if sum(diff.nbytes for diff in self.waiting) >= BUCKET:
                self._send()
        if layer == self.lowest:
            self.passes += 1
        if self.travelling:
            time.sleep(YIELD)   # Caffe computes with the interpreter locked: the thread gets its turn here

    def _send(self) -> None:
        diffs, self.waiting = self.waiting, []
        buffer = diffs[0] if len(diffs) == 1 else np.concatenate([diff.ravel() for diff in diffs])
        self.travelling.append((self.thread.submit(self.comm.Allreduce, _in_place(), buffer), buffer, diffs))

    def _finish(self) -> None:
        if self.waiting:
            self._send()
        for sum_, buffer, diffs in self.travelling:
            sum_.result()
            buffer *= 1 / self.comm.size
            if len(diffs) > 1:
                ends = np.cumsum([diff.size for diff in diffs])
                for diff, part in zip(diffs, np.split(buffer, ends[:-1]), strict=True):
                    diff.ravel()[:] = part
        self.travelling.clear()
        self.passes = 0


def _learnt(net: Any, net_parameter: Any) -> dict[int, list[Any]]:
    """Layer index -> its parameters that learn; one shared by layers counts for the lowest, where it is done last."""
    fixed = {layer.name: [i for i, param in enumerate(layer.param) if param.lr_mult == 0]
             for layer in net_parameter.layer}
    found: dict[int, list[Any]] = {}
    seen: set[int] = set()
    for index, name in enumerate(net._layer_names):
        for i, blob in enumerate(net.params.get(name, ())):
            address = blob.data.ctypes.data
            if i not in fixed.get(name, ()) and address not in seen:
                seen.add(address)
                found.setdefault(index, []).append(blob)
    return found


def _shared() -> Any:
    from mpi4py import MPI
    return MPI.COMM_TYPE_SHARED


def _in_place() -> Any:
    from mpi4py import MPI
    return MPI.IN_PLACE


@functools.cache
def world() -> Alone:
    """The ranks that mpirun started, or the one there is.

    Raises
    ------
    cli.BadInput
        Under mpirun without mpi4py.
    """
    if not any(name in os.environ for name in LAUNCHED):
        return Alone()
    try:
        from mpi4py import MPI
    except ImportError:
        raise cli.BadInput('mpirun started this, but mpi4py is missing: pip install -r requirements-mpi.txt') from None
    return Ranks(MPI.COMM_WORLD) if MPI.COMM_WORLD.size > 1 else Alone()


def child_environment() -> dict[str, str]:
    """The environment for a program that a rank starts and that is not a rank itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Call `cli.run`; a rank that fails ends the others, which wait for it, at once.

    Parameters
    ----------
    main : callable
        Takes `argv`.
    argv : sequence of str, optional
        The command line's arguments; the process's own when not given.

    Returns
    -------
    int
        The exit status.
    """
    try:
        status = cli.run(main, argv)
    except BaseException:
        if _world().size > 1:
            traceback.print_exc()
            _world().abort(1)
        raise
    if status:
        _world().abort(status)
    return status


def _world() -> Alone:
    """`world`, where its own failure has been reported already."""
    try:
        return world()
    except cli.BadInput:
        return Alone()
