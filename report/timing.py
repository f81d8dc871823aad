"""What every timing of a net needs: weights of a trained net's scale, and the name of the processor.

Imports little, since the benchmark counts the memory of the processes that import it.
"""
import platform
from pathlib import Path
from typing import Any

import numpy as np

CPUINFO = Path('/proc/cpuinfo')


def processor() -> str:
    """The model of the CPU as Linux names it, else its architecture."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')),
                platform.machine())


def randomise(net: Any, rng: np.random.Generator) -> None:
    """Fill a net with random weights that keep the scale of the activations (He et al., ICCV 2015).

    A net of zeros might be faster than a trained one. Deconvolutions get bilinear kernels, biases stay.

    Parameters
    ----------
    net : caffe.Net
        Written in place.
    rng : numpy.random.Generator
        Where the weights come from.
    """
    from surgery import fill_bilinear
    filled = fill_bilinear(net)
    for name, blobs in net.params.items():
        if name not in filled:
            for weights in blobs[0].data:   # one output at a time: no large temporary counts as memory used
                weights[...] = rng.standard_normal(weights.shape, dtype=np.float32) * (2 / weights.size) ** 0.5
