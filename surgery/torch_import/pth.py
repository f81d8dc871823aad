"""Read what `torch.save` has written, without torch.

Since torch 1.6 that is a zip archive, with each storage stored as it is:

    NAME/data.pkl     the pickle, in which a storage is called by its number
    NAME/data/0 ...   the storages
    NAME/byteorder    'little' or 'big'; little where it is missing

Before, it was a row of pickles, and then the storages (the "legacy" form, which torch still writes on request):

    a magic number, the form's version, facts about the machine, the value itself, the storages' keys in order;
    then for each storage how many numbers it has, in 8 bytes, and the numbers
"""
import io
import math
import os
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

import numpy as np

import files
from cli import BadInput

from ..caffemodel import by
from ..untrusted import sensible
from .pickled import BFLOAT16, Storage, Tensor, read_pickle

MAGIC, VERSION = 0x1950a86a20f9469cfc6c, 1001       # of the legacy form
MOST_PICKLE = 2 ** 28                               # bytes of data.pkl
LONGEST_LINE = 2 ** 16                              # bytes of a name in a pickle
SHARED = 2              # of each byte of a file, so many numbers may be read: tensors may share a storage
WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'weights')

Order = Literal['little', 'big']
Storages = Callable[[Storage], np.ndarray]          # gives all numbers of one


def read_pth(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the state dict in a file of `torch.save`; nothing that is in the file is called.

    Parameters
    ----------
    path : path
        A state dict, or a checkpoint with one under a key of `WRAPPERS`; of any version of torch since 0.2.

    Returns
    -------
    dict of str to ndarray
        Parameter name to its numbers, float32.

    Raises
    ------
    BadInput
        The file is missing or corrupt, or holds something else than tensors in dicts; says what.
    """
    try:
        with files.open_regular(path) as file, sensible(str(path), 'the parts of this torch file'):
            size = os.fstat(file.fileno()).st_size
            value, storages = _archive(file, size) if file.peek(4)[:4] == b'PK\3\4' else _legacy(file, size)
            return _state(value, storages, SHARED * size)
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the weights: {problem.strerror}') from None


# --------------------------------------------------------------------------------------------------- the two forms

def _archive(file: BinaryIO, size: int) -> tuple[Any, Storages]:
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    folders = [name.removesuffix('data.pkl') for name in entries if name.endswith('/data.pkl')]
    if len(folders) != 1:
        raise BadInput('a zip archive, but not one of torch.save: it has no data.pkl')
    folder, = folders

    def read(name: str, most: int) -> bytes:
        entry = entries[folder + name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
            raise ValueError(f'its {name!r} is compressed, or far too large')
        return archive.read(entry)

    order: Order = 'big' if f'{folder}byteorder' in entries and read('byteorder', 16) == b'big' else 'little'
    left = size

    def storage(wanted: Storage) -> np.ndarray:
        nonlocal left
        dtype = _dtype(wanted, order)
        left -= wanted.size * dtype.itemsize
        if left < 0:
            raise ValueError('storages that overlap')
        data = read(f'data/{wanted.key}', size)
        if len(data) != wanted.size * dtype.itemsize:
            raise ValueError(f'a storage of {len(data)} bytes for {wanted.size} numbers')
        return _array(data, dtype)

    return read_pickle(io.BytesIO(read('data.pkl', MOST_PICKLE))).value, storage


def _legacy(file: BinaryIO, size: int) -> tuple[Any, Storages]:
    stream: Any = _Stream(file, size)
    try:
        magic = read_pickle(stream).value
    except BadInput:
        raise
    except Exception:       # any file at all
        magic = None
    if type(magic) is not int or magic != MAGIC:
        raise BadInput('not a file of torch.save: neither a zip archive nor torch\'s magic number; save the '
                       'state_dict() with torch.save')
    version, machine, (value, known), keys = (read_pickle(stream) if i == 2 else read_pickle(stream).value
                                              for i in range(4))
    if version != VERSION or type(machine) is not dict or type(keys) is not list:
        raise ValueError(f'its heading is not of version {VERSION}')
    order: Order = 'little' if machine.get('little_endian', True) is True else 'big'
    starts: dict[str, int] = {}
    at = file.tell()
    for key in keys:
        storage = known[key]
        file.seek(at)
        if (count := int.from_bytes(file.read(8), order)) != storage.size:
            raise ValueError(f'a storage of {count} numbers, where there should be {storage.size}')
        starts[key] = at + 8
        at += 8 + count * _dtype(storage, order).itemsize
        if at > size:
            raise ValueError('it is cut short')

    def read(storage: Storage) -> np.ndarray:
        dtype = _dtype(storage, order)
        file.seek(starts[storage.key])
        return _array(file.read(storage.size * dtype.itemsize), dtype)

    return value, read


class _Stream:
    """A file that asks for no more memory than it has bytes; without `tell`, which would be called at every step."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        """At most so many bytes."""
        return self.file.read(min(count, self.size))

    def readline(self) -> bytes:
        """A line, or the beginning of a very long one."""
        return self.file.readline(LONGEST_LINE)


def _dtype(storage: Storage, order: Order) -> np.dtype[Any]:
    code = 'u2' if storage.dtype == BFLOAT16 else storage.dtype
    return np.dtype(code).newbyteorder(order)


def _array(data: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    return np.frombuffer(data, dtype) if data else np.zeros(0, dtype)


# ------------------------------------------------------------------------------------------------------ the tensors

def _state(value: Any, storages: Storages, most: int) -> dict[str, np.ndarray]:
    """The tensors of a state dict, which may have no more than `most` numbers together."""
    while type(value) is dict and not any(type(v) is Tensor for v in value.values()):
        inner = next((value[key] for key in WRAPPERS if type(value.get(key)) is dict), None)
        if inner is None:
            break
        value = inner
    if type(value) is not dict or not value or not all(
            type(name) is str and type(tensor) is Tensor for name, tensor in value.items()):
        raise BadInput(f'no state dict: neither all tensors by name, nor that under {", ".join(WRAPPERS)}; save the '
                       'state_dict() of the model')
    loaded: dict[str, np.ndarray] = {}
    state = {}
    for name, tensor in value.items():
        most -= math.prod(tensor.shape)
        if most < 0:
            raise ValueError('its tensors have many times more numbers than the file has bytes')
        key = tensor.storage.key
        if key not in loaded:
            loaded[key] = storages(tensor.storage)
        state[name] = _numbers(loaded[key], tensor)
    return state


def _numbers(storage: np.ndarray, tensor: Tensor) -> np.ndarray:
    """A tensor's numbers as float32, out of all those of its storage."""
    end = tensor.offset + sum((d - 1) * step for d, step in zip(tensor.shape, tensor.strides, strict=True)) + 1
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, np.float32)
    if end > tensor.storage.stop:
        raise ValueError(f'a tensor of {by(tensor.shape)} beyond the end of its storage')
    strides = [step * storage.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset:], tensor.shape, strides, writeable=False)
    if tensor.storage.dtype == BFLOAT16:            # the upper half of a float32
        return (view.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over='ignore'):                # doubles beyond float32 become infinite, as in torch
        return np.array(view, np.float32, order='C')
