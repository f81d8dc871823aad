"""Images per second of FCN-8s on a card: with cuDNN, in Caffe's own layers, in PyTorch: python -m bench.gpu

    make test-gpu ends with it; make setup GPU=1 first otherwise

Each round runs every engine once, each in a process of its own; the figures are medians over rounds of the medians of
each process. PyTorch lives in an environment of its own in the cache folder, made on the first call. float32 means no
TF32 anywhere, TF32 that all convolutions may use it. Writes runs/bench/gpu.json and gpu.txt.

`--on-cpu` (or `--rehearse`) does the same on the CPU, at a small --size and into rehearsal.json, to try this program
without a card.
"""
import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cli
import files
from bench.processes import PEERS, Command, Report, ask, environment, rounds
from solvers.weights import runs_folder

PACKAGES = ('torch==2.13.0', 'numpy==2.4.6')
Job = tuple[str, str]       # name in ENGINES, what
Row = dict[str, Any]        # of the table, see `summarise`


class Engine(NamedTuple):
    """What is timed: its name in the table, whether it is PyTorch, and environment and options of its process."""

    name: str
    torch: bool
    environment: dict[str, str]
    options: tuple[str, ...]


ENGINES = {
    'cudnn': Engine('ours with cuDNN', False, {'FCN_TF32': '0'}, ()),
    'cudnn-tf32': Engine('ours with cuDNN, TF32', False, {'FCN_TF32': '1'}, ()),
    'caffe': Engine('Caffe\'s own layers', False, {'FCN_ACCEL': '0', 'FCN_CUDNN': '0'}, ()),
    'torch': Engine('PyTorch', True, {}, ()),
    'torch-tf32': Engine('PyTorch, TF32', True, {}, ('--tf32',)),
}


def command(engine: Engine, what: str, args: argparse.Namespace, python: Path | None) -> Command:
    """Command line and environment that time one engine in a new process; `python` is PyTorch's."""
    options = ['--size', str(args.size), '--runs', str(args.runs), *engine.options]
    if engine.torch:
        device = 'cpu' if args.on_cpu else 'cuda'
        visible = {} if args.on_cpu else {'CUDA_VISIBLE_DEVICES': str(args.gpu)}
        return [str(python), *PEERS, what, '--engine', 'torch', '--device', device, *options], visible
    gpu = [] if args.on_cpu else ['--gpu', str(args.gpu)]
    return [sys.executable, '-m', 'bench.ours', what, *gpu, *options], engine.environment


def measure(job: Job, args: argparse.Namespace, python: Path | None) -> Report | None:
    """What one process reports on a job, or None with the reason said."""
    engine, what = ENGINES[job[0]], job[1]
    return ask(f'{engine.name}, {what}', *command(engine, what, args, python))


def summarise(reports: Mapping[Job, Sequence[Report]], size: int) -> list[Row]:
    """One row for each job: medians over rounds.

    Parameters
    ----------
    reports : mapping
        Job -> what its processes reported.
    size : int
        Pixels of a side.

    Returns
    -------
    list of dict
        `engine`, `what`, `size`, `images_per_s`, `seconds`, `fastest`, `slowest` and `first` (seconds), `card_mb`.
    """
    rows = []
    for (engine, what), found in reports.items():
        seconds = statistics.median(report['median_s'] for report in found)
        rows.append({'engine': engine, 'what': what, 'size': size, 'images_per_s': round(1 / seconds, 2),
                     'seconds': round(seconds, 5), 'fastest': min(report['min_s'] for report in found),
                     'slowest': max(report['median_s'] for report in found),
                     'first': round(statistics.median(report['first_s'] for report in found), 3),
                     'card_mb': max(report['card_mb'] for report in found)})
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text; the column `ratio` is what ours with cuDNN gives over the row's images per second."""
    ours = {row['what']: row['images_per_s'] for row in rows if row['engine'] == 'cudnn'}
    lines = [['', '', 'images/s', 'ratio', 'first s', 'card MB']]
    for row in sorted(rows, key=lambda row: (row['what'], -row['images_per_s'])):
        ratio = f'{ours[row["what"]] / row["images_per_s"]:.2f}' if row['what'] in ours else ''
        lines.append([ENGINES[row['engine']].name, row['what'], f'{row["images_per_s"]:.2f}', ratio,
                      f'{row["first"]:.2f}', str(row['card_mb'])])
    return cli.table(lines)


def describe(number: int) -> dict[str, str]:
    """What the driver says of a card."""
    if not shutil.which('nvidia-smi'):
        return {'name': '?'}
    fields = ('name', 'driver_version', 'memory.total', 'clocks.max.sm', 'power.limit')
    printed = subprocess.run(['nvidia-smi', '--id', str(number), f'--query-gpu={",".join(fields)}',
                              '--format=csv,noheader'], capture_output=True, text=True).stdout
    return dict(zip(fields, map(str.strip, printed.split(',')), strict=False))


def card_answers() -> bool:
    """Whether a card can be used; says why not."""
    from accel import device
    if not device.has_cuda():
        cli.say('skipped: this Caffe was built for the CPU alone (make test-gpu builds one with CUDA)')
    elif not device.cards():
        cli.say('skipped: no CUDA card answers')
    return device.cards() > 0


def without_cudnn() -> tuple[str, ...]:
    """The engines that this build cannot be: those with cuDNN, where it is not in use; says why not."""
    from accel import cudnn
    if cudnn.status().startswith('cuDNN'):
        return ()
    cli.say(f'without cuDNN: {cudnn.status()}')
    return tuple(name for name in ENGINES if name.startswith('cudnn'))


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.gpu', description=__doc__)
    parser.add_argument('--rounds', type=int, default=3, help='times every engine is run (default 3)')
    parser.add_argument('--runs', type=int, default=50, help='passes that a process times after its first (default 50)')
    parser.add_argument('--size', type=int, default=500, help='pixels of a side (default 500)')
    parser.add_argument('--gpu', type=int, default=0, help='number of the card (default 0)')
    parser.add_argument('--torch', type=Path, metavar='PYTHON', help='an interpreter that has PyTorch (default: '
                                                                     'one that is made in the cache)')
    parser.add_argument('--on-cpu', '--rehearse', action='store_true', help='on the CPU')
    args = parser.parse_args(argv)
    if min(args.rounds, args.runs, args.size) < 1:
        raise cli.BadInput('--rounds, --runs and --size are at least 1')
    if not args.on_cpu and not card_answers():
        return
    about = {'name': 'CPU'} if args.on_cpu else describe(args.gpu)
    python = args.torch or (environment() if args.on_cpu else environment('bench-gpu', PACKAGES))
    without = () if args.on_cpu else without_cudnn()
    jobs = [(name, what) for what in ('forward', 'step') for name in ENGINES
            if name not in without and (python or not ENGINES[name].torch)]
    reports = rounds(jobs, lambda job: measure(job, args, python), args.rounds)
    rows = summarise(reports, args.size)
    if not any(row['engine'] == ('caffe' if without else 'cudnn') for row in rows):
        raise cli.Failed('our layers gave no figures: the lines above say why')
    folder, name = runs_folder() / 'bench', 'rehearsal' if args.on_cpu else 'gpu'
    folder.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    files.write(folder / f'{name}.txt', text + '\n')
    files.write_json(folder / f'{name}.json', {
        'card': about, 'rounds': args.rounds, 'runs': args.runs, 'rows': rows,
        'processes': [{**report, 'engine': job[0]} for job, found in reports.items() for report in found]})
    print(text)
    print(f'written to {folder / name}.json')


if __name__ == '__main__':
    sys.exit(cli.run(main))
