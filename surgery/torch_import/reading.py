"""Read state dicts, without running what is in the file."""
import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import files
from cli import BadInput

from ..caffemodel import by

State = dict[str, np.ndarray]           # a parameter's name to its numbers, float32

DTYPES = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2', 'I64': '<i8', 'I32': '<i4', 'U8': '|u1',
          'BOOL': '|u1'}
LARGEST_HEADER = 100 * 2 ** 20          # bytes


def read_state(path: str | os.PathLike[str]) -> State:
    """Read a state dict from a `.safetensors` file, or from a `.pth` file through torch.

    Parameters
    ----------
    path : path
        Its suffix tells which of the two it is.

    Returns
    -------
    dict of str to ndarray
        Parameter name to its numbers, in torch's shape, float32.

    Raises
    ------
    BadInput
        See `read_safetensors` and `read_pth`.
    """
    return read_safetensors(path) if Path(path).suffix == '.safetensors' else read_pth(path)


def read_safetensors(path: str | os.PathLike[str]) -> State:
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


def read_pth(path: str | os.PathLike[str]) -> State:
    """Read a `.pth` state dict through torch, which then unpickles tensors and no other objects.

    Parameters
    ----------
    path : path
        A state dict, or a checkpoint with one under `state_dict`, `model` or `model_state_dict`.

    Returns
    -------
    dict of str to ndarray
        Parameter name to its numbers, float32.

    Raises
    ------
    BadInput
        torch is not installed, or the file holds more than weights.
    """
    try:
        import torch
    except ImportError:
        raise BadInput(f'{path}: reading .pth files takes torch, which is not installed: pip install torch, or convert '
                       'the file to .safetensors where it is') from None
    try:
        with files.open_regular(path) as file:
            state = torch.load(file, map_location='cpu', weights_only=True)
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the weights: {problem.strerror}') from None
    except BadInput:
        raise
    except Exception as problem:                    # torch raises what it likes on corrupt and on hostile files
        raise BadInput(f'{path}: holds something else than weights, which is not loaded ({type(problem).__name__}): '
                       'save the state_dict() of the model') from None
    for key in ('state_dict', 'model', 'model_state_dict'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise BadInput(f'{path}: not a state dict')
    return {str(name): tensor.detach().float().numpy() for name, tensor in state.items()}
