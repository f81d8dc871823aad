"""Find cuDNN, and compile the layers that use it against a GPU build of Caffe.

The library lies beside accel's, in the folder of Caffe's own build. All kernels are cuDNN's: g++ alone compiles it.
"""
import os
import re
import site
import subprocess
from pathlib import Path
from typing import NamedTuple

from accel import build

SOURCES = Path(__file__).parent / 'gpu'
SHARED = tuple(build.SOURCES / 'layers' / name for name in ('planar.h', 'blobs.h'))    # what the CPU's layers use too
# What computes -> the sources of which other libraries have others.
BACKENDS = {'cudnn': {'cudnn', 'cuda'}, 'reference': {'reference'}, 'emulated': {'reference', 'cuda'}}
WARNINGS = ['-Wall', '-Wextra', '-Wno-sign-compare']


class Cudnn(NamedTuple):
    """An installed cuDNN: the folder of cudnn.h, and the library to link."""

    include: Path
    library: Path


def library() -> Path:
    """Where the library for this Caffe and these sources lies, or would."""
    return build.place('libaccel_cudnn.so', [Path(__file__), Path(build.__file__), *SHARED, *SOURCES.rglob('*')])


def find() -> Cudnn | None:
    """The cuDNN of CUDNN_HOME, else the package beside the build or in site-packages, or the system's.

    `make setup` keeps the package that it fetched in a folder cuda-* beside the builds of Caffe.
    """
    home = os.environ.get('CUDNN_HOME')
    if home:
        return _inside(Path(home))
    cuda = build.facts()['cuda']
    package = f'nvidia_cudnn_cu{cuda["version"].partition(".")[0]}'
    nvidia = [path.parent / 'nvidia' for path in build.caffe_folder().parent.glob(f'cuda-*/{package}-*')]
    nvidia += [Path(folder).parents[1] for folder in cuda['include'] if '/nvidia/' in folder]
    nvidia += [Path(path) / 'nvidia' for path in site.getsitepackages()]
    found = (_inside(folder / 'cudnn') for folder in nvidia)
    return next((cudnn for cudnn in found if cudnn), None) or _system()


def _inside(folder: Path) -> Cudnn | None:
    """The cuDNN in a folder that has `include` and `lib`, if it is whole."""
    libraries = sorted(path for name in ('lib', 'lib64') for path in folder.glob(f'{name}/libcudnn.so*'))
    header = folder / 'include/cudnn.h'
    return Cudnn(header.parent, libraries[0]) if libraries and header.is_file() else None


def _system() -> Cudnn | None:
    """The cuDNN that the compiler finds by itself."""
    # The compiler prints the path of a library that it finds, and the bare name of one that it doesn't.
    printed = subprocess.run(['g++', '-print-file-name=libcudnn.so'], capture_output=True, text=True).stdout.strip()
    header = Path('/usr/include/cudnn.h')
    return Cudnn(header.parent, Path(printed)) if '/' in printed and header.is_file() else None


def version(cudnn: Cudnn) -> str:
    """The version that a cuDNN's header states, such as 9.27.0."""
    text = (cudnn.include / 'cudnn_version.h').read_text()
    numbers = (re.search(rf'define CUDNN_{part}\s+(\d+)', text) for part in ('MAJOR', 'MINOR', 'PATCHLEVEL'))
    return '.'.join(number[1] if number else '?' for number in numbers)


def compile_library(target: Path, cudnn: Cudnn | None, extra: tuple[str, ...] = (), emulated: bool = False) -> None:
    """Compile and link into the file `target`, which appears whole or not at all.

    Parameters
    ----------
    target : Path
        The library to make.
    cudnn : Cudnn or None
        What computes; None compiles the same layers for the host with the reference in cuDNN's place, for tests.
    extra : tuple of str
        More options for compiler and linker.
    emulated : bool
        Without cuDNN: the reference computes on an emulated card, for tests.

    Raises
    ------
    RuntimeError
        The compiler or the linker failed.
    """
    backend = 'cudnn' if cudnn else 'emulated' if emulated else 'reference'
    flags, link = [*WARNINGS, f'-I{build.SOURCES}', *build.caffe_headers()], ['-shared', *build.caffe_libraries()]
    if backend == 'reference':
        flags.append('-DACCEL_REFERENCE')
    else:
        cuda = build.facts()['cuda']
        flags += [f'-isystem{folder}' for folder in cuda['include']]
        link += [cuda['libraries']['cudart'], *(f'-Wl,-rpath,{folder}' for folder in cuda['lib'])]
    if backend == 'emulated':
        flags.append('-DACCEL_EMULATED')
    if cudnn:
        flags.append(f'-isystem{cudnn.include}')
        link += [str(cudnn.library), f'-Wl,-rpath,{cudnn.library.parent}']
    others = set.union(*BACKENDS.values()) - BACKENDS[backend]
    units = [build.Unit(path, path.stem, flags) for path in sorted(SOURCES.glob('*.cpp')) if path.stem not in others]
    build.compile_and_link(target, units, link, extra)
