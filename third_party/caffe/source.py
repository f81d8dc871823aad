"""Caffe's source: from a checkout, a source package or a clone, verified, with the substitutions applied."""
from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import Problem, debian, git, recipe

NETWORK = "look at the lines above, check the network and the mirror in apt's sources"


class Origin(NamedTuple):
    """Where a source tree may come from: its name for people, and what puts the tree into a new folder."""

    name: str
    fetch: Callable[[Path], None]


def prepare(target: Path, cache: Path, substitutions: Iterable[recipe.Substitution] = ()) -> None:
    """Put the source tree to compile into the new folder `target`.

    It comes from the checkout that CAFFE_SRC names, else from the first of `origins` that has it.

    Parameters
    ----------
    target : Path
        New folder; what is fetched lies beside it.
    cache : Path
        Folder that keeps the archive.
    substitutions : iterable of recipe.Substitution
        Edits to make after the recipe's.

    Raises
    ------
    Problem
        The source is not the recipe's or cannot be fetched, or an edit does not apply.
    """
    given = os.environ.get('CAFFE_SRC')
    if given:
        try:
            copy_checked(Path(given), target)
        except Problem as problem:
            raise Problem(f'{given}: {problem}; set CAFFE_SRC to an unchanged checkout of that commit, or unset it',
                          status=2) from None
    else:
        first(origins(cache), target.with_name('fetched'), lambda tree: copy_checked(tree, target),
              f"no place delivers Caffe's source: {NETWORK}, or set CAFFE_SRC to a checkout of Caffe at "
              f'{recipe.COMMIT}')
    for substitution in (*recipe.SUBSTITUTIONS, *substitutions):
        substitute(target, substitution)


def first(places: Iterable[Origin], folder: Path, accept: Callable[[Path], None], complaint: str) -> None:
    """Take a source tree from the first place that delivers one which is accepted; each failure is one line.

    Parameters
    ----------
    places : iterable of Origin
        Tried in turn.
    folder : Path
        For the tree; gone afterwards.
    accept : callable
        Takes the tree, or raises `Problem`.
    complaint : str
        The message when no place delivers it.

    Raises
    ------
    Problem
        No place delivers it.
    """
    for place in places:
        try:
            shutil.rmtree(folder, ignore_errors=True)
            place.fetch(folder)
            accept(folder)
            return
        except Problem as problem:
            print(f'  not from {place.name}: {problem}', file=sys.stderr, flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    raise Problem(complaint)


def origins(cache: Path) -> Iterator[Origin]:
    """Yield the places that have Caffe's source: the cache, mirrors of Debian and Ubuntu, the project's page.

    Parameters
    ----------
    cache : Path
        Existing folder that keeps the archive.

    Yields
    ------
    Origin
    """
    path = cache / recipe.ARCHIVE
    if path.exists():
        yield Origin('the cache', lambda folder: unpack(checked(path), folder))
    print("fetching Caffe's source", flush=True)
    for place in debian.places(recipe.SUITES):
        def download(folder: Path, place: debian.Place = place) -> None:
            debian.fetch_source(place, recipe.DEBIAN_PACKAGE, recipe.ARCHIVE, path)
            unpack(checked(path), folder)
        yield Origin(f'{place.uri} {place.suite}', download)
    yield Origin(recipe.REPOSITORY, lambda folder: git.checkout(recipe.REPOSITORY, recipe.REVISION, folder))


def members(tree: Path) -> list[str]:
    """Return the sorted paths, relative to `tree`, of the files that a build uses."""
    files = [tree / part for part in recipe.PARTS if (tree / part).is_file()]
    files += [path for part in recipe.PARTS for path in (tree / part).rglob('*')
              if path.suffix in recipe.SUFFIXES and path.is_file()]
    names = (path.relative_to(tree).as_posix() for path in files)
    return sorted(name for name in names if not name.startswith(recipe.GENERATED))


def digest(tree: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 of what `sha256sum` prints for the files `names` of `tree`."""
    lines = (f'{sha256(tree / name)}  {name}\n' for name in names)
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_checked(checkout: Path, target: Path) -> None:
    """Copy the members of a checkout, which stays as it is, and check the copy.

    Parameters
    ----------
    checkout : Path
    target : Path
        New folder for the copy; it is gone again when the copy is refused.

    Raises
    ------
    Problem
        It is not a checkout of Caffe at the recipe's commit.
    """
    if not (checkout / 'include/caffe/caffe.hpp').is_file():
        raise Problem(f'not Caffe at {recipe.COMMIT}: it has no include/caffe/caffe.hpp')
    for name in members(checkout):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / name, target / name)
    found = digest(target, members(target))
    if found != recipe.TREE_SHA256:
        shutil.rmtree(target)
        raise Problem(f'not Caffe at {recipe.COMMIT}: its sources hash to {found[:12]}, not '
                      f'{recipe.TREE_SHA256[:12]}')


def checked(path: Path) -> Path:
    """Return the path of Debian's source archive, which is removed when it has another hash than the recipe's.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Path

    Raises
    ------
    Problem
        It has another hash.
    """
    found = sha256(path)
    if found != recipe.ARCHIVE_SHA256:
        path.unlink()
        raise Problem(f'{recipe.ARCHIVE}: sha256 {found[:12]}... is not the expected {recipe.ARCHIVE_SHA256[:12]}...; '
                      'it was discarded')
    return path


def unpack(path: Path, target: Path) -> None:
    """Unpack a tar archive.

    Parameters
    ----------
    path : Path
        The archive.
    target : Path
        Folder to unpack into.

    Raises
    ------
    Problem
        A member is neither a regular file nor a folder, or lies outside `target`; nothing is written then.
    """
    with tarfile.open(path) as tar:
        entries = tar.getmembers()
        for entry in entries:
            inside = not os.path.isabs(entry.name) and '..' not in Path(entry.name).parts
            if not (inside and (entry.isfile() or entry.isdir())):
                raise Problem(f'{path}: refused, its member {entry.name!r} is not a regular file '
                              'inside the target folder')
        for entry in entries:
            content = tar.extractfile(entry)    # None for a folder
            if content:
                (target / entry.name).parent.mkdir(parents=True, exist_ok=True)
                with content, open(target / entry.name, 'wb') as file:
                    shutil.copyfileobj(content, file)


def substitute(tree: Path, substitution: recipe.Substitution) -> None:
    """Apply one edit to a source tree.

    Parameters
    ----------
    tree : Path
        The source tree, edited in place.
    substitution : recipe.Substitution

    Raises
    ------
    Problem
        The text to replace does not occur exactly once.
    """
    path = tree / substitution.path
    text = path.read_text(encoding='utf-8') if path.is_file() else ''
    count = text.count(substitution.old)
    if count != 1:
        raise Problem(f'{substitution.path}: {substitution.old!r} occurs {count} times instead of once; the '
                      'substitution in third_party/caffe no longer fits this source')
    path.write_text(text.replace(substitution.old, substitution.new), encoding='utf-8')
