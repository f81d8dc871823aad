"""Faster CPU layers and SGD for the Caffe of this project, in a shared library loaded beside it; on a GPU, cuDNN's.

Importing this package puts these layers into Caffe's registries: every net and solver made from then on uses them, with
the same prototxt, weights and snapshots. Caffe's own source is untouched, and whatever these layers don't cover is
Caffe's own. `FCN_ACCEL=0` in the environment leaves Caffe as it is; so does a missing library. What a GPU build adds is
in `accel.cudnn`.

A solver must be made by `caffe.get_solver(path)`, which asks the registry; `caffe.SGDSolver(path)` never does.

Import it before Caffe, whose BLAS reads `BLAS_PATIENCE` when it is loaded.
"""
import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from accel import build, cudnn

__all__ = ['cudnn', 'disable', 'enable', 'inference', 'off', 'status']

# How long a thread of OpenBLAS looks for more work after a product, as the logarithm of clock cycles: some 20
# microseconds. By itself it takes some 20 milliseconds of a core on which the next layer here would compute.
BLAS_PATIENCE = 'OPENBLAS_THREAD_TIMEOUT', '16'
_library: ctypes.CDLL | None = None
_on = False
_status = 'Caffe\'s own layers (FCN_ACCEL=0)'


def enable() -> bool:
    """Use these layers in nets made from now on, and cuDNN's on a GPU.

    Returns
    -------
    bool
        Whether there are layers for this CPU; `status` says why not.
    """
    global _on
    _on = True
    done = _enable()
    cudnn.enable()  # over those for the CPU, which it falls back to
    return done


def _enable() -> bool:
    global _library, _status
    if _library is None:
        os.environ.setdefault(*BLAS_PATIENCE)
        import caffe  # noqa: F401 (loads libcaffe, whose registries these are)
        path = build.library()
        if not path.is_file():
            _status = 'Caffe\'s own layers (accel is not built: make setup)'
            return False
        _library = ctypes.CDLL(str(path))
        _library.accel_enable.restype = ctypes.c_char_p
    name = _library.accel_enable()
    if name is None:
        _status = 'Caffe\'s own layers (this CPU has none of AVX-512, AVX2 and SSE4.2)'
        return False
    threads = _library.accel_threads()
    _status = f'accelerated layers ({name.decode()}, {threads} thread{"s" * (threads != 1)})'
    return True


def disable() -> None:
    """Use Caffe's own layers in nets made from now on."""
    global _on, _status
    _on = False
    cudnn.disable()
    if _library is not None:
        _library.accel_disable()
    _status = 'Caffe\'s own layers (accel.disable)'


@contextmanager
def off() -> Iterator[None]:
    """Make nets of Caffe's own layers inside a `with` block."""
    before = _on
    disable()
    try:
        yield
    finally:
        if before:
            enable()


@contextmanager
def inference(keep: Iterable[str] = ()) -> Iterator[None]:
    """The net made inside a `with` block is only passed through whole, forward, and little of it is looked at.

    A convolution then does what the layers behind it do to each of its numbers, and blobs share memory. After a pass
    only the blobs that no layer takes, the net's outputs and inputs, hold their numbers. A change of the input's shape
    is followed by `net.reshape()`. Weights may change at any time. Without accelerated layers it is a net as any other.

    Parameters
    ----------
    keep : iterable of str
        Names of other blobs that are read after a pass.
    """
    if not _on or _library is None:
        yield
        return
    names = [name.encode() for name in keep]
    _library.accel_begin_plan((ctypes.c_char_p * len(names))(*names), len(names))
    try:
        yield
    finally:
        _library.accel_end_plan()


def status() -> str:
    """Which layers a net made now on the CPU would have, in one line; `cudnn.status` tells of a GPU."""
    return _status


if os.environ.get('FCN_ACCEL', '1') != '0':
    enable()
