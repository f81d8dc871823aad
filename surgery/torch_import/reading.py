"""Read state dicts, without running what is in the file."""
import os
from pathlib import Path

import numpy as np

from ..safetensors import read_safetensors
from .pth import read_pth

State = dict[str, np.ndarray]           # a parameter's name to its numbers, float32


def read_state(path: str | os.PathLike[str]) -> State:
    """Read a state dict from a `.safetensors` file, or from one that `torch.save` has written.

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
    return read_safetensors(path) if Path(path).suffix.lower() == '.safetensors' else read_pth(path)
