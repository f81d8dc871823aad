"""Work spread over processes; a process that dies does not take the others' work along."""
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from os import cpu_count
from typing import TypeVar

from cli import BadInput

CHUNK = 8   # jobs that travel to a process together
Job = TypeVar('Job')
Result = TypeVar('Result')


def spread(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int | None = None,
           name: Callable[[Job], object] = str, initializer: Callable[..., object] | None = None,
           initargs: tuple = ()) -> Iterator[Result]:
    """The results of `function`, in the order of the jobs, computed by several processes.

    Jobs that a dying process held are done again; the one that kills its process a second time, alone, is named.

    Parameters
    ----------
    function : callable
        Of the top level of a module, since processes import it.
    jobs : iterable
        Its arguments.
    workers : int, optional
        Processes; one a core by default. 1 computes in this process.
    name : callable
        Job -> what to call it in a complaint.
    initializer, initargs : callable and tuple, optional
        Called once in every process.

    Raises
    ------
    BadInput
        A job killed the process that did it.
    """
    rest = list(jobs)
    if workers == 1:
        if initializer:
            initializer(*initargs)
        yield from map(function, rest)
        return
    while rest:
        done = 0
        try:
            for result in _pool(function, rest, workers or cpu_count() or 1, initializer, initargs):
                yield result
                done += 1
            return
        except BrokenProcessPool:
            del rest[:done]
        try:
            yield from _pool(function, rest[:1], 1, initializer, initargs)
        except BrokenProcessPool:
            raise BadInput(f'{name(rest[0])}: the process that read it was killed: the file is damaged, or memory ran '
                           'out (use fewer --workers)') from None
        del rest[:1]


def _pool(function, jobs, workers, initializer, initargs):
    with ProcessPoolExecutor(workers, initializer=initializer, initargs=initargs) as pool:
        try:
            yield from pool.map(function, jobs, chunksize=CHUNK)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
