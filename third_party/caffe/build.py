"""Build pycaffe once for each recipe, interpreter, numpy and system, and keep it in a cache folder."""
from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from . import Problem, recipe, source

HERE = Path(__file__).parent
PREFIX_MAP = '-ffile-prefix-map'


class Variant(NamedTuple):
    """What a build adds to the recipe: further edits, CMake options that override it, entries of build.json."""

    substitutions: tuple[recipe.Substitution, ...] = ()
    options: dict[str, Any] = {}
    include: tuple[str, ...] = ()   # folders of headers that Caffe's own headers need
    described: dict[str, Any] = {}


CPU = Variant()


def cache_folder() -> Path:
    """Return the folder that keeps builds and the source archive, outside any checkout."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache').absolute() / 'fcn-caffe'


def facts(numpy_version: str) -> dict[str, Any]:
    """Return what a build depends on: the recipe, this interpreter, numpy, the kind of machine and the system.

    Parameters
    ----------
    numpy_version : str
        Of the numpy that pycaffe is compiled against.

    Returns
    -------
    dict
        Of values that JSON can hold.
    """
    files = b''.join((HERE / name).read_bytes() for name in ('recipe.py', 'build.py', 'source.py'))
    release = re.findall(r'^(?:ID|VERSION_ID)=(.*)', _read('/etc/os-release'), re.MULTILINE)
    return {
        'recipe': hashlib.sha256(files).hexdigest(),
        'python': platform.python_version(),
        'abi': sysconfig.get_config_var('SOABI'),
        'numpy': numpy_version,
        'machine': platform.machine(),
        'system': sorted(release),
    }


def key(facts: dict[str, Any]) -> str:
    """Return the name of the build that `facts` ask for: equal facts, equal name."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def build(name: str, python: Path, cache: Path, variant: Variant = CPU) -> None:
    """Build Caffe for the interpreter `python` as the folder `name` under `cache`.

    The folder appears complete and tested, or not at all.

    Parameters
    ----------
    name : str
        From `key`.
    python : Path
        Interpreter of the virtual environment, numpy and pytest installed.
    cache : Path
        Existing folder, locked by this process.
    variant : Variant

    Raises
    ------
    Problem
        Too little memory or disk, another source than the recipe's, or a step that failed; its log stays in `cache`.
    """
    jobs = parallel_jobs(available_memory(), len(os.sched_getaffinity(0)))
    if shutil.disk_usage(cache).free < recipe.DISK:
        raise Problem(f'{cache}: less than {recipe.DISK / recipe.GIB:.0f} GiB free, too little to build Caffe: make '
                      'room, or point XDG_CACHE_HOME at another disk')
    work, log = cache / f'{name}.tmp', cache / f'{name}.log'
    shutil.rmtree(work, ignore_errors=True)  # an interrupted build leaves it
    try:
        source.prepare(work / 'source', cache, variant.substitutions)
        with open(log, 'w') as output:
            _compile(work, python, jobs, variant.options, output)
            _test(work, python, output)
        shutil.copyfile(work / 'source/LICENSE', work / 'install/LICENSE')
        _describe(work, variant)
        (work / 'install').rename(cache / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def python_headers() -> str:
    """Return the folder of this interpreter's Python.h."""
    return sysconfig.get_path('include', 'posix_prefix')


def parallel_jobs(memory: int, cores: int) -> int:
    """Return how many compilers run at a time.

    Parameters
    ----------
    memory : int
        Bytes they may take together.
    cores : int
        At most one compiler each.

    Returns
    -------
    int

    Raises
    ------
    Problem
        `memory` is too little for one.
    """
    if memory < recipe.MEMORY_PER_JOB:
        raise Problem(f'too little memory to compile Caffe: {memory / recipe.GIB:.1f} GiB free, '
                      f'{recipe.MEMORY_PER_JOB / recipe.GIB:.1f} GiB needed: close other programs or add swap space')
    return min(cores, memory // recipe.MEMORY_PER_JOB)


def available_memory() -> int:
    """Return the bytes of memory and swap this process may take, the limit of its container included."""
    sizes = dict(re.findall(r'^(\w+):\s+(\d+) kB', _read('/proc/meminfo'), re.MULTILINE))
    free = 1024 * (int(sizes.get('MemAvailable', 0)) + int(sizes.get('SwapFree', 0)))
    limit = _read('/sys/fs/cgroup/memory.max').strip()
    return min(free, int(limit)) if limit.isdigit() else free


def _compile(work: Path, python: Path, jobs: int, more: dict[str, Any], log: TextIO) -> None:
    """Configure, compile and install into `work`/install."""
    build_folder, libpython = work / 'build', work / 'libpython.a'
    build_folder.mkdir()
    # An extension module takes Python's symbols from the interpreter that loads it; linking a libpython as well would
    # tie the build to one that the interpreter may not even use. CMake insists on a library: an empty archive.
    libpython.write_bytes(b'!<arch>\n')
    options = {
        **recipe.CMAKE_OPTIONS,
        **more,
        # Messages name a line of Caffe's source without the folder it was compiled in: two builds are equal.
        'CMAKE_CXX_FLAGS': ' '.join([*recipe.BASELINE.get(platform.machine(), ()), f'{PREFIX_MAP}={work}=caffe']),
        'CMAKE_INSTALL_PREFIX': work / 'install',
        'PYTHON_EXECUTABLE': python,
        'PYTHON_INCLUDE_DIR': python_headers(),
        'PYTHON_LIBRARY': libpython,
    }
    defines = [f'-D{name}={value}' for name, value in options.items()]
    _run(['cmake', '-Wno-dev', *defines, str(work / 'source')], build_folder, log, 'configuring Caffe')
    _run(['cmake', '--build', '.', '--parallel', str(jobs), '--target', 'install'], build_folder, log,
         f'compiling Caffe ({jobs} at a time, minutes)')


def prepare_own_tests(python: str | Path, tree: Path, setup: str = '') -> tuple[list[str], Path]:
    """Write the conftest.py of Caffe's own Python tests and return the call that runs them.

    Parameters
    ----------
    python : str or Path
        Interpreter with pytest; which Caffe it imports is up to its environment.
    tree : Path
        Source tree of Caffe, from `source.prepare`.
    setup : str
        Python statements to run before the tests, after `recipe.TEST_SETUP`.

    Returns
    -------
    command : list of str
    folder : Path
        Where to run it.
    """
    folder = tree / 'python/caffe/test'
    (folder / 'conftest.py').write_text(recipe.TEST_SETUP + setup)
    skipped = [f'--ignore={name}' for name in recipe.SKIPPED_TESTS]
    return [str(python), '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-c', os.devnull, '--rootdir=.',
            '--disable-warnings', *skipped, '.'], folder


def _test(work: Path, python: Path, log: TextIO) -> None:
    """Run Caffe's own Python tests on what was installed."""
    command, folder = prepare_own_tests(python, work / 'source')
    summary = _run(command, folder, log, "running Caffe's own tests", PYTHONPATH=str(work / 'install/python'))
    print(f'  {summary}', *(f'; left out: {name} ({why})' for name, why in recipe.SKIPPED_TESTS.items()), sep='')


def _describe(work: Path, variant: Variant) -> None:
    """Write build.json: how to compile C++ against what was installed; relative paths start at its folder."""
    text = (work / 'build/src/caffe/CMakeFiles/caffe.dir/flags.make').read_text()
    flags = {name: value.split() for name, value in re.findall(r'^(CXX_\w+) = (.*)', text, re.MULTILINE)}
    system = [word for word in flags['CXX_INCLUDES'] if word.startswith('/usr/include')]
    description = {
        'commit': recipe.COMMIT,
        'defines': [flag[2:] for flag in flags['CXX_DEFINES'] if not flag.endswith('_EXPORTS')],
        'flags': [flag for flag in flags['CXX_FLAGS'] if not flag.startswith(PREFIX_MAP)],
        'include': ['include', *system, *variant.include],
        'lib': 'lib',
        'python': 'python',
        **variant.described,
    }
    (work / 'install/build.json').write_text(json.dumps(description, indent=2) + '\n')


def _run(command: list[str], folder: Path, log: TextIO, what: str, **environment: str) -> str:
    """Run `command` in `folder`, output to the open file `log`, showing progress; return the last line."""
    # make's own variables would hand down the options of the `make` that runs this.
    inherited = {name: value for name, value in os.environ.items()
                 if name not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'PYTHONPATH')}
    print(what, flush=True)
    print(f'$ {" ".join(command)}', file=log, flush=True)
    lines = ['']
    with subprocess.Popen(command, cwd=folder, env={**inherited, **environment}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace') as process:
        shown = 0
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines.append(line.rstrip())
            shown = _progress(line, shown)
    if shown and sys.stdout.isatty():
        print(flush=True)
    if process.returncode != 0:
        print('\n'.join(lines[-20:]), file=sys.stderr)
        killed = any('Killed' in line for line in lines[-200:])
        remedy = 'the compiler ran out of memory: close other programs' if killed else 'fix what it says'
        raise Problem(f'{what.partition(" (")[0]} failed; {remedy}, then run make setup again (whole log: {log.name})')
    return lines[-1]


def _progress(line: str, shown: int) -> int:
    """Show the percentage in `line` of a build: live on a terminal, else every ten; return the last shown."""
    percent = re.match(r'\[ *(\d+)%\]', line)
    step = 1 if sys.stdout.isatty() else 10
    if not percent or int(percent[1]) < shown + step:
        return shown
    print(f'\r  {percent[1]}%' if step == 1 else f'  {percent[1]}%', end='' if step == 1 else '\n', flush=True)
    return int(percent[1])


def _read(path: str) -> str:
    return Path(path).read_text() if os.path.exists(path) else ''
