"""Boost.Python for an interpreter that the distribution has none for.

The headers are the system's, all of one version; the library is compiled from that version's own source package, in
about a minute, and kept in the cache of builds. Caffe's build takes a copy of it beside libcaffe.so.
"""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from . import Problem, build, debian, git, source
from .cuda import SYSTEM, system_library
from .recipe import Substitution

REPOSITORY = 'https://github.com/boostorg/python'   # has the sources alone, where no mirror has the package
FLAGS = ('-O2', '-fPIC', '-DNDEBUG', '-w')
# Python 3.13 dropped what Boost 1.74's headers call, with a tuple of arguments each; the same call by its other name.
RENAMED = ('PyEval_CallFunction=PyObject_CallFunction', 'PyEval_CallMethod=PyObject_CallMethod')


def _set(file: str, field: str, thing: str, value: str) -> Substitution:
    """The edit of an assignment to a field of a Python object."""
    name = {'TYPE': 'ob_type', 'SIZE': 'ob_size'}[field]
    cast = 'PyObject*' if field == 'TYPE' else 'PyVarObject*'
    return Substitution(file, f'Py_{field}({thing}) ={value}',
                        f'reinterpret_cast<{cast}>({thing})->{name} ={value}', f'Python 3.11 assigns no Py_{field}')


class Release(NamedTuple):
    """A version of Boost: suites with its source package, hash of its sources as of Caffe's, edits, definitions."""

    suites: dict[str, str]
    sha256: str
    edits: tuple[Substitution, ...] = ()
    renamed: tuple[str, ...] = ()       # from Python 3.13 on


RELEASES = {
    '1.74': Release({'debian': 'bookworm', 'ubuntu': 'jammy'},
                    '54b0ddec0dfb8e8e21141a827f12c60d6ff314cb43420f40b47347a14d4e751e', (
        Substitution('src/exec.cpp', '_Py_fopen(f, "r")', 'fopen(f, "r")', 'Python 3.10 dropped it'),
        _set('src/object/class.cpp', 'TYPE', '&static_data_object', ' &PyType_Type'),
        _set('src/object/class.cpp', 'TYPE', '&class_metatype_object', ' &PyType_Type'),
        _set('src/object/class.cpp', 'TYPE', '&class_type_object', ' incref(class_metatype().get())'),
        _set('src/object/class.cpp', 'SIZE', 'result', ''),
        _set('src/object/class.cpp', 'SIZE', 'self', ' holder_offset'),
        _set('src/object/enum.cpp', 'TYPE', '&enum_type_object', ' incref(&PyType_Type)'),
        _set('src/object/function.cpp', 'TYPE', '&function_type', ' &PyType_Type'),
        _set('src/object/life_support.cpp', 'TYPE', '&life_support_type', ' &PyType_Type'),
        Substitution('src/object/enum.cpp', '| Py_TPFLAGS_HAVE_GC', '', 'Python 3.11 refuses it of a type that '
                     'tells the collector nothing'),
    ), RENAMED),
    '1.83': Release({'debian': 'trixie', 'ubuntu': 'noble'},
                    'd24624b3b23ac81b6c012bf413ca0e6c319ec7e765c6cb1f409eea969556fe9c'),
}
# Caffe looks for a library that CMake knows; it takes the one that it is given. From the folder of the build, so that
# no library has a path of this machine in it.
GIVEN = Substitution('cmake/Dependencies.cmake', '''    if(NOT Boost_PYTHON_FOUND)
      find_package(Boost 1.46 COMPONENTS python)
    endif()
''', '''    set(Boost_PYTHON_FOUND TRUE)
    file(COPY ${FCN_BOOST_PYTHON} DESTINATION ${PROJECT_BINARY_DIR})
    get_filename_component(Boost_LIBRARIES ${FCN_BOOST_PYTHON} NAME)
    set(Boost_LIBRARIES ${PROJECT_BINARY_DIR}/${Boost_LIBRARIES})
    install(FILES ${Boost_LIBRARIES} DESTINATION ${CMAKE_INSTALL_LIBDIR})
    add_definitions(${FCN_BOOST_DEFINITIONS})
''', 'Boost.Python of the recipe, kept beside libcaffe.so')


class Plan(NamedTuple):
    """What the library depends on: Boost's version, the interpreter and the compiler."""

    version: str
    python: str     # such as '3.12'
    abi: str
    compiler: str

    @property
    def library(self) -> str:
        """The name of the file, which is its soname, as Debian forms it."""
        return f'libboost_python{self.python.replace(".", "")}.so.{self.version}.0'

    @property
    def defines(self) -> tuple[str, ...]:
        """Definitions of the preprocessor for what includes Boost.Python's headers."""
        return RELEASES[self.version].renamed if tuple(map(int, self.python.split('.'))) >= (3, 13) else ()

    def facts(self) -> dict[str, Any]:
        """Return what goes into the key of the library, and of Caffe's build."""
        return {'recipe': hashlib.sha256(Path(__file__).read_bytes()).hexdigest(), **self._asdict()}


def plan() -> Plan | None:
    """Return the `Plan` for this interpreter, or None where the system has Boost.Python for it.

    Raises
    ------
    Problem
        The recipe does not know the system's Boost.
    """
    python = f'{sys.version_info[0]}.{sys.version_info[1]}'
    if system_library(f'boost_python{python.replace(".", "")}'):
        return None
    version = system_version()
    if version not in RELEASES:
        raise Problem(f'no Boost.Python for Python {python} ({sys.executable}) is installed; the recipe compiles it '
                      f"from Boost {' or '.join(RELEASES)}, not {version or 'an unknown one'}: "
                      'make setup PYTHON=/usr/bin/python3', status=2)
    compiler = subprocess.run(['g++', '--version'], capture_output=True, text=True).stdout.partition('\n')[0]
    return Plan(version, python, str(sysconfig.get_config_var('SOABI')), compiler)


def system_version() -> str | None:
    """Return the version of the system's Boost headers, such as '1.74', or None without any."""
    header = SYSTEM / 'boost/version.hpp'
    found = re.search(r'^#define BOOST_LIB_VERSION "(\d+)_(\d+)"', header.read_text() if header.is_file() else '',
                      re.MULTILINE)
    return f'{found[1]}.{found[2]}' if found else None


def variant(base: build.Variant, plan: Plan, cache: Path) -> build.Variant:
    """Return a variant of Caffe's build with this Boost.Python, which is compiled unless the cache has it.

    Parameters
    ----------
    base : build.Variant
        Of the CPU or a GPU.
    plan : Plan
    cache : Path
        Existing folder of builds, locked by this process.

    Returns
    -------
    build.Variant

    Raises
    ------
    Problem
        The sources cannot be fetched or do not compile.
    """
    options = {'FCN_BOOST_PYTHON': library(plan, cache),
               'FCN_BOOST_DEFINITIONS': ';'.join(f'-D{name}' for name in plan.defines)}
    return base._replace(substitutions=(*base.substitutions, GIVEN), options={**base.options, **options})


def library(plan: Plan, cache: Path) -> Path:
    """Return the path of the library, compiled into a folder under `cache` unless it is there.

    Parameters
    ----------
    plan : Plan
    cache : Path
        Existing folder of builds, locked by this process.

    Returns
    -------
    Path

    Raises
    ------
    Problem
        The sources cannot be fetched or do not compile; the log stays in `cache`.
    """
    name = f'boost-{build.key(plan.facts())}'
    folder, work, log = cache / name, cache / f'{name}.tmp', cache / f'{name}.log'
    if not folder.is_dir():
        shutil.rmtree(work, ignore_errors=True)
        try:
            print(f'fetching the source of Boost.Python {plan.version}', flush=True)
            prepare(plan, work)
            print(f'compiling Boost.Python {plan.version} for Python {plan.python}', flush=True)
            _compile(plan, work, log)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder / plan.library


def prepare(plan: Plan, work: Path) -> None:
    """Put the sources to compile into the folder `work`/src, checked and edited.

    Parameters
    ----------
    plan : Plan
    work : Path
        New folder.

    Raises
    ------
    Problem
        No place delivers them, or an edit does not apply.
    """
    release = RELEASES[plan.version]

    def accept(tree: Path) -> None:
        names = members(tree)
        found = source.digest(tree, names)
        if found != release.sha256:
            raise Problem(f'not the sources of Boost.Python {plan.version}: they hash to {found[:12]}, not '
                          f'{release.sha256[:12]}')
        for name in names:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / name, work / name)

    work.mkdir()
    source.first(origins(plan.version, work), work / 'fetched', accept,
                 f'no place delivers the source of Boost.Python {plan.version}: {source.NETWORK}, or take the '
                 "distribution's own Python: make setup PYTHON=/usr/bin/python3")
    for edit in release.edits:
        source.substitute(work, edit)


def members(tree: Path) -> list[str]:
    """Return the sorted paths, relative to `tree`, of the files to compile: all but the library for numpy."""
    names = (path.relative_to(tree).as_posix() for path in (tree / 'src').rglob('*.cpp') if path.is_file())
    return sorted(name for name in names if not name.startswith('src/numpy/'))


def origins(version: str, work: Path) -> Iterator[source.Origin]:
    """Yield the places that have the sources: mirrors of Debian and Ubuntu, the project's page.

    Parameters
    ----------
    version : str
        Of Boost.
    work : Path
        Existing folder for the archive.

    Yields
    ------
    source.Origin
    """
    for place in debian.places(RELEASES[version].suites):
        def download(folder: Path, place: debian.Place = place) -> None:
            archive = work / 'archive'
            debian.fetch_source(place, f'boost{version}', f'boost{version}_*.orig.tar.*', archive)
            try:
                unpack(archive, folder)
            finally:
                archive.unlink()
        yield source.Origin(f'{place.uri} {place.suite}', download)
    yield source.Origin(REPOSITORY, lambda folder: git.checkout(REPOSITORY, f'refs/tags/boost-{version}.0', folder))


def unpack(archive: Path, target: Path) -> None:
    """Unpack the sources of Boost.Python from the archive of all of Boost, into `target`/src.

    Parameters
    ----------
    archive : Path
    target : Path
        New folder.

    Raises
    ------
    Problem
        It is not an archive, or this interpreter cannot read its compression.
    """
    try:
        with tarfile.open(archive, 'r|*') as tar:
            for entry in tar:
                found = re.fullmatch(r'(?:\./)?[^/]+/libs/python/(src/(?:\w+/)?\w+\.cpp)', entry.name)
                content = tar.extractfile(entry) if found and entry.isfile() else None
                if found and content:
                    (target / found[1]).parent.mkdir(parents=True, exist_ok=True)
                    (target / found[1]).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as problem:
        raise Problem(f'the archive cannot be read ({problem})') from None


def _compile(plan: Plan, work: Path, log: Path) -> None:
    """Compile and link `work`/src into the library in `work`, and leave nothing else there.

    Python's symbols stay undefined: the interpreter that loads it has them.
    """
    options = [*FLAGS, *(f'-D{name}' for name in plan.defines), f'-I{build.python_headers()}']
    names = members(work)
    jobs = build.parallel_jobs(build.available_memory(), len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(jobs) as pool:
        printed = list(pool.map(lambda name: _output(
            ['g++', *options, '-c', str(work / name), '-o', str(work / f'{name}.o')]), names))
    link = ['g++', '-shared', f'-Wl,-soname,{plan.library}', *(str(work / f'{name}.o') for name in names),
            '-o', str(work / plan.library)]
    printed += [_output(link)] if not any(printed) else []
    log.write_text(''.join(printed))
    if any(printed):
        print(''.join(printed), end='', file=sys.stderr)
        raise Problem(f'compiling Boost.Python {plan.version} for Python {plan.python} failed (whole log: {log}); take '
                      'another interpreter: make setup PYTHON=/path/to/python3')
    shutil.rmtree(work / 'src')


def _output(command: list[str]) -> str:
    """Return what a compiler that failed says, and nothing of one that did not."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors='replace')
    return f'$ {" ".join(command)}\n{result.stdout}\nstatus {result.returncode}\n' if result.returncode else ''
