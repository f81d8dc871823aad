"""Choosing the processor Caffe computes on: a GPU, where the build has CUDA and a card answers, or the CPU.

    python -m accel.device        has CUDA: yes, cards: 1

Under mpirun the ranks of a machine take its cards in order.
"""
import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import accel
import cli
from accel import build, ranks

MAJOR, MINOR = 75, 76   # cudaDevAttrComputeCapabilityMajor and -Minor

_number: int | None = None  # the GPU in use


@functools.cache
def _cuda() -> Any:
    """The CUDA runtime that Caffe itself uses, or None in a build without. It gives error codes, never aborts."""
    import caffe
    library = ctypes.CDLL(caffe._caffe.__file__)    # what it is linked with is looked through too
    return library if hasattr(library, 'cudaGetDeviceCount') else None


def has_cuda() -> bool:
    """Whether this Caffe was built with CUDA."""
    return _cuda() is not None


def cards() -> int:
    """How many cards answer; 0 without a driver or CUDA."""
    count = ctypes.c_int(0)
    return count.value if has_cuda() and _cuda().cudaGetDeviceCount(ctypes.byref(count)) == 0 else 0


def architectures() -> list[int]:
    """The architectures this Caffe was compiled for, such as 90."""
    return [int(name) for name in build.facts()['cuda']['architectures']]


def pick(gpu: int | None = None, cpu: bool = False) -> tuple[int | None, str]:
    """Decide what to compute on.

    Parameters
    ----------
    gpu : int, optional
        Number of the GPU asked for; of the first rank's on each machine when there are several.
    cpu : bool
        The CPU was asked for.

    Returns
    -------
    number : int or None
        The GPU; None is the CPU.
    why : str
        Why it is the CPU though nobody asked for it, else empty.

    Raises
    ------
    cli.BadInput
        What was asked for cannot be used.
    """
    if cpu and gpu is not None:
        raise cli.BadInput(f'GPU {gpu} and --cpu exclude each other')
    if cpu:
        return None, ''
    world = ranks.world()
    number = (gpu or 0) + world.local
    problem = _problem(number)
    if gpu is None and world.any(not cards()):     # all ranks alike, or some would wait for the others' CPUs
        return None, 'no card answers' if has_cuda() else ''
    if problem:
        raise cli.BadInput(f'GPU {number} cannot be used: {problem}; pass --cpu to compute on the CPU')
    world.wait()    # a rank that raised ends the others here, before they begin anything
    return number, ''


def _problem(number: int) -> str:
    """Why a GPU cannot be used, or nothing."""
    if not has_cuda():
        return 'this Caffe was built for the CPU alone (make setup GPU=1 builds one with CUDA)'
    count = cards()
    if not 0 <= number < count:
        return f'{count or "no"} card{"s" * (count > 1)} answer{"s" * (count < 2)}' + (
            f', numbered 0 to {count - 1}' if count > 1 else '')
    return _unfit(_capability(number), architectures())


def _capability(number: int) -> int:
    """The architecture of a card, such as 90."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    for value, attribute in (major, MAJOR), (minor, MINOR):
        _cuda().cudaDeviceGetAttribute(ctypes.byref(value), attribute, number)
    return 10 * major.value + minor.value


def _unfit(card: int, compiled: list[int]) -> str:
    """Why a card of one architecture cannot run what was compiled for others, or nothing: PTX serves later cards."""
    if card >= min(compiled):
        return ''
    return (f'it is of architecture {card} and this Caffe was compiled for {" ".join(map(str, compiled))}: '
            f'make setup GPU=1 CUDA_ARCH={card}')


def use(number: int | None, why: str = '') -> str:
    """Make Caffe compute on what `pick` decided.

    Parameters
    ----------
    number : int or None
        The GPU; None is the CPU.
    why : str
        Why it is the CPU though nobody asked for it.

    Returns
    -------
    str
        The processor's name, what computes the layers, and `why`.

    Raises
    ------
    cli.BadInput
        The card is there, but refuses this process; or a variable for cuDNN in the environment is wrong.
    """
    import caffe
    global _number
    _number = number
    if number is None:
        with _silent_stderr() if has_cuda() and not cards() else contextlib.nullcontext():
            caffe.set_mode_cpu()        # a build with CUDA complains of the missing card here,
            caffe.set_random_seed(0)    # and once here
        return f'CPU: {accel.status()}' + (f'; {why}' if why else '')
    # A card in exclusive use is found out here, with a code; Caffe would abort.
    if _cuda().cudaSetDevice(number) or _cuda().cudaFree(None):
        raise cli.BadInput(f'GPU {number} cannot be used: it refuses this process, perhaps in exclusive use by '
                           'another; pass --cpu to compute on the CPU')
    accel.cudnn.settings()      # what the environment asks of cuDNN makes sense, or is refused here
    ranks.world().wait()        # as in `pick`
    caffe.set_device(number)
    caffe.set_mode_gpu()
    return f'GPU {number}: {accel.cudnn.status()}'


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Let nothing reach stderr, not from C++ either."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def on_gpu() -> bool:
    """Whether Caffe computes on a GPU."""
    return _number is not None


def free_memory() -> int:
    """Bytes that are free on the card in use."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _cuda().cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    return free.value


def choose(gpu: int | None = None, cpu: bool = False) -> str:
    """Make Caffe compute on a GPU, on the CPU, or on what there is: `pick`, then `use`.

    Parameters
    ----------
    gpu : int, optional
        Number of the GPU asked for.
    cpu : bool
        The CPU was asked for.

    Returns
    -------
    str
        The processor's name, as `use` gives it.

    Raises
    ------
    cli.BadInput
        What was asked for cannot be used.
    """
    return use(*pick(gpu, cpu))


def main(argv: Sequence[str] | None = None) -> None:
    """Print whether this Caffe has CUDA, and how many cards answer."""
    cli.Parser(prog='python -m accel.device', description=__doc__).parse_args(argv)
    cli.show(f'has CUDA: {"yes" if has_cuda() else "no"}, cards: {cards()}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
