"""Compile accel's library against the installed Caffe, once for each version of both.

    src/*.cpp           for any CPU: the choice of an instruction set, memory
    src/layers/*.cpp    layers and solver, against Caffe's headers, for any CPU
    src/kernels/*.cpp   once for each instruction set, without Caffe

Any CPU is any x86-64 from x86-64-v2 on (SSE4.2, of 2009 and later), and any 64-bit ARM. The library lies in a folder of
Caffe's own build, named by a hash of these sources: it goes when that build goes.
"""
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

SOURCES = Path(__file__).parent / 'src'
DESCRIPTION = 'build.json'  # what a build of Caffe says of itself
# Machine -> options for all of its CPUs; and beyond them those of each instruction set, the names as in FCN_ACCEL_ISA.
BASELINES = {'x86_64': ['-march=x86-64-v2'], 'aarch64': ['-march=armv8-a']}
INSTRUCTION_SETS: dict[str, dict[str, list[str]]] = {
    'x86_64': {'avx512': ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma'],
               'avx2': ['-mavx2', '-mfma'],
               'sse4': []},
    'aarch64': {'neon': []},
}
FLAGS = ['-std=c++14', '-O3', '-fPIC', '-fopenmp', '-Wall', '-Wextra', '-Wno-unused-parameter',
         '-Wno-deprecated-declarations', '-Wno-sign-compare']


class Unit(NamedTuple):
    """One run of the compiler: a source, the name of its object, options, and a header that many of them begin with.

    Such a header, with all of Caffe's behind it, is compiled once.
    """

    source: Path
    name: str
    flags: Sequence[str]
    header: Path | None = None


def caffe_folder() -> Path:
    """The installed Caffe that `import caffe` finds: the folder of its build, or of its package from a wheel.

    Raises
    ------
    FileNotFoundError
        No Caffe is installed.
    """
    spec = find_spec('caffe')
    if spec is None or spec.origin is None:
        raise FileNotFoundError('no Caffe to build against: make setup builds it first')
    package = Path(spec.origin).parent
    return package if (package / DESCRIPTION).is_file() else package.parents[1]


def facts() -> dict[str, Any]:
    """What the build of Caffe says of itself; `cuda` is in it when it is a GPU build."""
    return dict(json.loads((caffe_folder() / DESCRIPTION).read_text()))


def library() -> Path:
    """Where the library for this Caffe and these sources lies, or would."""
    return place('libaccel.so', [Path(__file__), *SOURCES.rglob('*')])


def place(name: str, sources: Iterable[Path]) -> Path:
    """The path of a library in a folder named by the hash of its sources, names and contents.

    Parameters
    ----------
    name : str
        Of the library.
    sources : iterable of Path
        Files of this package; folders among them are left out.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in sources if path.is_file()):
        digest.update(str(path.relative_to(Path(__file__).parent)).encode() + b'\0' + path.read_bytes())
    return caffe_folder() / 'accel' / digest.hexdigest()[:16] / name


def compile_library(target: Path, extra: tuple[str, ...] = ()) -> None:
    """Compile and link into the file `target`, which appears whole or not at all.

    Parameters
    ----------
    target : Path
        The library to make.
    extra : tuple of str
        More options for compiler and linker, such as -fsanitize=address.

    Raises
    ------
    RuntimeError
        The compiler or the linker failed, or this Caffe came without its headers.
    """
    layers = [Unit(path, f'layer_{path.stem}', caffe_headers(), SOURCES / 'layers/layers.h')
              for path in sorted(SOURCES.glob('layers/*.cpp'))]
    compile_and_link(target, [*kernels(), *layers], ['-shared', '-fopenmp', *caffe_libraries()], extra)


def kernels(machine: str = platform.machine()) -> list[Unit]:
    """What is compiled without Caffe: the kernels for each instruction set, and the choice between them.

    Parameters
    ----------
    machine : str
        x86_64 or aarch64; this one by default.
    """
    units = [Unit(path, path.stem, ()) for path in sorted(SOURCES.glob('*.cpp'))]
    return units + [Unit(path, f'{path.stem}_{isa}', flags) for isa, flags in INSTRUCTION_SETS[machine].items()
                    for path in sorted(SOURCES.glob('kernels/*.cpp'))]


def caffe_headers() -> list[str]:
    """Options with which a compiler finds Caffe's headers, and sees them as Caffe's own code did."""
    described = facts()
    if 'include' not in described:
        raise RuntimeError('this Caffe came in a wheel, without headers and with the layers of another accel/: make '
                           'the wheel again from this checkout, or build Caffe here with make setup GPU=0')
    return [*(f'-isystem{caffe_folder() / folder}' for folder in described['include']),
            *(f'-D{name}' for name in described['defines']), f'-ffile-prefix-map={caffe_folder()}=caffe']


def caffe_libraries() -> list[str]:
    """Options that link with Caffe, all symbols resolved."""
    lib = facts()['lib']
    # Found from where `place` puts a library, so that a build can be moved and two builds are equal.
    return [f'-L{caffe_folder() / lib}', '-lcaffe', '-lglog', '-lprotobuf', '-lboost_system',
            f'-Wl,-rpath,$ORIGIN/../../{lib}', '-Wl,-z,defs']


def compile_and_link(target: Path, units: Sequence[Unit], link: Sequence[str], extra: Sequence[str],
                     compiler: str = 'g++', machine: str = platform.machine()) -> None:
    """Compile the units, as many at a time as there are cores, and link them into the file `target`.

    Parameters
    ----------
    target : Path
        The library or program to make; it appears whole or not at all.
    units : sequence of Unit
        With different names.
    link : sequence of str
        Options for the linker, after the objects.
    extra : sequence of str
        Options for both.
    compiler, machine : str
        Of another kind of machine than this one, for it: 'aarch64-linux-gnu-g++', 'aarch64'.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Messages name a source without the folder that it lies in on this machine, as those of Caffe itself do.
    names = f'-ffile-prefix-map={SOURCES}=accel'
    import files  # not with the others: a wheel has this module, whose text names the library, but compiles nothing
    with files.scratch(target.parent) as folder:
        def compile_one(source: Path, output: str, flags: Iterable[str]) -> str:
            run([compiler, *FLAGS, *BASELINES[machine], names, *extra, *flags, '-c', source, '-o', output])
            return output

        def compile_unit(unit: Unit) -> str:
            if unit.header is None:
                return compile_one(unit.source, f'{folder}/{unit.name}.o', unit.flags)
            return compile_one(unit.source, f'{folder}/{unit.name}.o',
                               ['-include', headers[unit.header].result(), *unit.flags])

        def compile_header(header: Path, flags: Sequence[str]) -> str:
            # What is included, as text; the compiler takes NAME.gch beside it, unless that doesn't suit it.
            name = Path(folder, header.name)
            name.write_text(f'#include "{header}"\n')
            compile_one(header, f'{name}.gch', ['-x', 'c++-header', *flags])
            return str(name)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            headers = {header: pool.submit(compile_header, header, flags)
                       for header, flags in {unit.header: unit.flags for unit in units if unit.header}.items()}
            # Those that wait for a header last.
            objects = list(pool.map(compile_unit, sorted(units, key=lambda unit: unit.header is not None)))
        run([compiler, *extra, *objects, *link, '-o', f'{folder}/{target.name}'])
        os.replace(f'{folder}/{target.name}', target)


def run(command: Iterable[str | Path]) -> None:
    """Run a compiler or linker.

    Raises
    ------
    RuntimeError
        It failed; with what it printed.
    """
    words = [str(part) for part in command]
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f'{" ".join(words)} failed:\n{result.stderr}')
