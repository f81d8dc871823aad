"""Time FCN-8s here, in Caffe alone and in other engines, in alternation: python -m bench   (make bench)

Each round runs every engine once, each in a process of its own, so that what else the machine does falls on all alike;
the figures are medians over rounds of the medians of each process. Writes runs/bench/bench.json and table.txt.

The other engines live in an environment of their own in the cache folder, made on the first call. Those that can't be
had are named and left out.
"""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import cli
from solvers.weights import runs_folder

HERE = Path(__file__).parent
PACKAGES = ('torch==2.13.0', 'numpy==2.4.6', 'onnx==1.23.2', 'onnxruntime==1.27.0', 'openvino==2026.4.1')
PEERS = {'torch': 'PyTorch', 'ort': 'ONNX Runtime', 'openvino': 'OpenVINO'}
NAMES = {'ours': 'ours', 'caffe': 'Caffe', **PEERS}
SIZES = (250, 500, 1000)
LIMIT = 1800  # seconds for one process
GOALS = (
    # what, engine or None for the best peer, figure, at most this share of theirs
    ('forward', None, 'seconds', 0.75), ('forward', 'caffe', 'seconds', 0.45), ('forward', None, 'peak_mb', 1.0),
    ('step', 'torch', 'seconds', 0.5), ('step', 'caffe', 'seconds', 0.5), ('step', 'torch', 'peak_mb', 1.0),
)


def environment(name='bench', packages=PACKAGES):
    """The Python of the peers' environment, made if needed; None, with the reason said, where that fails."""
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fcn-caffe' / name
    python, stamp = folder / 'bin/python', folder / 'packages.json'
    if stamp.is_file() and json.loads(stamp.read_text()) == list(packages):
        return python
    cli.say('making an environment for the other engines')
    for command in ([sys.executable, '-m', 'venv', '--clear', str(folder)],
                    [str(python), '-m', 'pip', 'install', '--quiet', *packages]):
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            lines = (result.stderr or result.stdout).strip().splitlines() or ['?']
            cli.say(f'no other engines: {lines[-1]}')
            shutil.rmtree(folder, ignore_errors=True)
            return None
    stamp.write_text(json.dumps(packages))
    return python


def command(engine, python, what, args, size):
    """Command line and environment that time one engine in a new process."""
    options = ['--size', str(size), '--threads', str(args.threads), '--runs', str(args.runs)]
    if engine in PEERS:
        return [str(python), str(HERE / 'peers.py'), what, '--engine', engine, *options], {}
    return [sys.executable, '-m', 'bench.ours', what, *options], {'FCN_ACCEL': '1' if engine == 'ours' else '0'}


def measure(engine, python, what, args, size):
    """What one process reports, or None with the reason said."""
    line, extra = command(engine, python, what, args, size)
    threads = {name: str(args.threads) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
    report = ask(f'{NAMES[engine]}, {what} at {size}', line, {**threads, **extra})
    if report and engine == 'ours' and report['engine'] != 'ours':
        raise cli.BadInput(f'nothing to compare: nets run on {report["layers"]}')
    return report


def ask(name, line, environment, limit=LIMIT):
    """What the command `line` reports, or None with the reason said about `name`."""
    try:
        result = subprocess.run(line, cwd=HERE.parent, env={**os.environ, **environment}, text=True,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        cli.say(f'{name}: no answer within {limit} s')
        return None
    if result.returncode != 0:
        cli.say(f'{name}: {(result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]}')
        return None
    return json.loads(result.stdout.strip().splitlines()[-1])


def rounds(jobs, python, args):
    """Run every (engine, what, size) of `jobs` in turn, `args.rounds` times; job -> its reports."""
    reports = {job: [] for job in jobs}
    failed = set()
    for _ in cli.progress(range(args.rounds), desc='rounds'):
        for job in jobs:
            engine, what, size = job
            report = None if job in failed else measure(engine, python, what, args, size)
            if report is None:
                failed.add(job)
            else:
                reports[job].append(report)
    return {job: found for job, found in reports.items() if found}


def summarise(reports):
    """One row for each job: medians over rounds, the largest peak, and the spread of the rounds."""
    return [{'engine': engine, 'what': what, 'size': size,
             'seconds': round(statistics.median(r['median_s'] for r in found), 3),
             'fastest': min(r['min_s'] for r in found), 'slowest': max(r['median_s'] for r in found),
             'first': round(statistics.median(r['first_s'] for r in found), 3),
             'peak_mb': max(r['peak_mb'] for r in found)}
            for (engine, what, size), found in reports.items()]


def best_peer(rows, what, size, figure='seconds'):
    """The peer with the smallest `figure`, or None."""
    peers = [row for row in rows if row['engine'] in PEERS and (row['what'], row['size']) == (what, size)]
    return min(peers, key=lambda row: row[figure], default=None)


def goals(rows, size=500):
    """What is aimed at, with the ratios that were measured."""
    found = []
    for what, engine, figure, most in GOALS:
        ours = next((row for row in rows if (row['engine'], row['what'], row['size']) == ('ours', what, size)), None)
        other = best_peer(rows, what, size, figure) if engine is None else next(
            (row for row in rows if (row['engine'], row['what'], row['size']) == (engine, what, size)), None)
        if ours and other:
            ratio = round(ours[figure] / other[figure], 3)
            found.append({'what': what, 'figure': figure, 'beside': NAMES[other['engine']], 'ratio': ratio,
                          'at_most': most, 'met': ratio <= most})
    return found


def table(rows, aims):
    """The rows and the aims as text."""
    lines = [f'{"":14}{"":9}{"size":>5}{"seconds":>9}{"ours/it":>9}{"first":>8}{"peak MB":>9}']
    ours = {(row['what'], row['size']): row['seconds'] for row in rows if row['engine'] == 'ours'}
    for row in sorted(rows, key=lambda row: (row['what'], row['size'], row['seconds'])):
        mine = ours.get((row['what'], row['size']))
        ratio = f'{mine / row["seconds"]:.2f}' if mine else ''
        lines.append(f'{NAMES[row["engine"]]:14}{row["what"]:9}{row["size"]:5}{row["seconds"]:9.3f}{ratio:>9}'
                     f'{row["first"]:8.2f}{row["peak_mb"]:9}')
    lines += [f'{aim["what"]} {aim["figure"]} {aim["ratio"]:.2f} of {aim["beside"]}\'s, at most {aim["at_most"]:.2f}: '
              f'{"met" if aim["met"] else "missed"}' for aim in aims]
    return '\n'.join(lines)


def machine():
    """What the figures were measured on."""
    info = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').exists() else ''
    model = next((line.partition(':')[2].strip() for line in info.splitlines() if line.startswith('model name')), '?')
    return {'cpu': model, 'cores': len(os.sched_getaffinity(0)), 'system': platform.platform(),
            'load_before': os.getloadavg()}


def main(argv=None):
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
    peers = tuple(PEERS) if python else ()
    jobs = [(engine, 'forward', 500) for engine in ('ours', 'caffe', *peers)]
    jobs += [(engine, 'step', 500) for engine in ('ours', 'caffe', *(['torch'] if python else []))]
    reports = rounds(jobs, python, args)
    rows = summarise(reports)
    best = best_peer(rows, 'forward', 500)
    if not args.quick:
        others = [('ours', 'sizes', 500)] + [(engine, 'forward', size) for size in SIZES if size != 500
                                             for engine in ('ours', *([best['engine']] if best else []))]
        reports |= rounds(others, python, args)
        rows = summarise(reports)
    aims = goals(rows)
    folder = runs_folder() / 'bench'
    folder.mkdir(parents=True, exist_ok=True)
    text = table(rows, aims)
    (folder / 'table.txt').write_text(text + '\n')
    (folder / 'bench.json').write_text(json.dumps({
        'machine': about, 'threads': args.threads, 'rounds': args.rounds, 'runs': args.runs, 'rows': rows,
        'goals': aims, 'processes': [report for found in reports.values() for report in found]}, indent=1) + '\n')
    print(text)
    print(f'written to {folder}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
