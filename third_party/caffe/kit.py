"""One archive for a machine with a card and nothing else: what runs the GPU tests and timings there, without network.

    .venv/bin/python -m third_party.caffe.kit       (make gpu-kit)

writes dist/gpu-kit-PYTHON-PLATFORM.tar.xz: the GPU build that .venv imports, as in its wheel, and the packages that it
and the tests need, both unpacked; this checkout's files; and run.py, which is all that is called there. CUDA's
libraries are those of the PyTorch that the machine has.
"""
from __future__ import annotations

import lzma
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from . import Problem, run
from .bundle import anonymous, checkout, newest_wheel, pip
from .wheel import DIST, ROOT

SCRIPT = ROOT / 'bench/kit.py'
LARGEST = 64_000_000    # bytes of the archive
# Of requirements.txt: what Caffe, the commands and the GPU tests import.
NEEDED = ('numpy', 'scipy', 'pillow', 'scikit-image', 'six', 'protobuf', 'pydot', 'matplotlib', 'Jinja2', 'MarkupSafe',
          'tqdm', 'pytest', 'pytest-xdist')
# What none of these imports when nets are run: packages' tests, headers and pictures, and parts that are large. Files
# of types stay: skimage loads by them.
UNUSED = re.compile(r'(^|/)(tests|__pycache__|include|sample_data|networkx|bin)/|^fontTools/(?!misc/)\w+/'
                    r'|^skimage/data/.*(?<!\.py)(?<!\.pyi)$|^scipy/(stats|signal|odr|fftpack|cluster|datasets|integrate)/'
                    r'|\.(pxd|pyx|h|a|lib)$')


def main() -> int:
    """Write the archive and print its path; returns the exit status."""
    return run(lambda: print(small_enough(make(DIST))), 'make gpu-kit again')


def make(target: Path, preset: int = 9) -> Path:
    """Write the archive.

    Parameters
    ----------
    target : Path
        Folder that has the wheel of a GPU build for this interpreter, and gets the archive.
    preset : int
        How hard xz tries, from 0 (seconds) to 9 (minutes).

    Returns
    -------
    Path
        Of the archive.

    Raises
    ------
    Problem
        The wheel is not there or of a CPU build, or pip cannot fetch the others.
    """
    wheel = newest_wheel(target, '.cu')
    archive = target / f'gpu-kit-{"-".join(wheel.stem.split("-")[2:])}.tar.xz'
    with tempfile.TemporaryDirectory(dir=target) as name:
        work = Path(name)
        install(wheel, work / 'site')
        with lzma.open(work / 'archive', 'wb', preset=preset) as packed, tarfile.open(fileobj=packed, mode='w') as tar:
            tar.add(SCRIPT, 'gpu-kit/run.py', filter=anonymous)
            for file in sorted(work.glob('site/**/*')):
                inside = file.relative_to(work)
                if not file.is_dir() and not UNUSED.search(str(inside.relative_to('site'))):
                    tar.add(file, f'gpu-kit/{inside}', filter=anonymous)
            for tracked in checkout():
                tar.add(ROOT / tracked, f'gpu-kit/fcn/{tracked}', filter=anonymous)
        return (work / 'archive').replace(archive)


def small_enough(archive: Path) -> Path:
    """Return the archive; raises Problem when it is too large to be carried."""
    size = archive.stat().st_size
    if size > LARGEST:
        raise Problem(f'{archive}: {size / 1e6:.0f} MB, more than the {LARGEST / 1e6:.0f} MB it may have: compile for '
                      'one architecture (CUDA_ARCH)')
    return archive


def install(wheel: Path, folder: Path) -> None:
    """Unpack a wheel and the packages that are needed into a new folder; raises Problem when pip fails."""
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    pins = [line.split()[0] for line in lines if line.partition('==')[0] in NEEDED]
    print(f'fetching {", ".join(pins)}', flush=True)
    for what in (pins, ['--no-deps', str(wheel)]):
        pip('make gpu-kit', 'install', '--no-compile', '--target', str(folder), *what)


if __name__ == '__main__':
    sys.exit(main())
