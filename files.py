"""Files: regular ones read, whole ones written or none at all, and the hash that tells them apart."""
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from cli import UNUSABLE, BadInput, is_ordinary, undisturbed

PARTIAL = '.partial'    # how the names of unfinished files end
SCRATCH = '.fcn-scratch-'   # and how those of folders with unfinished ones begin
MOST_TEXT = 1 << 28     # bytes of a list, JSON file or prototxt
KINDS = {stat.S_IFDIR: 'folder', stat.S_IFIFO: 'FIFO', stat.S_IFCHR: 'device', stat.S_IFBLK: 'device',
         stat.S_IFSOCK: 'socket'}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)    # what writing fails with where there is no room


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file beside `path` that takes its name when the block ends, and is removed when the block fails.

    What a killed process leaves has a name that ends in `PARTIAL`; the next one to write `path` replaces it. One that
    is still writing `path` is waited for.

    Parameters
    ----------
    path : path
        The file to write, in a folder that exists.

    Yields
    ------
    file
        Open for writing bytes.

    Raises
    ------
    BadInput
        What is there is not a regular file.
    OSError
        The file cannot be written.
    """
    path = Path(path)
    if path.exists() and not is_ordinary(path):
        raise BadInput(f'{path}: cannot write: not a regular file; name another file')
    partial, lock = path.with_name(path.name + PARTIAL), None
    try:
        while lock is None:
            _clear(partial)
            with undisturbed():
                lock = _create_locked(partial)
        with open(os.dup(lock), 'wb') as file:
            yield file
        with undisturbed():
            os.replace(partial, path)
            os.close(lock)
            lock = None
    except OSError as problem:
        if problem.filename == str(partial) or problem.errno in FULL:
            problem.filename = str(path)
        raise
    finally:
        if lock is not None:
            with undisturbed():
                partial.unlink(missing_ok=True)
                os.close(lock)


def _create_locked(path: Path) -> int | None:
    """A descriptor of a new file that holds its lock; None where another process came first."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    with contextlib.suppress(OSError):      # where there are no locks, nobody waits either
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if _is_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _clear(path: Path) -> None:
    """Remove what was left at `path`, once no process has it locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError:     # a link, or not ours to read: nobody writes through it
        path.unlink(missing_ok=True)
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has the name `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder for what is needed for a while, removed when the block ends; and what killed processes left of theirs.

    Parameters
    ----------
    parent : Path, optional
        Where it is made; by default where the system keeps temporary files.

    Yields
    ------
    Path
        Empty, and for this process's user alone; its name begins with `SCRATCH`.

    Raises
    ------
    OSError
        It cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _sweep(parent)
    folder = lock = None
    try:
        with undisturbed():
            folder = Path(tempfile.mkdtemp(prefix='.new', dir=parent))
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):      # where there are no locks, nobody sweeps either
                fcntl.flock(lock, fcntl.LOCK_SH)    # for as long as this process lives; then it gets its name
            folder = folder.rename(parent / folder.name.replace('.new', SCRATCH, 1))
        yield folder
    except OSError as problem:
        if folder and Path(str(problem.filename)).is_relative_to(folder):   # which nobody knows
            problem.filename = str(parent / Path(problem.filename).relative_to(folder))
        raise
    finally:
        with undisturbed():
            if folder:
                shutil.rmtree(folder)
            if lock is not None:
                os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove folders of `scratch` that no process holds any more."""
    for folder in parent.glob(f'{SCRATCH}*'):
        with contextlib.suppress(OSError):      # it is another user's, is held, or somebody else removes it
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; when the block fails, those made here go again, as far as they are empty.

    Parameters
    ----------
    folder : Path
        May be there already.

    Raises
    ------
    OSError
        It cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose files move into `folder` when the block ends well: all of them or none.

    Parameters
    ----------
    folder : Path
        Made if it is missing; of files that are there, those that have the same names are replaced.

    Yields
    ------
    Path
        Within `folder`.

    Raises
    ------
    OSError
        A file or folder cannot be made.
    """
    with new_folder(folder), scratch(folder) as aside:
        yield aside
        move(aside, folder)


def move(aside: Path, folder: Path) -> None:
    """Move all files of a folder to the same places in another on the same disk, which no signal interrupts.

    Raises
    ------
    OSError
        A folder has the name of a file, or otherwise.
    """
    paths = [path for path in sorted(aside.rglob('*')) if path.is_file()]
    for goal in (folder / path.relative_to(aside) for path in paths):
        goal.parent.mkdir(parents=True, exist_ok=True)
        if goal.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(goal))
    with undisturbed():
        for path in paths:
            os.replace(path, folder / path.relative_to(aside))


@contextmanager
def in_memory(content: bytes) -> Iterator[Path]:
    """The path of a file that is in memory only, for what reads files by their names; gone with the block or process.

    Parameters
    ----------
    content : bytes
        Of the file.

    Yields
    ------
    Path
        Valid in this process.
    """
    descriptor = os.memfd_create('file')
    try:
        with open(descriptor, 'wb', closefd=False) as file:
            file.write(content)
        del content     # which may be a net's size; once is enough
        yield Path(f'/proc/self/fd/{descriptor}')
    finally:
        os.close(descriptor)


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """What the system knows of a regular file; reading others, such as a FIFO, might never end.

    Parameters
    ----------
    path : path
        The file, or a link to it.

    Raises
    ------
    BadInput
        It is not a regular file, or has a name that no file can have.
    OSError
        It is missing.
    """
    try:
        return _regular(path, os.stat(path))
    except ValueError as problem:
        raise BadInput(f'{path} cannot be read ({problem}); name another file') from None


def _regular(path: str | os.PathLike[str], status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), 'special file')
        raise BadInput(f'{path} cannot be read (it is a {kind}, not a regular file); put a file in its place, or name '
                       'another')
    return status


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file to read bytes, and wait for nobody; exceptions as of `check_regular`."""
    check_regular(path)     # before a device notices
    file = open(path, 'rb', opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    try:
        _regular(path, os.fstat(file.fileno()))     # what was opened
    except BadInput:
        file.close()
        raise
    return file


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file.

    Raises
    ------
    BadInput
        As of `check_regular`; or it is not UTF-8, or larger than `MOST_TEXT`.
    OSError
        It is missing, or cannot be read.
    """
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_TEXT:
            raise BadInput(f'{path} has {size} bytes, no text file that is read here has more than {MOST_TEXT}; '
                           'replace it')
        try:
            with io.TextIOWrapper(file, encoding='utf-8') as text:
                return text.read()
        except UnicodeDecodeError as problem:
            raise BadInput(f'{path} cannot be read ({problem}); it should be text in UTF-8') from None


def write(path: str | os.PathLike[str], content: str | Sequence[bytes | np.ndarray]) -> None:
    """Write a file, whole or not at all.

    Parameters
    ----------
    path : path
        The file, in a folder that exists.
    content : str, or sequence of bytes or array
        Text, written as UTF-8; or bytes and contiguous arrays, one after the other.

    Raises
    ------
    BadInput
        There cannot be such a file: the folder is missing, say, or may not be written to.
    OSError
        The file cannot be written otherwise, as when the disk is full.
    """
    try:
        with whole(path) as file:
            for chunk in (content.encode(),) if isinstance(content, str) else content:
                file.write(chunk.reshape(-1).view(np.uint8).data if isinstance(chunk, np.ndarray) else chunk)
    except UNUSABLE as problem:
        raise BadInput(f'{path}: cannot write: {problem.strerror}') from None


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 1) -> None:
    """Write a value as JSON, whole or not at all.

    Parameters
    ----------
    path : path
        The file, in a folder that exists.
    value
        What `json.dumps` takes.
    indent : int, optional
        Spaces; None for one line.

    Raises
    ------
    BadInput
        There cannot be such a file: the folder is missing, say, or may not be written to.
    OSError
        The file cannot be written otherwise, as when the disk is full.
    """
    write(path, json.dumps(value, indent=indent) + '\n')


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
