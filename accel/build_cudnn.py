"""Find cuDNN, and compile the layers that use it against a GPU build of Caffe.

The library lies beside accel's, in the folder of Caffe's own build. All kernels are cuDNN's: g++ alone compiles it.
"""
import hashlib
import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from accel.build import FLAGS, caffe_folder, run

SOURCES = Path(__file__).parent / 'gpu'
PINS = Path(__file__).parents[1] / 'requirements-gpu.txt'
SHARED = ('engine', 'layers', 'registry')
WARNINGS = ['-Wall', '-Wextra', '-Wno-sign-compare']


class Cudnn(NamedTuple):
    """An installed cuDNN: the folder of cudnn.h, and the library to link."""

    include: Path
    library: Path


def library() -> Path:
    """Where the library for this Caffe and these sources lies, or would."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b'\0' + path.read_bytes())
    return caffe_folder() / 'accel' / digest.hexdigest()[:16] / 'libaccel_cudnn.so'


def facts() -> dict:
    """What the build of Caffe says of itself; `cuda` is in it when it is a GPU build."""
    return json.loads((caffe_folder() / 'build.json').read_text())


def find() -> Cudnn | None:
    """The cuDNN of CUDNN_HOME, else what `fetch` brought, another one from PyPI, or the system's."""
    home = os.environ.get('CUDNN_HOME')
    if home:
        return _inside(Path(home))
    nvidia = [path.parent / 'nvidia' for path in caffe_folder().parent.glob(f'cuda-*/{_package().replace("-", "_")}-*')]
    nvidia += [Path(folder).parents[1] for folder in facts()['cuda']['include'] if '/nvidia/' in folder]
    nvidia += [Path(path) / 'nvidia' for path in _site_packages()]
    found = (_inside(folder / 'cudnn') for folder in nvidia)
    return next((cudnn for cudnn in found if cudnn), None) or _system()


def fetch() -> Cudnn | None:
    """Install the pinned package for the toolkit's major version beside the GPU build's other libraries.

    Raises
    ------
    third_party.caffe.Problem
        When pip cannot.
    """
    import sys

    from third_party.caffe import build, cuda
    version = cuda.pinned(PINS.read_text()).get(_package())
    if version is None:
        return None
    return _inside(cuda.install([f'{_package()}=={version}'], build.cache_folder(), sys.executable) / 'nvidia/cudnn')


def _package() -> str:
    """The name on PyPI of the cuDNN for the toolkit of this Caffe."""
    return f'nvidia-cudnn-cu{facts()["cuda"]["version"].partition(".")[0]}'


def _inside(folder: Path) -> Cudnn | None:
    libraries = sorted(path for name in ('lib', 'lib64') for path in folder.glob(f'{name}/libcudnn.so*'))
    header = folder / 'include/cudnn.h'
    return Cudnn(header.parent, libraries[0]) if libraries and header.is_file() else None


def _site_packages() -> list[str]:
    import site
    return site.getsitepackages()


def _system() -> Cudnn | None:
    # The compiler prints the path of a library that it finds, and the bare name of one that it doesn't.
    printed = subprocess.run(['g++', '-print-file-name=libcudnn.so'], capture_output=True, text=True).stdout.strip()
    header = Path('/usr/include/cudnn.h')
    return Cudnn(header.parent, Path(printed)) if '/' in printed and header.is_file() else None


def version(cudnn: Cudnn) -> str:
    """The version that a cuDNN's header states, such as 9.27.0."""
    text = (cudnn.include / 'cudnn_version.h').read_text()
    numbers = (re.search(rf'define CUDNN_{part}\s+(\d+)', text) for part in ('MAJOR', 'MINOR', 'PATCHLEVEL'))
    return '.'.join(number[1] if number else '?' for number in numbers)


def compile_library(target: Path, cudnn: Cudnn | None, extra: tuple[str, ...] = ()) -> None:
    """Compile and link into the file `target`, which appears whole or not at all.

    Parameters
    ----------
    target : Path
        The library to make.
    cudnn : Cudnn or None
        What computes; None compiles the same layers for the CPU with plain loops in cuDNN's place, for tests.
    extra : tuple of str
        More options for compiler and linker.
    """
    caffe, known = caffe_folder(), facts()
    headers = [f'-isystem{caffe / folder}' for folder in known['include']]
    lib = caffe / known['lib']
    names, defines = [*SHARED, 'cudnn' if cudnn else 'rehearsal'], [f'-D{name}' for name in known['defines']]
    link: list[str | Path] = [f'-L{lib}', '-lcaffe', '-lglog', '-lprotobuf', '-lboost_system', f'-Wl,-rpath,{lib}',
                              '-Wl,-z,defs']
    if cudnn:
        cuda = known['cuda']
        headers += [f'-isystem{folder}' for folder in (*cuda['include'], cudnn.include)]
        folders = [*cuda['lib'], cudnn.library.parent]
        link += [cudnn.library, cuda['libraries']['cudart'], *(f'-Wl,-rpath,{folder}' for folder in folders)]
    else:
        defines.append('-DACCEL_REHEARSAL')
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        def compile_one(name):
            run(['g++', *FLAGS, *WARNINGS, *extra, *headers, *defines, '-c', SOURCES / f'{name}.cpp', '-o',
                 f'{folder}/{name}.o'])

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(compile_one, names))
        run(['g++', '-shared', *extra, *(f'{folder}/{name}.o' for name in names), *link, '-o', f'{folder}/new.so'])
        os.replace(f'{folder}/new.so', target)
