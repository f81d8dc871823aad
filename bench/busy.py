"""How much longer a forward pass takes beside other busy processes on the same cores: python -m bench --busy

Each net runs in our layers and in ONNX Runtime, first alone and then beside as many processes as there are threads,
which do nothing but count. All are held to the same cores, one a thread. A fair half of the machine makes 2; more than
that is time in which threads wait for one that is not running. What is compared is the median of the passes; the
slowest one stands beside it.
"""
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cli
from bench import engines
from bench.engines import OURS, TITLES, Job, Settings, title
from bench.processes import publish
from bench.table import SIZE

AT_MOST = 4.0       # times as long
COUNTING = 'while True: pass'
Row = dict[str, Any]


@contextmanager
def spinning(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Have processes count for the time of the block, which is given them."""
    processes = [subprocess.Popen([sys.executable, '-c', COUNTING], stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def held_to(count: int) -> Iterator[None]:
    """Hold this process, and those that it starts, to some of its cores for the time of the block."""
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise cli.BadInput(f'--threads {count}: this machine has {len(before)} cores')
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(nets: Sequence[str], ours: Sequence[str], settings: Settings, folder: Path, about: dict[str, Any]) -> None:
    """Measure nets idle and busy; print the table, and write it to `busy.json` and `busy.txt`.

    Parameters
    ----------
    nets, ours : sequence of str
        Nets, and which of our engines.
    settings : Settings
    folder : Path
    about : dict
        The machine.
    """
    rows: list[Row] = []
    with held_to(settings.threads):
        for net in cli.progress(nets, desc='nets', unit='net'):
            for engine in (*ours, *(['ort'] if settings.python else [])):
                job = Job(net, engine, 'forward', SIZE)
                idle = engines.measure(job, settings)
                with spinning(settings.threads):
                    busy = engines.measure(job, settings)
                if idle and busy:
                    rows.append(row(job, idle, busy))
    publish(folder, 'busy', {'machine': about, 'threads': settings.threads, 'rows': rows}, table(rows))


def row(job: Job, idle: dict[str, Any], busy: dict[str, Any]) -> Row:
    """A row: `net`, `engine`, `idle`, `busy` and the `slowest` busy pass in seconds, `ratio`, and whether it is `met`.

    The goal is for our layers: `met` is None for other engines.
    """
    ratio = busy['median_s'] / idle['median_s']
    return {'net': job.net, 'engine': job.engine, 'idle': idle['median_s'], 'busy': busy['median_s'],
            'slowest': busy['max_s'], 'ratio': round(ratio, 2),
            'met': ratio <= AT_MOST if job.engine.startswith(OURS) else None}


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [('', '', 'idle s', 'busy s', 'slowest', 'busy/idle', f'at most {AT_MOST:g}')]
    lines += [(TITLES[one['net']], title(one['engine']), f'{one["idle"]:.3f}', f'{one["busy"]:.3f}',
               f'{one["slowest"]:.3f}', f'{one["ratio"]:.2f}',
               {True: 'met', False: 'missed', None: ''}[one['met']]) for one in rows]
    return cli.table(lines)
