"""Time FCN-8s here, in Caffe alone and in other engines, in alternation: python -m bench   (make bench)

Each round runs every engine once, each in a process of its own, so that what else the machine does falls on all alike;
the figures are medians over rounds of the medians of each process. Writes runs/bench/bench.json and table.txt.

The other engines live in an environment of their own in the cache folder, made on the first call. Those that can't be
had are named and left out.
"""
import argparse
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import files
from bench.processes import PEERS, Command, Report, ask, environment, rounds
from report.timing import processor
from solvers.weights import runs_folder

PEER_NAMES = {'torch': 'PyTorch', 'ort': 'ONNX Runtime', 'openvino': 'OpenVINO'}
NAMES = {'ours': 'ours', 'caffe': 'Caffe', **PEER_NAMES}
SIZES = (250, 500, 1000)
GOALS = (
    # what, engine or None for the best peer, figure, at most this share of theirs
    ('forward', None, 'seconds', 0.75), ('forward', 'caffe', 'seconds', 0.45), ('forward', None, 'peak_mb', 1.0),
    ('step', 'torch', 'seconds', 0.5), ('step', 'caffe', 'seconds', 0.5), ('step', 'torch', 'peak_mb', 1.0),
)
Job = tuple[str, str, int]      # engine, what, size in pixels
Row = dict[str, Any]            # of the table, see `summarise`


def command(job: Job, python: Path | None, args: argparse.Namespace) -> Command:
    """Command line and environment that time a job in a new process; `python` is that of the other engines."""
    engine, what, size = job
    options = ['--size', str(size), '--threads', str(args.threads), '--runs', str(args.runs)]
    if engine in PEER_NAMES:
        return [str(python), str(PEERS), what, '--engine', engine, *options], {}
    return [sys.executable, '-m', 'bench.ours', what, *options], {'FCN_ACCEL': '1' if engine == 'ours' else '0'}


def measure(job: Job, python: Path | None, args: argparse.Namespace) -> Report | None:
    """What one process reports on a job, or None with the reason said."""
    engine, what, size = job
    line, extra = command(job, python, args)
    threads = {name: str(args.threads) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
    report = ask(f'{NAMES[engine]}, {what} at {size}', line, {**threads, **extra})
    if report and engine == 'ours' and report['engine'] != 'ours':
        raise cli.BadInput(f'nothing to compare: nets run on {report["layers"]}')
    return report


def summarise(reports: Mapping[Job, Sequence[Report]]) -> list[Row]:
    """One row for each job: medians over rounds, the largest peak, and the spread of the rounds.

    Parameters
    ----------
    reports : mapping
        Job -> what its processes reported.

    Returns
    -------
    list of dict
        `engine`, `what`, `size` (pixels), `seconds`, `fastest`, `slowest` and `first` (seconds), `peak_mb`.
    """
    return [{'engine': engine, 'what': what, 'size': size,
             'seconds': round(statistics.median(r['median_s'] for r in found), 3),
             'fastest': min(r['min_s'] for r in found), 'slowest': max(r['median_s'] for r in found),
             'first': round(statistics.median(r['first_s'] for r in found), 3),
             'peak_mb': max(r['peak_mb'] for r in found)}
            for (engine, what, size), found in reports.items()]


def row_of(rows: Sequence[Row], engine: str, what: str, size: int) -> Row | None:
    """The row of a job, or None."""
    return next((row for row in rows if (row['engine'], row['what'], row['size']) == (engine, what, size)), None)


def best_peer(rows: Sequence[Row], what: str, size: int, figure: str = 'seconds') -> Row | None:
    """The row of the peer with the smallest `figure`, or None."""
    peers = [row for row in rows if row['engine'] in PEER_NAMES and (row['what'], row['size']) == (what, size)]
    return min(peers, key=lambda row: row[figure], default=None)


def goals(rows: Sequence[Row], size: int = 500) -> list[dict[str, Any]]:
    """Whether `GOALS` are met at a size in pixels, with the ratios that were measured.

    Returns
    -------
    list of dict
        `what`, `figure`, `beside` (whom), `ratio`, `at_most`, `met`.
    """
    found = []
    for what, engine, figure, most in GOALS:
        ours = row_of(rows, 'ours', what, size)
        other = row_of(rows, engine, what, size) if engine else best_peer(rows, what, size, figure)
        if ours and other:
            ratio = round(ours[figure] / other[figure], 3)
            found.append({'what': what, 'figure': figure, 'beside': NAMES[other['engine']], 'ratio': ratio,
                          'at_most': most, 'met': ratio <= most})
    return found


def table(rows: Sequence[Row], goals: Sequence[Mapping[str, Any]]) -> str:
    """Rows and goals as text; the column `ratio` is our seconds over the row's."""
    lines = [f'{"":14}{"":9}{"size":>5}{"seconds":>9}{"ratio":>9}{"first":>8}{"peak MB":>9}']
    ours = {(row['what'], row['size']): row['seconds'] for row in rows if row['engine'] == 'ours'}
    for row in sorted(rows, key=lambda row: (row['what'], row['size'], row['seconds'])):
        mine = ours.get((row['what'], row['size']))
        ratio = f'{mine / row["seconds"]:.2f}' if mine else ''
        lines.append(f'{NAMES[row["engine"]]:14}{row["what"]:9}{row["size"]:5}{row["seconds"]:9.3f}{ratio:>9}'
                     f'{row["first"]:8.2f}{row["peak_mb"]:9}')
    lines += [f'{goal["what"]} {goal["figure"]} {goal["ratio"]:.2f} of {goal["beside"]}\'s, '
              f'at most {goal["at_most"]:.2f}: {"met" if goal["met"] else "missed"}' for goal in goals]
    return '\n'.join(lines)


def machine() -> dict[str, Any]:
    """What the figures are measured on."""
    return {'cpu': processor(), 'cores': len(os.sched_getaffinity(0)), 'system': platform.platform(),
            'load_before': os.getloadavg()}


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench', description=__doc__)
    parser.add_argument('--rounds', type=int, default=3, help='times every engine is run (default 3)')
    parser.add_argument('--runs', type=int, default=6, help='passes that a process times after its first (default 6)')
    parser.add_argument('--threads', type=int, default=2, help='threads of every engine (default 2)')
    parser.add_argument('--quick', action='store_true', help='forward and step at 500 pixels only')
    args = parser.parse_args(argv)
    if min(args.rounds, args.runs, args.threads) < 1:
        raise cli.BadInput('--rounds, --runs and --threads are at least 1')
    about = machine()
    python = environment()

    def run(jobs: Sequence[Job]) -> dict[Job, list[Report]]:
        return rounds(jobs, lambda job: measure(job, python, args), args.rounds)

    peers = tuple(PEER_NAMES) if python else ()
    reports = run([*((engine, 'forward', 500) for engine in ('ours', 'caffe', *peers)),
                   *((engine, 'step', 500) for engine in ('ours', 'caffe', *(['torch'] if python else [])))])
    best = best_peer(summarise(reports), 'forward', 500)
    if not args.quick:
        reports |= run([('ours', 'sizes', 500),
                        *((engine, 'forward', size) for size in SIZES if size != 500
                          for engine in ('ours', *([best['engine']] if best else [])))])
    rows = summarise(reports)
    found = goals(rows)
    folder = runs_folder() / 'bench'
    folder.mkdir(parents=True, exist_ok=True)
    text = table(rows, found)
    files.write(folder / 'table.txt', text + '\n')
    files.write_json(folder / 'bench.json', {
        'machine': about, 'threads': args.threads, 'rounds': args.rounds, 'runs': args.runs, 'rows': rows,
        'goals': found, 'processes': [report for some in reports.values() for report in some]})
    print(text)
    print(f'written to {folder}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
