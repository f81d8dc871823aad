"""Files that are written whole or not at all, and the hash that tells them apart."""
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from cli import BadInput, is_ordinary

PARTIAL = '.partial'    # how the names of unfinished files end


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file beside `path` that takes its name when the block ends, and is removed when the block fails.

    What a killed process leaves has a name that ends in `PARTIAL`; the next one to write `path` replaces it.

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
    OSError
        The file cannot be written.
    """
    path = Path(path)
    if path.exists() and not is_ordinary(path):
        raise BadInput(f'{path}: cannot write: not a regular file; name another file')
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open('wb') as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
        The file cannot be written.
    """
    try:
        with whole(path) as file:
            for chunk in (content.encode(),) if isinstance(content, str) else content:
                file.write(chunk.reshape(-1).view(np.uint8).data if isinstance(chunk, np.ndarray) else chunk)
    except OSError as problem:
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
        The file cannot be written.
    """
    write(path, json.dumps(value, indent=indent) + '\n')


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
