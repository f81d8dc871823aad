"""Set everything up: Debian packages, .venv with requirements.txt, Caffe. A second run takes no time.

    python3 -m third_party.caffe                (make setup)
    python3 -m third_party.caffe build-gpu      (make build-gpu) a GPU build in the cache; .venv keeps its Caffe
    python3 -m third_party.caffe build-gpu DIR  and DIR, an environment of .venv's packages that imports it

GPU=1 chooses the GPU build, GPU=0 the CPU build; without either .venv keeps the one it has, at first the CPU build.
WHEEL=FILE takes Caffe from a wheel that make wheel wrote, and needs neither compiler nor Debian packages; .venv keeps
it until GPU=0 or GPU=1 asks for a build. CUDA_ARCH, CUDA_HOME and CUDAHOSTCXX: see cuda.py. CAFFE_SRC=DIR takes
Caffe's source from a checkout instead of Debian's archive or a clone; XDG_CACHE_HOME moves the builds' cache.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import Problem, boost, build, cuda, cudnn, debian, recipe, run, source

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin/python'
REQUIREMENTS = ROOT / 'requirements.txt'
STAMP = VENV / 'setup.json'
WHEEL_FOLDER = 'wheel-'     # how the names of unpacked wheels in the cache begin
CHOICE = ('caffe', 'cuda')   # of the stamp: the build that .venv imports, and its architectures if it is a GPU build
REPORT = '''
import ctypes
import caffe
library = ctypes.CDLL(caffe._caffe.__file__)    # looks through its dependencies too
count, cuda = ctypes.c_int(), hasattr(library, 'cudaGetDeviceCount')
cards = count.value if cuda and library.cudaGetDeviceCount(ctypes.byref(count)) == 0 else 0
print(f'has CUDA: {"yes" if cuda else "no"}, cards: {cards}')
'''


def main() -> int:
    """Bring .venv and the cached Caffe up to date; return the exit status."""
    return run(work, 'make setup again (XDG_CACHE_HOME moves the cache of builds)')


def work() -> None:
    """Do what the arguments say; raises Problem for others than there are."""
    command, folders = sys.argv[1:2], [Path(name).absolute() for name in sys.argv[2:]]
    if command not in ([], ['build-gpu']) or len(folders) > 1:
        raise Problem(f'unknown arguments {" ".join(sys.argv[1:])!r}: expected build-gpu, build-gpu DIR or none; see '
                      'third_party/caffe/__main__.py', status=2)
    for folder in folders:
        if folder.exists() and not (folder / 'pyvenv.cfg').is_file():
            raise Problem(f'{folder}: not an environment that build-gpu made, which alone it replaces: name a new '
                          'folder', status=2)
    build_folder = setup(only_gpu=bool(command))
    for folder in folders:
        layer(folder, build_folder / 'python')


def setup(only_gpu: bool = False) -> Path:
    """Bring .venv and the cached Caffe up to date.

    Parameters
    ----------
    only_gpu : bool
        Make a GPU build in the cache, but let .venv keep the Caffe it imports.

    Returns
    -------
    Path
        The folder of that Caffe.

    Raises
    ------
    Problem
        A step failed, or this machine lacks something; the message has the remedy.
    """
    check_python()
    wheel = None if only_gpu else chosen_wheel()
    if wheel:
        return setup_from_wheel(wheel)
    check_packages()
    plan, python = gpu_plan(only_gpu), boost.plan()
    facts = build.facts(numpy_version(REQUIREMENTS.read_text()))
    facts |= {name: part.facts() for name, part in {'cuda': plan, 'boost': python}.items() if part}
    cache, name = build.cache_folder(), build.key(facts)
    wanted = {
        'interpreter': interpreter(),
        'root': str(ROOT),
        'requirements': source.sha256(REQUIREMENTS),
        'caffe': str(cache / name),
        'cuda': ' '.join(plan.architectures) if plan else None,
    }
    if only_gpu:
        wanted |= {item: stamp().get(item) for item in CHOICE}
    if stamp() != wanted or not (cache / name).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / 'lock'):
            update(wanted, lambda: build_caffe(cache, name, plan, python),
                   None if only_gpu else cache / name / 'python')
    on = f' with CUDA for architecture {" ".join(plan.architectures)}' if plan else ''
    print(f'ready: Caffe {recipe.COMMIT}{on} for Python {facts["python"]} in {cache / name}', flush=True)
    if only_gpu:
        report(cache / name / 'python')
    elif plan:
        fetch_cudnn(plan, cache)
    return cache / name


def gpu_plan(only_gpu: bool) -> cuda.Plan | None:
    """Decide between the GPU and the CPU build.

    Parameters
    ----------
    only_gpu : bool
        A GPU build is asked for by the command; otherwise GPU in the environment decides, or the last setup.

    Returns
    -------
    cuda.Plan or None
        Of the GPU build; None for the CPU build.

    Raises
    ------
    Problem
        GPU is neither 0 nor 1, or this machine cannot make the GPU build.
    """
    if only_gpu:
        return cuda.plan(fallback=cuda.FALLBACK)
    given, before = os.environ.get('GPU', ''), stamp().get('cuda')
    if given not in ('', '0', '1'):
        raise Problem(f'GPU={given}: 1 chooses the GPU build of Caffe, 0 the CPU build', status=2)
    if given == '1':
        return cuda.plan()
    if not before or given:
        return None
    try:
        return cuda.plan(before)
    except Problem as problem:
        raise Problem(f'{problem}; or go back to the CPU build: make setup GPU=0', problem.status) from None


def update(wanted: dict[str, Any], provide: Callable[[], None], python_folder: Path | None) -> None:
    """Do what the stamp does not show as done.

    Parameters
    ----------
    wanted : dict
        The stamp to leave in .venv.
    provide : callable
        Puts Caffe's folder into the cache, which this process has locked, unless it is there.
    python_folder : Path or None
        In it, for .venv to import; None where .venv keeps the Caffe it has.

    Raises
    ------
    Problem
        A step failed.
    """
    done = stamp()
    stale = {item for item in wanted if done.get(item) != wanted[item]}
    if stale - set(CHOICE):
        install_requirements(clear=bool(stale & {'interpreter', 'root'}))
    provide()
    if python_folder:
        link(python_folder)
    STAMP.write_text(json.dumps(wanted, indent=2) + '\n')


def build_caffe(cache: Path, name: str, plan: cuda.Plan | None, python: boost.Plan | None) -> None:
    """Build Caffe into the folder `name` of the cache, unless it is there.

    Parameters
    ----------
    cache : Path
        Existing folder of builds, locked by this process.
    name : str
        From `build.key`.
    plan : cuda.Plan or None
        Of a GPU build; without it the build is for the CPU.
    python : boost.Plan or None
        Of the Boost.Python to compile; without it the system has one.

    Raises
    ------
    Problem
        A step failed.
    """
    if not (cache / name).is_dir():
        variant = cuda.variant(plan, cache, PYTHON) if plan else build.CPU
        build.build(name, PYTHON, cache, boost.variant(variant, python, cache) if python else variant)


def chosen_wheel() -> Path | None:
    """Decide between a wheel and a build.

    Returns
    -------
    Path or None
        The wheel that WHEEL names, or the folder that .venv's Caffe came into from an earlier one; None for a build.

    Raises
    ------
    Problem
        WHEEL and GPU exclude each other, or the folder of the earlier wheel is gone.
    """
    given, before = os.environ.get('WHEEL', ''), Path(stamp().get('caffe', ''))
    if os.environ.get('GPU'):
        if given:
            raise Problem('WHEEL and GPU exclude each other: a wheel holds a build that is finished', status=2)
        return None
    if given:
        return Path(given).absolute()
    if not before.name.startswith(WHEEL_FOLDER):
        return None
    if stamp()['interpreter'] != interpreter() or not before.is_dir():
        raise Problem(f'the Caffe of .venv came in a wheel, for {stamp()["interpreter"]}, into {before}; this is '
                      'another Python, or that folder is gone: make setup WHEEL=FILE again, or make setup GPU=0 to '
                      'build Caffe', status=2)
    return before


def setup_from_wheel(wheel: Path) -> Path:
    """Bring .venv up to date with Caffe from a wheel.

    Parameters
    ----------
    wheel : Path
        The file, or the folder in the cache that an earlier setup unpacked it into.

    Returns
    -------
    Path
        The folder of that Caffe.

    Raises
    ------
    Problem
        It is no wheel of Caffe for this interpreter, or a step failed.
    """
    cache = build.cache_folder()
    folder = wheel if wheel.is_dir() else cache / f'{WHEEL_FOLDER}{wheel_key(wheel)}'
    wanted = {'interpreter': interpreter(), 'root': str(ROOT), 'requirements': source.sha256(REQUIREMENTS),
              'caffe': str(folder), 'cuda': None}
    if stamp() != wanted:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / 'lock'):
            update(wanted, lambda: unpack_wheel(wheel, folder), folder)
    print(f'ready: Caffe {recipe.COMMIT} from a wheel for Python {platform.python_version()} in {folder}', flush=True)
    return folder


def wheel_key(wheel: Path) -> str:
    """Return what tells a wheel of Caffe for this interpreter from others; raises Problem for any other file."""
    tag = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    parts = wheel.name.split('-')
    if parts[0] != 'caffe' or wheel.suffix != '.whl' or len(parts) != 5:
        raise Problem(f'{wheel}: not a wheel of Caffe; name one that make wheel wrote, dist/caffe-*.whl', status=2)
    if parts[2] != tag:
        python = re.sub(r'cp(\d)(\d+)', r'\1.\2', parts[2])
        raise Problem(f'{wheel}: for Python {python}, and {sys.executable} is {platform.python_version()}: '
                      f'make setup WHEEL=... PYTHON=python{python}', status=2)
    if not wheel.is_file():
        raise Problem(f'{wheel}: no such file; make wheel writes dist/caffe-*.whl', status=2)
    return source.sha256(wheel)[:16]


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Install a wheel of Caffe, and CUDA's libraries if it declares them, into a folder of the cache, by pip.

    Parameters
    ----------
    wheel : Path
        The file.
    folder : Path
        Appears complete or not at all.

    Raises
    ------
    Problem
        pip refused it, as for another machine or C library, or cannot fetch CUDA's packages.
    """
    if folder.is_dir():
        return
    partial = folder.with_name(folder.name + '.tmp')
    shutil.rmtree(partial, ignore_errors=True)      # an interrupted setup leaves it
    try:
        pip('--no-deps', '--no-compile', '--target', str(partial), str(wheel), *cuda_requirements(wheel))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def cuda_requirements(wheel: Path) -> list[str]:
    """Return the requirements on CUDA's packages that a wheel declares; raises Problem when it cannot be read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if re.fullmatch(r'[^/]+\.dist-info/METADATA', name))
            return re.findall(r'^Requires-Dist: (nvidia-.*)', archive.read(name).decode(), re.MULTILINE)
    except (zipfile.BadZipFile, StopIteration, UnicodeError, zlib.error) as problem:
        raise Problem(f'{wheel}: damaged, or not a wheel ({type(problem).__name__}); make wheel writes one',
                      status=2) from None


def report(python_folder: Path) -> None:
    """Print whether a build of Caffe has CUDA, and how many cards answer it.

    Parameters
    ----------
    python_folder : Path
        The build's folder of Python packages.

    Raises
    ------
    Problem
        That Caffe does not load, or has no CUDA.
    """
    result = subprocess.run([str(PYTHON), '-c', REPORT], cwd='/', env={**os.environ, 'PYTHONPATH': str(python_folder)},
                            stdout=subprocess.PIPE, text=True)
    print(result.stdout, end='', flush=True)
    if not result.stdout.startswith('has CUDA: yes'):
        raise Problem(f'the Caffe in {python_folder.parent} does not load: remove that folder and run make build-gpu '
                      'again')


def fetch_cudnn(plan: cuda.Plan, cache: Path) -> None:
    """Put the pinned cuDNN into the cache for accel to compile against, unless one is found; warn when that fails.

    Parameters
    ----------
    plan : cuda.Plan
        Of the GPU build.
    cache : Path
        Existing folder of builds.
    """
    pin = cudnn.requirement(plan, cache, VENV)
    if pin is None:
        return
    try:
        with locked(cache / 'lock'):
            cuda.install([pin], cache, PYTHON)
    except (Problem, OSError) as problem:
        print(f'warning: no cuDNN, convolutions on a GPU are Caffe\'s own: {problem}', file=sys.stderr)


def check_python() -> None:
    """Check the interpreter's version.

    Raises
    ------
    Problem
        It is too old.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (this is where an older one is told so)
        raise Problem(f'{sys.executable} is Python {platform.python_version()}; 3.11 or later is needed: '
                      + debian.newer_python(), status=2)


def check_packages() -> None:
    """Install the Debian packages that are missing.

    Raises
    ------
    Problem
        This Python has no C headers, or packages are missing and cannot be installed.
    """
    packages = list(recipe.PACKAGES)
    header = Path(build.python_headers()) / 'Python.h'
    if Path(sys.base_prefix) == Path('/usr'):
        name = f'python{sys.version_info[0]}.{sys.version_info[1]}'    # may be another than the package python3 has
        packages += [f'{name}-dev'] * (not header.exists()) + [f'{name}-venv'] * (find_spec('ensurepip') is None)
    elif not header.exists():
        raise Problem(f'{sys.executable} came without its C headers (no {header}): install them, or '
                      'make setup PYTHON=/usr/bin/python3', status=2)
    try:
        missing = debian.missing(packages)
    except FileNotFoundError:
        print(f'dpkg not found: continuing without a check for {" ".join(packages)}', file=sys.stderr)
        return
    if missing:
        debian.install(missing)


def interpreter() -> str:
    """Return the installation and version of Python that .venv is made from."""
    return f'{sys.base_prefix} {platform.python_version()}'


def numpy_version(requirements: str) -> str:
    """Return the numpy version that requirements.txt pins.

    Parameters
    ----------
    requirements : str
        The text of requirements.txt.

    Returns
    -------
    str

    Raises
    ------
    Problem
        It pins none.
    """
    pin = re.search(r'^numpy==([\w.]+)', requirements, re.MULTILINE)
    if not pin:
        raise Problem('requirements.txt: no line numpy==VERSION; pycaffe is compiled against one', status=2)
    return pin[1]


def stamp() -> dict[str, Any]:
    """Return what the last finished setup left in .venv, empty before the first."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`: a second setup waits for the first and then finds the work done."""
    with open(path, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('waiting for another make setup to finish', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_requirements(clear: bool) -> None:
    """Make .venv and install requirements.txt into it.

    Parameters
    ----------
    clear : bool
        Empty .venv first.

    Raises
    ------
    Problem
        venv or pip failed, or .venv is a link, whose environment is not this checkout's to empty.
    """
    if VENV.is_symlink():
        raise Problem(f'{VENV} is a link to {VENV.readlink()}, an environment that this would empty: remove the link',
                      status=2)
    python = getattr(sys, '_base_executable', sys.executable)
    print('installing requirements.txt into .venv', flush=True)
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()
    logged('venv', [python, '-m', 'venv', *(['--clear'] if clear else []), str(VENV)])
    pip('-r', str(REQUIREMENTS))


def pip(*arguments: str) -> None:
    """Run pip's install in .venv; raises Problem when it fails."""
    logged('pip', [str(PYTHON), '-m', 'pip', 'install', '--disable-pip-version-check', *arguments])


def logged(name: str, command: list[str]) -> None:
    """Run a command with its output in pip.log beside the builds; raises Problem when it fails, with its last error."""
    log = build.cache_folder() / 'pip.log'
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)
    log.write_text(result.stdout)
    if result.returncode != 0:
        errors = re.findall(r'^ERROR: (.*)', result.stdout, re.MULTILINE) or result.stdout.splitlines() or ['']
        raise Problem(f"{name} failed: {errors[-1]} (whole log: {log}); check the network and pip's settings, then "
                      'run make setup again')


def link(python_folder: Path, python: Path = PYTHON, more: Sequence[str] = ()) -> None:
    """Let an environment import caffe and, from any folder, this checkout's packages; try it.

    Parameters
    ----------
    python_folder : Path
        With the package caffe; what else is there comes after this checkout's.
    python : Path
        Interpreter of the environment.
    more : sequence of str
        Further folders of packages.

    Raises
    ------
    Problem
        That Caffe does not load.
    """
    folders = [str(ROOT), str(python_folder), *more]
    Path(site_packages(python), 'fcn.pth').write_text('\n'.join(folders) + '\n')
    result = subprocess.run([str(python), '-c', 'import caffe'], cwd='/', capture_output=True, text=True)
    if result.returncode != 0:
        raise Problem(f'the Caffe in {python_folder.parent} does not load ({result.stderr.strip().splitlines()[-1]}): '
                      'remove that folder and run make setup again')


def layer(folder: Path, python_folder: Path) -> None:
    """Make an environment of .venv's packages that imports another Caffe.

    Parameters
    ----------
    folder : Path
        Of the environment; replaced when it is there.
    python_folder : Path
        With the package caffe.

    Raises
    ------
    Problem
        It cannot be made, or that Caffe does not load.
    """
    logged('venv', [str(PYTHON), '-m', 'venv', '--clear', '--without-pip', str(folder)])
    link(python_folder, folder / 'bin/python', [site_packages(PYTHON)])


def site_packages(python: Path) -> str:
    """The folder of the packages of an environment."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([str(python), '-c', code], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == '__main__':
    sys.exit(main())
