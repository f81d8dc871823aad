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
from pathlib import Path

from .. import Problem, build

HERE = Path(__file__).parent
LIBRARIES = {   # name -> its source, and what it is linked with
    'cudart': ('card.cpp',), 'cublas': ('cublas.cpp', '-lcudart', '-lopenblas'), 'curand': ('curand.cpp', '-lcudart'),
    'nccl': ('nccl.cpp', '-lcudart')}
FLAGS = ('-std=c++17', '-O2', '-g1', '-fPIC', '-shared', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror')


def toolkit(cache: Path | None = None) -> Path:
    """Return the folder of the toolkit, which is made when it is missing.

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
    files = sorted(path for path in HERE.rglob('*') if path.is_file() and '__pycache__' not in path.parts)
    digest = hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:16]
    folder, partial = cache / f'emulated-{digest}', cache / f'emulated-{digest}.tmp'
    if folder.is_dir():
        return folder
    shutil.rmtree(partial, ignore_errors=True)
    for name in ('bin', 'lib64'):
        (partial / name).mkdir(parents=True)
    shutil.copy(HERE / 'nvcc.py', partial / 'bin/nvcc')
    (partial / 'bin/nvcc').chmod(0o755)
    shutil.copytree(HERE / 'include', partial / 'include')
    for name, (source, *needed) in LIBRARIES.items():
        run = ['g++', *FLAGS, f'-I{HERE / "include"}', str(HERE / source), '-o',
               str(partial / f'lib64/lib{name}.so'), f'-Wl,-soname,lib{name}.so', f'-L{partial / "lib64"}', *needed,
               '-Wl,-rpath,$ORIGIN']
        result = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            raise Problem(f'the emulated card does not compile ({source}): {result.stdout}')
    partial.rename(folder)
    return folder
