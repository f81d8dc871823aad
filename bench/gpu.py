"""Images per second of FCN-8s on a card: with cuDNN, in Caffe's own layers, in PyTorch: python -m bench.gpu

    make test-gpu ends with it; make setup GPU=1 first otherwise

Each round runs every engine once, each in a process of its own; the figures are medians over rounds of the medians of
each process. PyTorch lives in an environment of its own in the cache folder, made on the first call. float32 means no
TF32 anywhere, TF32 that all convolutions may use it. Writes runs/bench/gpu.json and gpu.txt.

`--on-cpu` (or `--rehearse`) does the same on the CPU, at a small --size and into rehearsal.json, to try this program
without a card.
"""
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cli
from bench.__main__ import ask, environment
from solvers.weights import runs_folder

HERE = Path(__file__).parent
PACKAGES = ('torch==2.13.0', 'numpy==2.4.6')


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


def command(engine, what, args, python):
    """Command line and environment that time one engine in a new process."""
    options = ['--size', str(args.size), '--runs', str(args.runs), *engine.options]
    if engine.torch:
        device = 'cpu' if args.on_cpu else 'cuda'
        return [str(python), str(HERE / 'peers.py'), what, '--engine', 'torch', '--device', device, *options], {}
    gpu = [] if args.on_cpu else ['--gpu', str(args.gpu)]
    return [sys.executable, '-m', 'bench.ours', what, *gpu, *options], engine.environment


def measure(engine, what, args, python):
    """What one process reports, or None with the reason said."""
    line, extra = command(engine, what, args, python)
    visible = {'CUDA_VISIBLE_DEVICES': str(args.gpu)} if engine.torch and not args.on_cpu else {}
    return ask(f'{engine.name}, {what}', line, {**extra, **visible})


def summarise(reports, size):
    """One row for each engine and what: medians over rounds."""
    rows = []
    for (engine, what), found in reports.items():
        seconds = statistics.median(report['median_s'] for report in found)
        rows.append({'engine': engine, 'what': what, 'size': size, 'images_per_s': round(1 / seconds, 2),
                     'seconds': round(seconds, 5), 'fastest': min(report['min_s'] for report in found),
                     'slowest': max(report['median_s'] for report in found),
                     'first': round(statistics.median(report['first_s'] for report in found), 3),
                     'card_mb': max(report['card_mb'] for report in found)})
    return rows


def table(rows):
    """The rows as text, with what ours with cuDNN gives over each."""
    ours = {row['what']: row['images_per_s'] for row in rows if row['engine'] == 'cudnn'}
    lines = [['', '', 'images/s', 'cuDNN/it', 'first s', 'card MB']]
    for row in sorted(rows, key=lambda row: (row['what'], -row['images_per_s'])):
        ratio = f'{ours[row["what"]] / row["images_per_s"]:.2f}' if row['what'] in ours else ''
        lines.append([ENGINES[row['engine']].name, row['what'], f'{row["images_per_s"]:.2f}', ratio,
                      f'{row["first"]:.2f}', str(row['card_mb'])])
    return cli.table(lines)


def card(number):
    """What the driver says of a card."""
    if not shutil.which('nvidia-smi'):
        return {'name': '?'}
    fields = ('name', 'driver_version', 'memory.total', 'clocks.max.sm', 'power.limit')
    printed = subprocess.run(['nvidia-smi', '--id', str(number), f'--query-gpu={",".join(fields)}',
                              '--format=csv,noheader'], capture_output=True, text=True).stdout
    return dict(zip(fields, map(str.strip, printed.split(',')), strict=False))


def ready(args):
    """Whether a card can be used; says why not."""
    from accel import device
    if args.on_cpu:
        return True
    if not device.has_cuda():
        cli.say('skipped: this Caffe was built for the CPU alone (make test-gpu builds one with CUDA)')
    elif not device.cards():
        cli.say('skipped: no CUDA card answers')
    return device.cards() > 0


def main(argv=None):
    parser = cli.Parser(prog='python -m bench.gpu', description=__doc__)
    parser.add_argument('--rounds', type=int, default=3, help='times every engine is run (default 3)')
    parser.add_argument('--runs', type=int, default=50, help='passes that a process times after its first (default 50)')
    parser.add_argument('--size', type=int, default=500, help='pixels of a side (default 500)')
    parser.add_argument('--gpu', type=int, default=0, help='number of the card (default 0)')
    parser.add_argument('--on-cpu', '--rehearse', action='store_true', help='on the CPU')
    args = parser.parse_args(argv)
    if min(args.rounds, args.runs, args.size) < 1:
        raise cli.BadInput('--rounds, --runs and --size are at least 1')
    if not ready(args):
        return
    about = {'name': 'CPU'} if args.on_cpu else card(args.gpu)
    python = environment() if args.on_cpu else environment('bench-gpu', PACKAGES)
    jobs = [(name, what) for what in ('forward', 'step') for name in ENGINES if python or not ENGINES[name].torch]
    reports = {job: [] for job in jobs}
    for _ in cli.progress(range(args.rounds), desc='rounds'):
        for job in jobs:
            report = measure(ENGINES[job[0]], job[1], args, python)
            reports[job] += [report] if report else []
    reports = {job: found for job, found in reports.items() if found}
    rows = summarise(reports, args.size)
    if not any(row['engine'] == 'cudnn' for row in rows):
        raise cli.Failed('ours with cuDNN gave no figures: the lines above say why')
    folder, name = runs_folder() / 'bench', 'rehearsal' if args.on_cpu else 'gpu'
    folder.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    (folder / f'{name}.txt').write_text(text + '\n')
    (folder / f'{name}.json').write_text(json.dumps({
        'card': about, 'rounds': args.rounds, 'runs': args.runs, 'rows': rows,
        'processes': [{**report, 'engine': job[0]} for job, found in reports.items() for report in found]},
        indent=1) + '\n')
    print(text)
    print(f'written to {folder / name}.json')


if __name__ == '__main__':
    sys.exit(cli.run(main))
