"""Engines timed in processes of their own, in alternation, so that what else the machine does falls on all alike."""
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cli
import files

HERE = Path(__file__).parent
PEERS = ['-m', 'bench.peers']   # arguments of an interpreter of its own
PACKAGES = ('torch==2.13.0', 'numpy==2.4.6', 'onnx==1.23.2', 'onnxruntime==1.27.0', 'openvino==2026.4.1')     # its own
LIMIT = 1800                    # seconds for one process
Command = tuple[list[str], dict[str, str]]      # command line, and what it has in its environment
Report = dict[str, Any]         # the JSON line that a process prints
Job = TypeVar('Job')


def cache() -> Path:
    """The folder where what takes long to make is kept."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fcn-caffe'


def environment(name: str = 'bench', packages: Sequence[str] = PACKAGES) -> Path | None:
    """Make a Python environment for the other engines in the cache folder, unless it is there.

    Parameters
    ----------
    name : str
        Of its folder.
    packages : sequence of str
        What pip installs, each with its version.

    Returns
    -------
    Path or None
        Its Python; None, with the reason said, where it cannot be made.
    """
    folder = cache() / name
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
    files.write_json(stamp, list(packages), indent=None)
    return python


def publish(folder: Path, name: str, record: object, text: str) -> None:
    """Print a table and where it is written, with what it was made of: `name`.txt and `name`.json in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / f'{name}.json', record)
    files.write(folder / f'{name}.txt', text + '\n')
    print(text)
    print(f'written to {folder}')


def ask(name: str, command: Sequence[str], environment: Mapping[str, str], limit: float = LIMIT) -> Report | None:
    """Run a command that prints a JSON line.

    Parameters
    ----------
    name : str
        What a complaint calls it.
    command : sequence of str
        Runs in the root of the checkout.
    environment : mapping of str to str
        Variables beside those of this process.
    limit : float
        Seconds it may take.

    Returns
    -------
    dict or None
        What it printed; None, with the reason said, where it failed.
    """
    try:
        result = subprocess.run(command, cwd=HERE.parent, env={**os.environ, **environment}, text=True,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        cli.say(f'{name}: no answer within {limit} s')
        return None
    if result.returncode != 0:
        cli.say(f'{name}: {(result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]}')
        return None
    report: Report = json.loads(result.stdout.strip().splitlines()[-1])
    return report


def rounds(jobs: Sequence[Job], measure: Callable[[Job], Report | None], count: int,
           once: Container[Job] = ()) -> dict[Job, list[Report]]:
    """Measure every job once in each round; one that failed is not tried again.

    Parameters
    ----------
    jobs : sequence
    measure : callable
        Job -> what its process reports, None where that failed.
    count : int
        Rounds.
    once : container of jobs
        Those that the first round alone has.

    Returns
    -------
    dict
        Job -> its reports; without jobs that never gave one.
    """
    reports: dict[Job, list[Report]] = {job: [] for job in jobs}
    failed = set()
    for i in cli.progress(range(count), desc='rounds'):
        for job in jobs:
            if job in failed or i and job in once:
                continue
            report = measure(job)
            if report is None:
                failed.add(job)
            else:
                reports[job].append(report)
    return {job: found for job, found in reports.items() if found}
