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
KILLED = 'the process that read it was killed: the file is corrupt, or memory ran out'
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
            raise BadInput(f'{name(rest[0])}: {KILLED} (use fewer --workers)') from None
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


def _apply(*arguments: Any) -> Any:
    *shared, (function, rest) = arguments
    return function(*shared, *rest)


class Beside:
    """A process that does jobs while this one does something else, one after the other; gone with the block.

    It is a copy of this one, made at once: make it before there are threads.

    Parameters
    ----------
    *shared
        First arguments of every job, which the process has from the beginning.
    """

    def __init__(self, *shared: Any) -> None:
        self.shared = shared
        self.pool = self._new()
        self.pool.submit(os.getpid)

    def __enter__(self) -> 'Beside':
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, initializer=_prepare, initargs=(_apply, self.shared))

    def begin(self, name: object, function: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        """Have `function(*shared, *arguments)` computed.

        Parameters
        ----------
        name
            What a complaint calls the job.
        function : callable
            Of the top level of a module.
        *arguments
            Sent to the process, as the result is sent back.

        Returns
        -------
        callable
            Waits for the result and returns it, or raises what the function raised. When the process was killed, the
            job is done once more, alone; BadInput where that kills its process too.
        """
        job = function, arguments
        try:
            future = self.pool.submit(_call, job)
        except BrokenProcessPool:
            self.pool = self._new()
            future = self.pool.submit(_call, job)

        def result() -> Result:
            try:
                done: Result = future.result()
            except BrokenProcessPool:
                try:
                    with self._new() as alone:
                        done = alone.submit(_call, job).result()
                except BrokenProcessPool:
                    raise BadInput(f'{name}: {KILLED}') from None
            return done
        return result


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
