"""What a GPU build is made with (CUDA toolkit, architectures of the cards, libraries) and what it changes in Caffe.

Nothing here touches the CPU build, whose key does not depend on this file.
"""
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from . import Problem
from .build import Variant
from .recipe import GIB, Substitution

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / 'requirements-gpu.txt'
OLDEST, NEWEST = (11, 8), (13, 99)      # of the toolkits; 11.8 is the first that compiles for sm_90
FALLBACK = '90'     # what build-gpu compiles for on a machine without a card
SYSTEM = Path('/usr/include')   # every compiler looks there last; named as an option it would look there too early
DISK = 3 * GIB      # what cuBLAS, cuRAND and NCCL take, and their archives meanwhile


def _attribute(name):
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

    def facts(self):
        """What goes into the build's key."""
        return {'recipe': hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
                'toolkit': [str(self.toolkit.nvcc), *self.toolkit.version], 'host_compiler': self.host_compiler,
                'architectures': self.architectures, 'pins': self.pins,
                'found': {name: list(map(str, paths)) for name, paths in self.found.items()}}


def plan(architectures=None, fallback=None):
    """Return the `Plan` for this machine.

    Parameters
    ----------
    architectures : str, optional
        What to compile for when CUDA_ARCH does not say it; the cards' when not given.
    fallback : str, optional
        What to compile for when no card is found either.
    """
    kit = toolkit()
    found = {name: paths for name, library in LIBRARIES.items() if (paths := find(name, library, kit.root))}
    pins = pinned(PINS.read_text())
    wanted = {name: library.packages[kit.version[0]] for name, library in LIBRARIES.items() if name not in found}
    numbers = chosen(os.environ.get('CUDA_ARCH') or architectures, kit, fallback)
    return Plan(kit, host_compiler(kit.root), numbers, found,
                {name: f'{package}=={pins[package]}' for name, package in wanted.items()})


# Toolkit

def toolkit():
    """Return the `Toolkit` of CUDA_HOME, PATH or /usr/local/cuda."""
    home = os.environ.get('CUDA_HOME')
    places = [Path(home, 'bin')] if home else [*map(Path, os.get_exec_path()), Path('/usr/local/cuda/bin')]
    nvcc = next((path / 'nvcc' for path in places if os.access(path / 'nvcc', os.X_OK)), None)
    if nvcc is None:
        where = f'in CUDA_HOME, {home}/bin' if home else 'on PATH or in /usr/local/cuda/bin'
        raise Problem(f'no CUDA compiler nvcc {where}: install a CUDA toolkit, 11.8 to 13, or name its folder: '
                      'make setup GPU=1 CUDA_HOME=DIR', status=2)
    # nvcc may be a link or a script that calls another: it knows best itself where its toolkit lies.
    root = re.search(r'^#\$ TOP=(.*)', _ask(nvcc, '--dryrun', '-c', 'x.cu'), re.MULTILINE)
    version = re.search(r'release (\d+)\.(\d+)', _ask(nvcc, '--version'))
    if not (root and version):
        raise Problem(f'{nvcc} does not say where its toolkit lies and which version it is; name another with '
                      'CUDA_HOME', status=2)
    release = int(version[1]), int(version[2])
    if not OLDEST <= release <= NEWEST:
        raise Problem(f'{nvcc} is of CUDA {release[0]}.{release[1]}; needed is 11.8 to 13: name another with CUDA_HOME',
                      status=2)
    folder = Path(os.path.normpath(root[1]))
    real = folder / 'bin/nvcc'
    return Toolkit(real if real.exists() else nvcc, folder, release,
                   tuple(re.findall(r'compute_(\d+)$', _ask(nvcc, '--list-gpu-arch'), re.MULTILINE)))


def host_compiler(root):
    """Return the path of a g++ that the toolkit at `root` accepts: $CUDAHOSTCXX, g++, or an older one beside it."""
    given = os.environ.get('CUDAHOSTCXX')
    header = root / 'include/crt/host_config.h'
    limits = re.findall(r'__GNUC__ > (\d+)', header.read_text()) if header.exists() else []
    newest = int(limits[0]) if limits else 99
    names = [given] if given else ['g++', *(f'g++-{major}' for major in range(newest, 8, -1))]
    for name in names:
        path = shutil.which(name)
        if path and int(_ask(path, '-dumpversion').split('.')[0] or 99) <= newest:
            return path
    raise Problem(f'the CUDA toolkit in {root} works with g++ up to {newest}, and {given or "g++"} is newer or '
                  f'missing: apt-get install g++-{newest}, or name one with CUDAHOSTCXX', status=2)


def chosen(given, kit, fallback=None):
    """Return the architectures to compile for: those that the text `given` names, else those of the cards."""
    if given:
        names = tuple(dict.fromkeys(re.split(r'[\s,;]+', given.strip().replace('.', ''))))
    else:
        names = cards() or ((fallback,) if fallback else ())
    if not names:
        raise Problem('no card is found (nvidia-smi) to compile for: name its architecture, as in '
                      'make setup GPU=1 CUDA_ARCH=90', status=2)
    for name in names:
        if name not in kit.architectures:
            major, minor = kit.version
            raise Problem(f'CUDA {major}.{minor} does not compile for architecture {name!r}, only for '
                          f'{" ".join(kit.architectures)}: set CUDA_ARCH to some of those', status=2)
    return tuple(sorted(names, key=int))


def cards():
    """Return the architectures of the cards that the driver shows, such as ('90',)."""
    if not shutil.which('nvidia-smi'):
        return ()
    printed = _ask('nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader')
    return tuple(dict.fromkeys(''.join(pair) for pair in re.findall(r'^(\d+)\.(\d)$', printed, re.MULTILINE)))


def _ask(*command):
    result = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors='replace')
    return result.stdout


# Libraries

def find(name, library, root):
    """Return (folder of the header, file) of a library in the toolkit at `root` or the system, or None."""
    for folder, file in ((root / 'include', _inside(name, root)), (SYSTEM, _of_system(name))):
        if file and (folder / library.header).exists():
            return folder, file
    return None


def _inside(name, root):
    """Return the path of a library of the toolkit at `root`, or None; some have it only under its full name."""
    return next((file for folder in ('lib64', 'lib') for file in [
        root / folder / f'lib{name}.so', *sorted((root / folder).glob(f'lib{name}.so.*'))] if file.exists()), None)


def _of_system(name):
    """Return the path of a library that the linker finds by itself, or None."""
    path = Path(_ask('g++', f'-print-file-name=lib{name}.so').strip())    # the bare name when there is none
    return path if path.is_absolute() else None


def pinned(text):
    """Return package -> version of the lines of a requirements file."""
    return dict(re.findall(r'^([\w.-]+)==([\w.]+)', text, re.MULTILINE))


def install(pins, cache, python):
    """Install the requirements `pins` into a folder under `cache`, unless they are there, and return the folder.

    Not into .venv: builds are shared by clones, and find their libraries by path.
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
    command = [python, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-deps', '--no-compile',
               '--only-binary', ':all:', '--target', partial, *pins]
    result = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    log.write_text(result.stdout)
    if result.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        errors = re.findall(r'^ERROR: (.*)', result.stdout, re.MULTILINE) or result.stdout.splitlines() or ['']
        raise Problem(f"pip failed: {errors[-1]} (whole log: {log}); check the network and pip's settings, or install "
                      'the libraries into the CUDA toolkit')
    partial.rename(folder)
    return folder


def packaged(name, library, folder):
    """Return (folder of the header, file) of a library that `install` put into `folder`."""
    headers = sorted(folder.glob(f'nvidia/*/include/{library.header}'))
    files = sorted(folder.glob(f'nvidia/*/lib/lib{name}.so.*'))
    if not (headers and files):
        raise Problem(f'{folder}: no {library.header} or lib{name}.so: remove that folder and try again')
    return headers[0].parent, files[0]


def variant(plan, cache, python):
    """Return what a GPU build adds to the recipe, its libraries installed.

    Parameters
    ----------
    plan : Plan
    cache : Path
        Existing folder, held by this process alone.
    python : Path
        Interpreter whose pip installs.
    """
    places = dict(plan.found)
    if plan.pins:
        folder = install(list(plan.pins.values()), cache, python)
        places |= {name: packaged(name, LIBRARIES[name], folder) for name in plan.pins}
    kit = plan.toolkit
    runtime = _inside('cudart', kit.root) or _of_system('cudart')
    if runtime is None:
        raise Problem(f'{kit.root}: no libcudart.so in lib64 or lib; is the CUDA toolkit whole?', status=2)
    files = {'cudart': runtime, **{name: file for name, (_, file) in places.items()}}
    folders = dict.fromkeys([kit.root / 'include', *(folder for folder, _ in places.values())])
    include = [str(folder) for folder in folders if folder != SYSTEM]
    numbers = ' '.join(plan.architectures)
    options = {
        'CPU_ONLY': 'OFF', 'USE_CUDNN': 'OFF', 'USE_NCCL': 'ON',
        # Everything by its full path. The pair of roots must be equal, or FindCUDA forgets what follows.
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
