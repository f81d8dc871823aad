#!/usr/bin/env python3
"""Run the GPU tests and timings of this kit on this machine's card, in under ten minutes:

    python3 run.py

What it needs is a card with its driver, and an interpreter that has PyTorch, whose CUDA libraries are used. It installs
nothing and uses no network; all that it writes is beside it, in env/, runs/ and results/:

    results/machine.json    the card, the driver, versions
    results/tests.json      each test: how it ended, seconds, the errors that it printed
    results/gpu.json        seconds of FCN-8s, forward and a training step: cuDNN, Caffe's own layers, PyTorch
    results/summary.txt     all of it in a page

Exits 1 when a test failed or the card does not answer, with what there is in results/ all the same.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SITE, CHECKOUT, RESULTS = HERE / 'site', HERE / 'fcn', HERE / 'results'
TESTS = {'layers and nets': 'tests/test_gpu.py', 'commands': 'tests/test_gpu_commands.py'}
FIELDS = ('name', 'driver_version', 'memory.total', 'compute_cap')


def main() -> int:
    """Run everything; returns the exit status."""
    args = arguments()
    end = time.monotonic() + args.limit
    RESULTS.mkdir(exist_ok=True)
    cuda = args.cuda or cuda_packages()
    python = environment(cuda)
    machine = describe(python, cuda)
    write('machine', machine)
    print(json.dumps(machine, indent=2), flush=True)
    if 'cards: 0' in machine['device'] or 'has CUDA: yes' not in machine['device']:
        print(f'error: no card answers this build: {machine["device"].splitlines()[-1]}', file=sys.stderr)
        return 1
    tests = [test for name, file in TESTS.items() for test in run_tests(python, name, file, args, end)]
    write('tests', tests)
    timings = time_passes(python, args, end)
    summary = summarise(machine, tests, timings)
    (RESULTS / 'summary.txt').write_text(summary)
    print(summary)
    return int(any(test['outcome'] in ('failed', 'stopped') for test in tests))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cuda', type=Path, metavar='DIR', help='folder nvidia/ of CUDA\'s packages (default: the one '
                                                                 'beside PyTorch)')
    parser.add_argument('--limit', type=int, default=570, metavar='S', help='seconds for all of it (default 570)')
    parser.add_argument('--jobs', type=int, default=min(8, os.cpu_count() or 1), metavar='N',
                        help='tests at a time (default: one for each core, at most 8)')
    parser.add_argument('--size', type=int, default=500, help='pixels of a side, of what is timed (default 500)')
    parser.add_argument('--runs', type=int, default=20, help='passes that are timed (default 20)')
    parser.add_argument('--tests', default='', metavar='WORDS', help='only tests that pytest -k WORDS chooses')
    args = parser.parse_args()
    wheel = next(SITE.glob('caffe-*.dist-info/WHEEL')).read_text()
    tag = wheel.partition('Tag: cp')[2].partition('-')[0]
    if tag != f'{sys.version_info[0]}{sys.version_info[1]}':
        parser.error(f'this kit is for Python {tag[0]}.{tag[1:]}, and {sys.executable} is {platform.python_version()}: '
                     f'python{tag[0]}.{tag[1:]} run.py')
    return args


def cuda_packages() -> Path | None:
    """The folder of CUDA's packages that this interpreter has; None leaves it to the system's libraries."""
    folders = (Path(path, 'nvidia') for path in sys.path)
    return next((folder for folder in folders if any(folder.glob('*/lib/libcudart.so*'))), None)


def environment(cuda: Path | None) -> Path:
    """Make an environment of what the kit brings; returns its interpreter."""
    link = SITE / 'nvidia'      # where the libraries look
    link.unlink(missing_ok=True)
    if cuda:
        link.symlink_to(cuda.resolve())
    folder = HERE / 'env'
    subprocess.run([sys.executable, '-m', 'venv', '--clear', '--without-pip', str(folder)], check=True)
    python = folder / 'bin/python'
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([str(python), '-c', code], capture_output=True, text=True, check=True).stdout.strip()
    Path(packages, 'kit.pth').write_text(f'{CHECKOUT}\n{SITE}\n')
    return python


def settings() -> dict[str, str]:
    """The environment of what is run."""
    kept = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PYTHONHOME')}
    return {**kept, 'FCN_RUNS': str(HERE / 'runs'), 'PYTHONNOUSERSITE': '1', 'MPLCONFIGDIR': str(HERE / 'runs')}


def said(*command: str | Path) -> str:
    """What a command prints, errors included."""
    try:
        return subprocess.run([*map(str, command)], cwd=CHECKOUT, env=settings(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)


def describe(python: Path, cuda: Path | None) -> dict[str, Any]:
    """The machine, as its driver and this build see it."""
    cards = []
    if shutil.which('nvidia-smi'):
        printed = said('nvidia-smi', f'--query-gpu={",".join(FIELDS)}', '--format=csv,noheader')
        cards = [dict(zip(FIELDS, map(str.strip, line.split(',')), strict=False)) for line in printed.splitlines()]
    return {'device': said(python, '-m', 'accel.device'), 'cards': cards,
            'layers': said(python, '-c', 'import accel; print(accel.status()); from accel import cudnn; '
                                         'print(cudnn.status())'),
            'cuda': str(cuda or 'of the system'), 'python': platform.python_version(), 'cores': os.cpu_count(),
            'torch': said(sys.executable, '-c', 'import torch; print(torch.__version__)').splitlines()[-1]}


def run_tests(python: Path, name: str, file: str, args: argparse.Namespace, end: float) -> list[dict[str, Any]]:
    """Run the tests of a file that are marked gpu."""
    print(f'\n{name}', flush=True)
    report = RESULTS / f'{Path(file).stem}.xml'
    report.unlink(missing_ok=True)
    command = [str(python), '-m', 'pytest', '-m', 'gpu', '-n', str(args.jobs), '-p', 'no:cacheprovider', '--junitxml',
               str(report), '-o', 'junit_logging=system-out', *(['-k', args.tests] if args.tests else []), file]
    left = end - time.monotonic()
    try:
        subprocess.run(command, cwd=CHECKOUT, env=settings(), stdin=subprocess.DEVNULL, timeout=max(left, 1))
    except subprocess.TimeoutExpired:
        return [{'name': name, 'outcome': 'stopped', 'seconds': left, 'printed': 'the time was up'}]
    if not report.is_file():
        return [{'name': name, 'outcome': 'failed', 'seconds': 0, 'printed': 'the tests did not run'}]
    return [outcome(case) for case in xml.etree.ElementTree.parse(report).iter('testcase')]


def outcome(case: xml.etree.ElementTree.Element) -> dict[str, Any]:
    """How a test ended."""
    found = {'failure': 'failed', 'error': 'failed', 'skipped': 'skipped'}
    problem = next((child for child in case if child.tag in found), None)
    return {'name': f'{case.get("classname", "").rpartition(".")[2]}::{case.get("name")}',
            'outcome': found[problem.tag] if problem is not None else 'passed',
            'seconds': float(case.get('time', 0)),
            'why': problem.get('message', '') if problem is not None else '',
            'printed': (case.findtext('system-out') or '').strip()}


def time_passes(python: Path, args: argparse.Namespace, end: float) -> list[dict[str, Any]]:
    """Time FCN-8s; the rows of the table."""
    print('\nFCN-8s, timed', flush=True)
    command = [str(python), '-m', 'bench.gpu', '--rounds', '1', '--runs', str(args.runs), '--size', str(args.size),
               '--torch', sys.executable]
    try:
        subprocess.run(command, cwd=CHECKOUT, env=settings(), stdin=subprocess.DEVNULL,
                       timeout=max(end - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        print('the time was up', flush=True)
        return []
    written = HERE / 'runs/bench/gpu.json'
    if not written.is_file():
        return []
    shutil.copy(written, RESULTS / 'gpu.json')
    rows: list[dict[str, Any]] = json.loads(written.read_text())['rows']
    return rows


def write(name: str, value: object) -> None:
    """Write results/NAME.json."""
    (RESULTS / f'{name}.json').write_text(json.dumps(value, indent=2) + '\n')


def summarise(machine: dict[str, Any], tests: list[dict[str, Any]], timings: list[dict[str, Any]]) -> str:
    """A page of it."""
    outcomes = [test['outcome'] for test in tests]
    count = {name: outcomes.count(name) for name in ('passed', 'failed', 'skipped', 'stopped')}
    lines = [f'{machine["cards"] or machine["device"]}', machine['layers'], '',
             ', '.join(f'{number} tests {name}' for name, number in count.items() if number)]
    lines += [f'  {test["outcome"]}: {test["name"]}: {(test.get("why") or test["printed"])[:200]}' for test in tests
              if test['outcome'] in ('failed', 'stopped')]
    lines += [f'  skipped: {why} ({sum(test.get("why") == why for test in tests)})'
              for why in sorted({test['why'] for test in tests if test['outcome'] == 'skipped'})]
    lines += ['', *(f'{row["engine"]:12} {row["what"]:8} {row["images_per_s"]:8.2f} images/s  {row["card_mb"]} MB'
                    for row in timings)]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    sys.exit(main())
