"""Work spread over processes; a process that is killed takes no job with it, and none outlives this one."""
import ctypes
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from cli import ENDS, BadInput

PATIENCE = 10       # seconds in which a program that is asked to end removes what it has not finished
PR_SET_PDEATHSIG = 1    # of prctl(2): which signal a process gets when the one that started it has died
CHUNK = 8   # jobs that travel to a process together
Job = TypeVar('Job')
Result = TypeVar('Result')
_function: Callable[..., Any]       # of the pool that this process belongs to
_shared: tuple[Any, ...]


def spread(function: Callable[..., Result], jobs: Iterable[Job], workers: int | None = None,
           name: Callable[[Job], object] = str, shared: tuple[Any, ...] = ()) -> Iterator[Result]:
    """Compute the results of many jobs in several processes.

    When a process is killed, the jobs without a result are done again, the first of them alone in a process of its own.

    Parameters
    ----------
    function : callable
        Called as `function(*shared, job)`; of the top level of a module, since processes import it.
    jobs : iterable
        Gone through before the first result.
    workers : int, optional
        Processes, as many as there are jobs at most; one a core by default. 1 computes in this process.
    name : callable
        Job -> what a complaint calls it.
    shared : tuple
        First arguments of `function`, which every process gets once.

    Yields
    ------
    result
        In the order of the jobs.

    Raises
    ------
    BadInput
        A job killed the process that did it, alone; names the job.
    """
    rest = list(jobs)
    if workers == 1:
        yield from (function(*shared, job) for job in rest)
        return
    while rest:
        done = 0
        try:
            for result in _pool(function, shared, rest, min(workers or os.cpu_count() or 1, len(rest))):
                yield result
                done += 1
            return
        except BrokenProcessPool:
            del rest[:done]
        try:
            yield from _pool(function, shared, rest[:1], 1)
        except BrokenProcessPool:
            raise BadInput(f'{name(rest[0])}: the process that read it was killed: the file is corrupt, or memory ran '
                           'out (use fewer --workers)') from None
        del rest[:1]


def _pool(function: Callable[..., Result], shared: tuple[Any, ...], jobs: list[Any], workers: int) -> Iterator[Result]:
    with ProcessPoolExecutor(workers, initializer=_prepare, initargs=(function, shared)) as pool:
        try:
            yield from pool.map(_call, jobs, chunksize=CHUNK)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare(function: Callable[..., Any], shared: tuple[Any, ...]) -> None:
    global _function, _shared
    # Signals to the whole job, such as Ctrl-C, are for the process that shares the work, which ends the others; when it
    # is killed, so are they.
    os.setpgrp()
    for number in ENDS:
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    first = multiprocessing.parent_process()
    if first and multiprocessing.get_start_method() == 'fork' and os.getppid() != first.pid:    # it was killed before
        os._exit(1)
    _function, _shared = function, shared


def _call(job: Any) -> Any:
    return _function(*_shared, job)


def call(command: Sequence[str | Path], **options: Any) -> 'subprocess.CompletedProcess[Any]':
    """Run a program as `subprocess.run` does; when this process is to end meanwhile, so is the program, and cleanly.

    Parameters
    ----------
    command : sequence of str or Path
        The program and its arguments.
    **options
        As for `subprocess.Popen`.

    Returns
    -------
    CompletedProcess
        Exit status, and what was printed to pipes.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
