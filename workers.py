"""Work spread over processes; a process that is killed takes no job with it."""
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from os import cpu_count
from typing import Any, TypeVar

from cli import BadInput

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
            for result in _pool(function, shared, rest, min(workers or cpu_count() or 1, len(rest))):
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
    _function, _shared = function, shared


def _call(job: Any) -> Any:
    return _function(*_shared, job)
