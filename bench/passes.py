"""Passes of an engine timed in a process of its own. Imports nothing, since other engines' environments run it too."""
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

FEWEST = 2      # passes after the first


def on_threads(count: int) -> dict[str, str]:
    """What the environment says of a process that computes on so many threads."""
    return {name: str(count) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}


def timed(run: Callable[[], object], finish: Callable[[], object], runs: int, seconds: float) -> dict[str, float]:
    """Time passes: the first one, in which engines settle, and those after it.

    Parameters
    ----------
    run : callable
        One pass.
    finish : callable
        Waits until the pass is done, on a GPU.
    runs : int
        Passes after the first.
    seconds : float
        After which no other pass begins, once there are `FEWEST`.

    Returns
    -------
    dict of str to float
        `first_s`, `median_s`, `min_s` and `max_s` in seconds, and `passes`, how many were timed after the first.
    """
    def once() -> float:
        begin = time.perf_counter()
        run()
        finish()
        return time.perf_counter() - begin

    first, found, end = once(), list[float](), time.perf_counter() + seconds
    while len(found) < runs and (len(found) < FEWEST or time.perf_counter() < end):
        found.append(once())
    return {'first_s': round(first, 6), 'median_s': round(statistics.median(found), 6), 'min_s': round(min(found), 6),
            'max_s': round(max(found), 6), 'passes': len(found)}


def peak_mb() -> int:
    """The most memory that this process has had, in megabytes; what its parent had before is not counted."""
    found = re.search(r'VmHWM:\s*(\d+) kB', Path('/proc/self/status').read_text())
    assert found, 'Linux tells of VmHWM'
    return int(found[1]) >> 10
