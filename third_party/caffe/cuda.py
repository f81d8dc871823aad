"""A GPU build: its CUDA toolkit, the architectures it compiles for, its libraries, and its edits of Caffe.

Nothing here touches the CPU build, whose key does not depend on this file.
"""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import Problem
from .build import Variant
from .recipe import GIB, Substitution

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / 'requirements-gpu.txt'
OLDEST, NEWEST = (11, 8), (13, 99)      # of the toolkits; 11.8 is the first that compiles for sm_90
FALLBACK = '90'     # what build-gpu compiles for on a machine without a card
SYSTEM = Path('/usr/include')   # every compiler looks there last; named as an option it would look there too early
DISK = 3 * GIB      # what cuBLAS, cuRAND and NCCL take, and their archives meanwhile


def _attribute(name: str) -> str:
    """C++: the attribute `name` of the card `device`, which all of these toolkits know."""
    return f'[device] {{ int value = 0; cudaDeviceGetAttribute(&value, {name}, device); return value; }}()'


SUBSTITUTIONS = (
    *(Substitution('src/caffe/common.cpp', f'prop.{field}', _attribute(attribute),
                   'CUDA 13 dropped this field of the device properties')
      for field, attribute in {'clockRate': 'cudaDevAttrClockRate', 'deviceOverlap': 'cudaDevAttrGpuOverlap',
                               'kernelExecTimeoutEnabled': 'cudaDevAttrKernelExecTimeout'}.items()),
    Substitution('python/caffe/_caffe.cpp',
                 'PyBytes_FromString(uid.c_str())',
                 'PyBytes_FromStringAndSize(uid.data(), uid.size())',
                 "NCCL's unique id has zero bytes, where the first call ends it"),
    *(Substitution('src/caffe/util/benchmark.cpp', old, new, 'a timer that was made in CPU mode and goes in GPU mode '
                                                             'would destroy events that it never made')
      for old, new in {
          'has_run_at_least_once_(false) {': 'has_run_at_least_once_(false), start_gpu_(), stop_gpu_() {',
          **{f'CUDA_CHECK(cudaEventDestroy({event}))': f'CUDA_CHECK({event} ? cudaEventDestroy({event}) : cudaSuccess)'
             for event in ('start_gpu_', 'stop_gpu_')}}.items()),
)


class Library(NamedTuple):
    """A library that Caffe's GPU code needs: its header, and for each major CUDA version the PyPI package of both."""

    header: str
    packages: dict[int, str]


LIBRARIES = {
    'cublas': Library('cublas_v2.h', {11: 'nvidia-cublas-cu11', 12: 'nvidia-cublas-cu12', 13: 'nvidia-cublas'}),
    'curand': Library('curand.h', {11: 'nvidia-curand-cu11', 12: 'nvidia-curand-cu12', 13: 'nvidia-curand'}),
    'nccl': Library('nccl.h', {11: 'nvidia-nccl-cu11', 12: 'nvidia-nccl-cu12', 13: 'nvidia-nccl-cu13'}),
}


class Toolkit(NamedTuple):
    """An installed CUDA toolkit."""

    nvcc: Path
    root: Path
    version: tuple[int, int]
    architectures: tuple[str, ...]  # it compiles for these


class Plan(NamedTuple):
    """All that a GPU build depends on."""

    toolkit: Toolkit
    host_compiler: str
    architectures: tuple[str, ...]
    found: dict[str, tuple[Path, Path]]     # library -> (folder of its header, file), on this machine
    pins: dict[str, str]                    # library -> the requirement that brings it

    def facts(self) -> dict[str, Any]:
        """Return what goes into the build's key."""
        return {'recipe': hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
                'toolkit': [str(self.toolkit.nvcc), *self.toolkit.version], 'host_compiler': self.host_compiler,
                'architectures': self.architectures, 'pins': self.pins,
                'found': {name: list(map(str, paths)) for name, paths in self.found.items()}}


def plan(architectures: str | None = None, fallback: str | None = None) -> Plan:
    """Return the `Plan` for this machine.

    Parameters
    ----------
    architectures : str, optional
        What to compile for when CUDA_ARCH does not say it; the cards' when not given.
    fallback : str, optional
        What to compile for when no card is found either.

    Returns
    -------
    Plan

    Raises
    ------
    Problem
        No toolkit or host compiler fits, or no architecture is known.
    """
    kit = toolkit()
    places = {name: find_library(name, library, kit.root) for name, library in LIBRARIES.items()}
    found = {name: paths for name, paths in places.items() if paths}
    pins = pinned(PINS.read_text())
    wanted = {name: library.packages[kit.version[0]] for name, library in LIBRARIES.items() if name not in found}
    numbers = choose_architectures(os.environ.get('CUDA_ARCH') or architectures, kit, fallback)
    return Plan(kit, host_compiler(kit.root), numbers, found,
                {name: f'{package}=={pins[package]}' for name, package in wanted.items()})


# Toolkit

def toolkit() -> Toolkit:
    """Return the `Toolkit` of CUDA_HOME, PATH or /usr/local/cuda.

    Raises
    ------
    Problem
        No nvcc is found, or one of an unsupported version.
    """
    home = os.environ.get('CUDA_HOME')
    places = [Path(home, 'bin')] if home else [*map(Path, os.get_exec_path()), Path('/usr/local/cuda/bin')]
    nvcc = next((path / 'nvcc' for path in places if os.access(path / 'nvcc', os.X_OK)), None)
    if nvcc is None:
        where = f'in CUDA_HOME, {home}/bin' if home else 'on PATH or in /usr/local/cuda/bin'
        raise Problem(f'no CUDA compiler nvcc {where}: install a CUDA toolkit, 11.8 to 13, or name its folder: '
                      'make setup GPU=1 CUDA_HOME=DIR', status=2)
    # nvcc may be a link or a script that calls another: its dry run names the folder of the toolkit.
    root = re.search(r'^#\$ TOP=(.*)', _output(nvcc, '--dryrun', '-c', 'x.cu'), re.MULTILINE)
    version = re.search(r'release (\d+)\.(\d+)', _output(nvcc, '--version'))
    if not (root and version):
        raise Problem(f'{nvcc} does not print the folder and version of its toolkit; name another with CUDA_HOME',
                      status=2)
    release = int(version[1]), int(version[2])
    if not OLDEST <= release <= NEWEST:
        raise Problem(f'{nvcc} is of CUDA {release[0]}.{release[1]}; needed is 11.8 to 13: name another with CUDA_HOME',
                      status=2)
    folder = Path(os.path.normpath(root[1]))
    real = folder / 'bin/nvcc'
    return Toolkit(real if real.exists() else nvcc, folder, release,
                   tuple(re.findall(r'compute_(\d+)$', _output(nvcc, '--list-gpu-arch'), re.MULTILINE)))


def host_compiler(root: Path) -> str:
    """Return the path of a g++ that a toolkit accepts: $CUDAHOSTCXX, g++, or an older one beside it.

    Parameters
    ----------
    root : Path
        Folder of the toolkit.

    Returns
    -------
    str

    Raises
    ------
    Problem
        All are newer than it accepts.
    """
    given = os.environ.get('CUDAHOSTCXX')
    header = root / 'include/crt/host_config.h'
    limits = re.findall(r'__GNUC__ > (\d+)', header.read_text()) if header.exists() else []
    newest = int(limits[0]) if limits else 99
    names = [given] if given else ['g++', *(f'g++-{major}' for major in range(newest, 8, -1))]
    for name in names:
        path = shutil.which(name)
        if path and int(_output(path, '-dumpversion').split('.')[0] or 99) <= newest:
            return path
    raise Problem(f'the CUDA toolkit in {root} works with g++ up to {newest}, and {given or "g++"} is newer or '
                  f'missing: apt-get install g++-{newest}, or name one with CUDAHOSTCXX', status=2)


def choose_architectures(given: str | None, kit: Toolkit, fallback: str | None = None) -> tuple[str, ...]:
    """Return the architectures to compile for.

    Parameters
    ----------
    given : str or None
        Names them, as in '8.0 90'; without it they are those of the cards.
    kit : Toolkit
        Has to compile for them.
    fallback : str, optional
        The architecture when no card is found.

    Returns
    -------
    tuple of str
        In ascending order.

    Raises
    ------
    Problem
        `kit` does not compile for one, or nothing names any.
    """
    if given:
        names = tuple(dict.fromkeys(re.split(r'[\s,;]+', given.strip().replace('.', ''))))
    else:
        names = card_architectures() or ((fallback,) if fallback else ())
    if not names:
        raise Problem('no card is found (nvidia-smi) to compile for: name its architecture, as in '
                      'make setup GPU=1 CUDA_ARCH=90', status=2)
    for name in names:
        if name not in kit.architectures:
            major, minor = kit.version
            raise Problem(f'CUDA {major}.{minor} does not compile for architecture {name!r}, only for '
                          f'{" ".join(kit.architectures)}: set CUDA_ARCH to some of those', status=2)
    return tuple(sorted(names, key=int))


def card_architectures() -> tuple[str, ...]:
    """Return the architectures of the cards that the driver shows, such as ('90',)."""
    if not shutil.which('nvidia-smi'):
        return ()
    printed = _output('nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader')
    return tuple(dict.fromkeys(''.join(pair) for pair in re.findall(r'^(\d+)\.(\d)$', printed, re.MULTILINE)))


def _output(*command: str | Path) -> str:
    """Return what a command prints, errors included."""
    result = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors='replace')
    return result.stdout


# Libraries

def find_library(name: str, library: Library, root: Path) -> tuple[Path, Path] | None:
    """Find a library in a toolkit or the system.

    Parameters
    ----------
    name : str
        As the linker knows it.
    library : Library
    root : Path
        Folder of the toolkit.

    Returns
    -------
    (Path, Path) or None
        Folder of the header, and file.
    """
    for folder, file in ((root / 'include', _toolkit_library(name, root)), (SYSTEM, system_library(name))):
        if file and (folder / library.header).exists():
            return folder, file
    return None


def _toolkit_library(name: str, root: Path) -> Path | None:
    """Return the path of a library of the toolkit at `root`, or None; some have it only under its full name."""
    return next((file for folder in ('lib64', 'lib') for file in [
        root / folder / f'lib{name}.so', *sorted((root / folder).glob(f'lib{name}.so.*'))] if file.exists()), None)


def system_library(name: str) -> Path | None:
    """Return the path of a library that the linker finds without options, or None."""
    path = Path(_output('g++', f'-print-file-name=lib{name}.so').strip())    # the bare name when not found
    return path if path.is_absolute() else None


def pinned(text: str) -> dict[str, str]:
    """Return package -> version of the lines of a requirements file."""
    return dict(re.findall(r'^([\w.-]+)==([\w.]+)', text, re.MULTILINE))


def install(pins: Sequence[str], cache: Path, python: Path) -> Path:
    """Install requirements into a folder under `cache`, unless it exists.

    Not into .venv: builds are shared by clones, and find their libraries by path.

    Parameters
    ----------
    pins : sequence of str
        Requirements, as in 'nvidia-nccl-cu12==2.27.3'.
    cache : Path
        Existing folder, locked by this process.
    python : Path
        Interpreter whose pip installs.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    Problem
        Too little disk, or pip failed.
    """
    digest = hashlib.sha256('\n'.join(sorted(pins)).encode()).hexdigest()[:16]
    folder, partial, log = cache / f'cuda-{digest}', cache / f'cuda-{digest}.tmp', cache / 'pip.log'
    if folder.is_dir():
        return folder
    if shutil.disk_usage(cache).free < DISK:
        raise Problem(f'{cache}: less than {DISK / GIB:.0f} GiB free, too little for {", ".join(pins)}: make room, or '
                      'point XDG_CACHE_HOME at another disk')
    print(f'fetching {", ".join(pins)}', flush=True)
    shutil.rmtree(partial, ignore_errors=True)
    # Without dependencies: those are the CUDA runtime and more, which the toolkit has.
    command = [str(python), '-m', 'pip', 'install', '--disable-pip-version-check', '--no-deps', '--no-compile',
               '--only-binary', ':all:', '--target', str(partial), *pins]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    log.write_text(result.stdout)
    if result.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        errors = re.findall(r'^ERROR: (.*)', result.stdout, re.MULTILINE) or result.stdout.splitlines() or ['']
        raise Problem(f"pip failed: {errors[-1]} (whole log: {log}); check the network and pip's settings, or install "
                      'the libraries into the CUDA toolkit')
    partial.rename(folder)
    return folder


def packaged_library(name: str, library: Library, folder: Path) -> tuple[Path, Path]:
    """Find a library among installed packages.

    Parameters
    ----------
    name : str
        As the linker knows it.
    library : Library
    folder : Path
        From `install`.

    Returns
    -------
    (Path, Path)
        Folder of the header, and file.

    Raises
    ------
    Problem
        One of them is missing.
    """
    headers = sorted(folder.glob(f'nvidia/*/include/{library.header}'))
    files = sorted(folder.glob(f'nvidia/*/lib/lib{name}.so.*'))
    if not (headers and files):
        raise Problem(f'{folder}: no {library.header} or lib{name}.so: remove that folder and try again')
    return headers[0].parent, files[0]


def variant(plan: Plan, cache: Path, python: Path) -> Variant:
    """Return what a GPU build adds to the recipe, its libraries installed.

    Parameters
    ----------
    plan : Plan
    cache : Path
        Existing folder, locked by this process.
    python : Path
        Interpreter whose pip installs.

    Returns
    -------
    Variant

    Raises
    ------
    Problem
        A library cannot be installed, or the toolkit has no CUDA runtime.
    """
    places = dict(plan.found)
    if plan.pins:
        folder = install(list(plan.pins.values()), cache, python)
        places |= {name: packaged_library(name, LIBRARIES[name], folder) for name in plan.pins}
    kit = plan.toolkit
    runtime = _toolkit_library('cudart', kit.root) or system_library('cudart')
    if runtime is None:
        raise Problem(f'{kit.root}: no libcudart.so in lib64 or lib; is the CUDA toolkit complete?', status=2)
    files = {'cudart': runtime, **{name: file for name, (_, file) in places.items()}}
    folders = dict.fromkeys([kit.root / 'include', *(folder for folder, _ in places.values())])
    include = [str(folder) for folder in folders if folder != SYSTEM]
    numbers = ' '.join(plan.architectures)
    options = {
        'CPU_ONLY': 'OFF', 'USE_CUDNN': 'OFF', 'USE_NCCL': 'ON',
        # Each library by its full path. The pair of roots must be equal, or FindCUDA forgets what follows.
        'CUDA_TOOLKIT_ROOT_DIR': kit.root, 'CUDA_TOOLKIT_ROOT_DIR_INTERNAL': kit.root,
        'CUDA_NVCC_EXECUTABLE': kit.nvcc, 'CUDA_HOST_COMPILER': plan.host_compiler,
        'CUDA_TOOLKIT_INCLUDE': ';'.join(include), 'CUDA_CUDART_LIBRARY': runtime,
        'CUDA_cublas_LIBRARY': files['cublas'], 'CUDA_curand_LIBRARY': files['curand'],
        'NCCL_INCLUDE_DIR': places['nccl'][0], 'NCCL_LIBRARIES': files['nccl'],
        # Caffe's own names of architectures end in 2016. PTX as well: later cards compile it when they first meet it.
        'CUDA_ARCH_NAME': 'Manual', 'CUDA_ARCH_BIN': numbers, 'CUDA_ARCH_PTX': numbers,
    }
    described = {
        'version': f'{kit.version[0]}.{kit.version[1]}', 'nvcc': str(kit.nvcc), 'host_compiler': plan.host_compiler,
        'architectures': list(plan.architectures), 'include': include,
        'lib': list(dict.fromkeys(str(file.parent) for file in files.values())),
        'libraries': {name: str(file) for name, file in files.items()}, 'packages': list(plan.pins.values()),
    }
    return Variant(SUBSTITUTIONS, options, tuple(include), {'cuda': described})
