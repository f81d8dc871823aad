"""Photographs as a net's input."""
import os
from collections.abc import Sequence

import numpy as np

from cli import BadInput


def load(path: str | os.PathLike, channels: int, mean: Sequence[float] = (), scale: float = 1.0) -> np.ndarray:
    """Read a picture as a Caffe net takes it.

    Parameters
    ----------
    path : path
        Any format that Pillow reads.
    channels : int
        3 for blue, green, red; 1 for grey.
    mean : sequence of float
        To subtract, one number or one a channel.
    scale : float
        To multiply with, after that.

    Returns
    -------
    ndarray, channels x height x width, float32
    """
    from PIL import Image
    if channels not in (1, 3):
        raise BadInput(f'{path}: the net takes {channels} channels, which no picture has')
    if len(mean) not in (0, 1, channels):
        raise BadInput(f'a mean of {len(mean)} numbers for {channels} channels')
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert('RGB' if channels == 3 else 'L'), np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise BadInput(f'{path}: cannot read the picture: {problem}') from None
    planes = pixels[:, :, ::-1].transpose(2, 0, 1) if channels == 3 else pixels[None]
    return np.ascontiguousarray((planes - np.reshape(mean or (0.0,), (-1, 1, 1))) * scale, np.float32)
