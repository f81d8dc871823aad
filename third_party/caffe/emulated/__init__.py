"""A CUDA toolkit whose card is emulated by the host, so that Caffe's GPU code compiles and runs where no card is.

    python -m third_party.caffe.emulated        prints the folder to name as CUDA_HOME

`nvcc` turns kernels into functions of the host, `include` and the libraries stand in for CUDA's runtime, cuBLAS, cuRAND
and NCCL. A GPU build is made with it as with a real toolkit (cuda.py). What it can show: that kernels compute what they
should, whatever the order of their threads, touch only memory that they were given, and get no pointer of the host;
that the host touches none of the card's; what happens without memory on the card, with several cards, and with one in
exclusive use. What it cannot: speed, rounding on a card, and what several streams do at a time.
"""
from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .. import Problem, build

HERE = Path(__file__).parent
LIBRARIES = {   # its name, numbered as in CUDA 13 -> its source, and what it is linked with
    'libcudart.so.13': ('card.cpp',), 'libcublas.so.13': ('cublas.cpp', '-lcudart', '-lopenblas'),
    'libcurand.so.10': ('curand.cpp', '-lcudart'), 'libnccl.so.2': ('nccl.cpp', '-lcudart')}
FLAGS = ('-std=c++17', '-O2', '-g1', '-fPIC', '-shared', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror')


def toolkit(cache: Path | None = None) -> Path:
    """Return the folder of the toolkit, which is made when it is missing.

    A build depends on its compiler and headers, which name the folder, and not on how the libraries work: those are
    replaced when their sources have changed.

    Parameters
    ----------
    cache : Path, optional
        Folder that keeps it; by default that of the builds.

    Returns
    -------
    Path
        With bin/nvcc, include and lib64.

    Raises
    ------
    Problem
        It does not compile.
    """
    cache = cache or build.cache_folder()
    headers = sorted(path for path in HERE.glob('include/**/*') if path.is_file())
    folder = cache / f'emulated-{digest([HERE / "nvcc.py", *headers])}'
    if not folder.is_dir():
        partial = folder.with_suffix('.tmp')
        shutil.rmtree(partial, ignore_errors=True)
        (partial / 'bin').mkdir(parents=True)
        shutil.copy(HERE / 'nvcc.py', partial / 'bin/nvcc')
        (partial / 'bin/nvcc').chmod(0o755)
        shutil.copytree(HERE / 'include', partial / 'include')
        partial.rename(folder)
    compile_libraries(folder / 'lib64')
    return folder


def compile_libraries(folder: Path) -> None:
    """Put the libraries into a folder, unless those of these sources are there; raises Problem when one fails."""
    stamp, wanted = folder / 'sources', digest([Path(__file__), *sorted(HERE.glob('*.cpp'))])
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    folder.mkdir(exist_ok=True)
    for name, (source, *needed) in LIBRARIES.items():
        file, new = folder / name, folder / f'{name}.tmp'
        run = ['g++', *FLAGS, f'-I{HERE / "include"}', str(HERE / source), '-o', str(new), f'-Wl,-soname,{name}',
               f'-L{folder}', *needed, '-Wl,-rpath,$ORIGIN']
        result = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            raise Problem(f'the emulated card does not compile ({source}): {result.stdout}')
        new.rename(file)
        link = file.with_suffix('')
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    stamp.write_text(wanted)


def digest(files: Iterable[Path]) -> str:
    """Return what tells these contents from others."""
    return hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:16]
