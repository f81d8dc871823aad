"""Caffe's source: from a checkout or Debian's archive, verified, with the substitutions applied."""
from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from . import Problem, debian, recipe


def prepare(target: Path, cache: Path, substitutions: Iterable[recipe.Substitution] = ()) -> None:
    """Put the source tree to compile into the new folder `target`.

    It comes from the checkout that CAFFE_SRC names, else from Debian's archive.

    Parameters
    ----------
    target : Path
        New folder; the archive is unpacked beside it.
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
    checkout = Path(given) if given else target.with_name('archive')
    if not given:
        unpack(archive(cache), checkout)
    copy_checked(checkout, target)
    for substitution in (*recipe.SUBSTITUTIONS, *substitutions):
        substitute(target, substitution)


def members(tree: Path) -> list[str]:
    """Return the sorted paths, relative to `tree`, of the files that a build uses."""
    files = [tree / part for part in recipe.PARTS if (tree / part).is_file()]
    files += [path for part in recipe.PARTS for path in (tree / part).rglob('*')
              if path.suffix in recipe.SUFFIXES and path.is_file()]
    names = (path.relative_to(tree).as_posix() for path in files)
    return sorted(name for name in names if not name.startswith(recipe.GENERATED))


def digest(tree: Path) -> str:
    """Return the SHA-256 of what `sha256sum` prints for the members of `tree`."""
    lines = (f'{sha256(tree / name)}  {name}\n' for name in members(tree))
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
        Folder for the copy.

    Raises
    ------
    Problem
        It is not a checkout of Caffe at the recipe's commit.
    """
    if not (checkout / 'include/caffe/caffe.hpp').is_file():
        raise Problem(f'{checkout}: not a checkout of Caffe (no include/caffe/caffe.hpp); set CAFFE_SRC to one at '
                      f'commit {recipe.COMMIT}, or unset it', status=2)
    for name in members(checkout):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / name, target / name)
    found = digest(target)
    if found != recipe.TREE_SHA256:
        raise Problem(f'{checkout}: not Caffe at {recipe.COMMIT}: its sources hash to {found[:12]}, not '
                      f'{recipe.TREE_SHA256[:12]}; set CAFFE_SRC to an unchanged checkout of that commit, or unset it',
                      status=2)


def archive(cache: Path) -> Path:
    """Return the path of Debian's source archive under `cache`, fetched if missing or corrupt.

    Parameters
    ----------
    cache : Path
        Existing folder.

    Returns
    -------
    Path

    Raises
    ------
    Problem
        It cannot be fetched, or what was fetched has another hash.
    """
    path = cache / recipe.ARCHIVE
    if not path.exists() or sha256(path) != recipe.ARCHIVE_SHA256:
        print("fetching Caffe's source", flush=True)
        debian.fetch_source(recipe.DEBIAN_PACKAGE, recipe.DEBIAN_SUITE, recipe.ARCHIVE, path)
    found = sha256(path)
    if found != recipe.ARCHIVE_SHA256:
        path.unlink()
        raise Problem(f'{recipe.ARCHIVE}: sha256 {found[:12]}... is not the expected {recipe.ARCHIVE_SHA256[:12]}...; '
                      'the download was discarded: try again, or set CAFFE_SRC to a checkout of Caffe')
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
