"""Compile accel's library against the installed Caffe, once for each version of both.

The library lies in a folder of Caffe's own build, named by a hash of these sources: it goes when that build goes.
"""
import hashlib
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parent / 'src'
PLAIN = ('common', 'layers', 'registry')  # compiled for any CPU of this kind
KERNELS = ('convolution', 'elementwise', 'table', 'winograd')  # compiled for each of these
INSTRUCTION_SETS = {
    'avx512': ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma'],
    'avx2': ['-mavx2', '-mfma'],
}
FLAGS = ['-std=c++14', '-O3', '-fPIC', '-fopenmp', '-Wall', '-Wextra', '-Wno-unused-parameter',
         '-Wno-deprecated-declarations', '-Wno-sign-compare']


def caffe_folder() -> Path:
    """The installed Caffe that `import caffe` finds."""
    spec = find_spec('caffe')
    if spec is None or spec.origin is None:
        raise FileNotFoundError('no Caffe to build against: make setup builds it first')
    return Path(spec.origin).parents[2]


def library() -> Path:
    """Where the library for this Caffe and these sources lies, or would."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b'\0' + path.read_bytes())
    return caffe_folder() / 'accel' / digest.hexdigest()[:16] / 'libaccel.so'


def compile_library(target: Path, extra: tuple[str, ...] = ()) -> None:
    """Compile and link into the file `target`, which appears whole or not at all.

    Parameters
    ----------
    target : Path
        The library to make.
    extra : tuple of str
        More options for compiler and linker, such as -fsanitize=address.
    """
    caffe = caffe_folder()
    facts = json.loads((caffe / 'build.json').read_text())
    headers = [f'-isystem{caffe / folder}' for folder in facts['include']]
    defines = [f'-D{name}' for name in facts['defines']]
    # The kernels know nothing of Caffe; what does is compiled like Caffe but for any CPU.
    jobs = [(name, name, [*headers, *defines]) for name in PLAIN]
    jobs += [(name, f'{name}_{isa}', flags) for isa, flags in INSTRUCTION_SETS.items() for name in KERNELS]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        def compile_one(job):
            name, output, flags = job
            run(['g++', *FLAGS, *extra, *flags, '-c', str(SOURCES / f'{name}.cpp'), '-o', f'{folder}/{output}.o'])

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(compile_one, jobs))
        objects = [f'{folder}/{output}.o' for _, output, _ in jobs]
        lib = caffe / facts['lib']
        run(['g++', '-shared', '-fopenmp', *extra, *objects, f'-L{lib}', '-lcaffe', '-lglog', '-lprotobuf',
             '-lboost_system', f'-Wl,-rpath,{lib}', '-Wl,-z,defs', '-o', f'{folder}/libaccel.so'])
        os.replace(f'{folder}/libaccel.so', target)


def run(command) -> None:
    """Run a compiler or linker; RuntimeError with what it printed where it fails."""
    command = [str(part) for part in command]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f'{" ".join(command)} failed:\n{result.stderr}')
