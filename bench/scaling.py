"""What a data-parallel step costs, measured for 1 and 2 ranks on this machine, and what it would cost on more.

    python -m bench.scaling [--steps N] [--json FILE]

Trains FCN-8s at full width on the demo's photographs (500 pixels). A step of n ranks takes the step of one rank, plus
what the ring cannot hide: 2 (n-1)/n times the bytes of the gradients through each rank's link, and 2 (n-1) latencies.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cli
import files
from bench.passes import on_threads

LATENCY = 50e-6     # seconds of one message, TCP in a rack
LINKS = (1, 10, 100)    # Gb/s
RANKS = (8, 16, 32, 64, 128, 256, 512)


def ring(ranks: int, size: float, gigabits: float) -> float:
    """Seconds of a ring allreduce.

    Parameters
    ----------
    ranks : int
    size : float
        Bytes that are summed.
    gigabits : float
        Gb/s of each rank's link.
    """
    return 2 * (ranks - 1) / ranks * size * 8 / (gigabits * 1e9) + 2 * (ranks - 1) * LATENCY


def measure(steps: int, folder: Path) -> None:
    """As one rank: take steps; the first rank prints their median seconds and the bytes of the gradients as JSON.

    Parameters
    ----------
    steps : int
        Those that count; one more is taken before.
    folder : Path
        Of the run, shared by all ranks.
    """
    import nets
    from accel import device, ranks
    from experiments.fetch import photographs
    from solvers.loop import Loop
    from solvers.source import read_from
    device.choose(cpu=True)
    root = str(photographs(1).resolve())
    published = nets.load('voc-fcn8s')
    training = replace(published, fcn=lambda split: read_from(
        published.fcn(split), dataset='voc', split='train' if split == 'train' else 'val', root=root),
        recipe=replace(published.recipe, iterations=10 ** 6, score_every=10 ** 6, snapshot=10 ** 6))
    group = ranks.world()
    loop = Loop(training, folder, (), group, None, 'CPU')
    seconds = []
    for _ in range(steps + 1):
        group.wait()
        begin = time.perf_counter()
        loop.step()
        seconds.append(time.perf_counter() - begin)
    bytes_ = sum(4 * blob.count for blobs in loop.solver.net.params.values() for blob in blobs)
    if group.first:
        print(json.dumps({'seconds': statistics.median(seconds[1:]), 'gradient_bytes': bytes_}))


def run(ranks: int, threads: int, steps: int) -> dict[str, Any]:
    """Run `measure` under mpirun.

    Parameters
    ----------
    ranks : int
    threads : int
        Of each rank.
    steps : int
        As for `measure`.

    Returns
    -------
    dict
        `ranks`, `threads`, `seconds` (of a step) and `gradient_bytes`.

    Raises
    ------
    cli.BadInput
        mpirun is missing.
    cli.Failed
        A rank ended with an error.
    """
    mpirun = shutil.which('mpirun', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    if not mpirun:
        raise cli.BadInput('no mpirun: make mpi')
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [mpirun, '--allow-run-as-root', '--oversubscribe', '--bind-to', 'none', '-n', str(ranks), sys.executable,
             '-m', 'bench.scaling', '--as-rank', folder, '--steps', str(steps)], capture_output=True, text=True,
            env={**os.environ, **on_threads(threads)})
    if result.returncode:
        raise cli.Failed(f'{ranks} ranks ended with status {result.returncode}: {result.stderr.strip()[-300:]}')
    return {'ranks': ranks, 'threads': threads, **json.loads(result.stdout.strip().splitlines()[-1])}


def table(step: float, size: float) -> str:
    """Images per second of n ranks, each on a machine like this one, by link.

    Parameters
    ----------
    step : float
        Seconds of a step of one rank.
    size : float
        Bytes of the gradients.

    Returns
    -------
    str
        A line for each number of ranks; in each cell if nothing of the sum is hidden behind backward, and if all of
        it is.
    """
    rows = ['ranks  ' + ''.join(f'{f"{link} Gb/s":>20}' for link in LINKS)]
    for ranks in RANKS:
        cells = []
        for link in LINKS:
            travel = ring(ranks, size, link)
            cells.append(f'{ranks / (step + travel):9.2f} to {ranks / max(step, travel):7.2f}')
        rows.append(f'{ranks:5}  ' + ''.join(f'{cell:>20}' for cell in cells))
    return '\n'.join(rows)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.scaling', description=__doc__)
    parser.add_argument('--steps', type=int, default=5, metavar='N', help='steps that count (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the measurements there')
    parser.add_argument('--as-rank', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.as_rank:
        measure(args.steps, args.as_rank)
        return
    found = [run(ranks, threads, args.steps) for ranks, threads in ((1, 2), (1, 1), (2, 1))]
    for one in found:
        print(f'{one["ranks"]} ranks of {one["threads"]} threads: {one["seconds"]:.2f} s a step, '
              f'{one["ranks"] / one["seconds"]:.2f} images/s')
    print(f'{found[0]["gradient_bytes"] / 1e6:.0f} MB of gradients; projected images/s:')
    print(table(found[0]['seconds'], found[0]['gradient_bytes']))
    if args.json:
        files.write_json(args.json, found)


if __name__ == '__main__':
    sys.exit(cli.run(main))
