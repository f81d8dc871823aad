"""Caffe's source: from a checkout or Debian's archive, verified, with the substitutions applied."""
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

from . import Problem, debian, recipe


def prepare(target, cache, substitutions=()):
    """Put the source tree to compile into the new folder `target`, edited by the recipe's and further `substitutions`.

    It comes from the checkout that CAFFE_SRC names, else from Debian's archive, which `cache` keeps and which is
    unpacked beside `target`.
    """
    checkout = os.environ.get('CAFFE_SRC')
    if not checkout:
        checkout = target.with_name('archive')
        unpack(archive(cache), checkout)
    copy_checked(Path(checkout), target)
    for substitution in (*recipe.SUBSTITUTIONS, *substitutions):
        substitute(target, substitution)


def members(tree):
    """Return the paths of the files of `tree` that a build uses, relative to it, sorted."""
    paths = [path for part in recipe.PARTS for path in
             ([tree / part] if (tree / part).is_file() else (tree / part).rglob('*'))]
    names = [path.relative_to(tree).as_posix() for path in paths if path.suffix in recipe.SUFFIXES and path.is_file()]
    return sorted(name for name in names if not name.startswith(recipe.GENERATED))


def digest(tree):
    """Return the SHA-256 of what `sha256sum` prints for the members of `tree`."""
    lines = (f'{sha256(tree / name)}  {name}\n' for name in members(tree))
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def sha256(path):
    """Return the SHA-256 of the file at `path`, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_checked(checkout, target):
    """Copy the members of `checkout` into the folder `target` and check them; the checkout is left as it is."""
    if not (checkout / 'include/caffe/caffe.hpp').is_file():
        raise Problem(f'{checkout}: no checkout of Caffe (no include/caffe/caffe.hpp); set CAFFE_SRC to one at commit '
                      f'{recipe.COMMIT}, or unset it', status=2)
    for name in members(checkout):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / name, target / name)
    found = digest(target)
    if found != recipe.TREE_SHA256:
        raise Problem(f'{checkout}: not Caffe at {recipe.COMMIT}: its sources hash to {found[:12]}, not '
                      f'{recipe.TREE_SHA256[:12]}; set CAFFE_SRC to an unchanged checkout of that commit, or unset it',
                      status=2)


def archive(cache):
    """Return the path of Debian's source archive under `cache`, fetched if need be, its hash checked."""
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


def unpack(path, target):
    """Unpack the tar archive at `path` into the folder `target`.

    Only plain files and folders inside `target` are written: anything else is refused before the first is.
    """
    with tarfile.open(path) as tar:
        entries = tar.getmembers()
        for entry in entries:
            inside = not os.path.isabs(entry.name) and '..' not in Path(entry.name).parts
            if not (inside and (entry.isfile() or entry.isdir())):
                raise Problem(f'{path}: refused, its member {entry.name!r} is no plain file inside the target folder')
        for entry in entries:
            if entry.isfile():
                (target / entry.name).parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(entry) as content, open(target / entry.name, 'wb') as file:
                    shutil.copyfileobj(content, file)


def substitute(tree, substitution):
    """Apply one `recipe.Substitution` to the file it names in `tree`; it must apply exactly once."""
    path = tree / substitution.path
    text = path.read_text(encoding='utf-8') if path.is_file() else ''
    count = text.count(substitution.old)
    if count != 1:
        raise Problem(f'{substitution.path}: {substitution.old!r} occurs {count} times instead of once; the '
                      'substitution in third_party/caffe no longer fits this source')
    path.write_text(text.replace(substitution.old, substitution.new), encoding='utf-8')
