"""Photographs as a net's input."""
import os
from collections.abc import Sequence

import numpy as np

import files
from cli import BadInput
from data_layers.reading import FORMATS, upright


def load(path: str | os.PathLike[str], channels: int, mean: Sequence[float] = (), scale: float = 1.0) -> np.ndarray:
    """Read a picture as a Caffe net takes it.

    Parameters
    ----------
    path : path
        Of one of `FORMATS`.
    channels : int
        3 for blue, green, red; 1 for grey.
    mean : sequence of float
        To subtract, one number or one per channel, on a scale of 0 to 255.
    scale : float
        To multiply with, after that.

    Returns
    -------
    ndarray of float32, channels x height x width
        (pixels - mean) * scale, of pixels from 0 to 255.

    Raises
    ------
    BadInput
        The file is not a picture, or a net takes neither 1 nor 3 channels.
    """
    from PIL import Image
    if channels not in (1, 3):
        raise BadInput(f'{path}: the net takes {channels} channels, a picture has 1 or 3')
    if len(mean) not in (0, 1, channels):
        raise BadInput(f'a mean of {len(mean)} numbers for {channels} channels')
    try:
        with files.open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
            image.load()
            pixels = np.asarray(upright(image).convert('RGB' if channels == 3 else 'L'), np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise BadInput(f'{path}: cannot read the picture: {problem}') from None
    planes = pixels[:, :, ::-1].transpose(2, 0, 1) if channels == 3 else pixels[None]
    return np.ascontiguousarray((planes - np.reshape(mean or (0.0,), (-1, 1, 1))) * scale, np.float32)
