"""`.safetensors` files: the length of a header in 8 bytes, the header as JSON, and the tensors' bytes."""
import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

import files
from cli import BadInput

from .caffemodel import by

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4', 'U8': '|u1',
          'BOOL': '|u1'}
LARGEST_HEADER = 100 * 2 ** 20          # bytes
ALIGNED = 8                             # bytes of which the header has a multiple, as its readers like it


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file: a length, a JSON header, and the tensors' bytes.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict of str to ndarray
        Parameter name to its numbers, float32.

    Raises
    ------
    BadInput
        The file is missing, truncated, or says what cannot be.
    """
    try:
        with files.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), 'little')
            if not 2 <= length <= min(size - 8, LARGEST_HEADER):
                raise ValueError('its header is cut short')
            header = json.loads(file.read(length))
            entries = {name: facts for name, facts in header.items() if name != '__metadata__'}
            _refuse_overlaps([facts['data_offsets'] for facts in entries.values()])
            return {name: _tensor(file, facts, 8 + length, size) for name, facts in entries.items()}
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the weights: {problem.strerror}') from None
    except BadInput:
        raise
    except Exception as problem:            # a header may say anything
        raise BadInput(f'{path}: not a safetensors file, or a corrupt one ({str(problem)[:200]}); fetch it '
                       'again') from None


def _refuse_overlaps(offsets: list[list[int]]) -> None:
    """Raise ValueError where two tensors share bytes: a small file could hold any number of large ones."""
    spans = sorted((begin, end) for begin, end in offsets if begin != end)
    if any(end > begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False)):
        raise ValueError('tensors that overlap')


def _tensor(file: BinaryIO, facts: dict[str, Any], start: int, size: int) -> np.ndarray:
    """One tensor; `start` is the byte where all tensors start, `size` the file's."""
    dtype, shape = np.dtype(DTYPES[facts['dtype']]), list(facts['shape'])
    begin, end = facts['data_offsets']
    if not all(isinstance(number, int) for number in (*shape, begin, end)):
        raise ValueError('sizes that are not whole numbers')
    if min(shape, default=0) < 0 or not 0 <= begin <= end <= size - start or \
            end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f'a tensor of {by(shape)} in {end - begin} bytes')
    file.seek(start + begin)
    data = np.frombuffer(file.read(end - begin), dtype).reshape(shape)
    if facts['dtype'] == 'BF16':                    # the upper half of a float32
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data.astype(np.float32)


def write_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors as a `.safetensors` file, whole or not at all.

    Parameters
    ----------
    path : path
        Where to write.
    tensors : mapping of str to ndarray
        Name to numbers of any shape: whole numbers are written as 64 bits, all others as float32.

    Raises
    ------
    BadInput
        The folder cannot be written.
    """
    arrays = {name: np.asarray(array, '<i8' if np.asarray(array).dtype.kind in 'iu' else '<f4', order='C')
              for name, array in tensors.items()}
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    end = 0
    for name, array in arrays.items():
        header[name] = {'dtype': 'I64' if array.dtype.kind == 'i' else 'F32', 'shape': list(array.shape),
                        'data_offsets': [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % ALIGNED)
    files.write(path, [len(text).to_bytes(8, 'little'), text, *arrays.values()])
