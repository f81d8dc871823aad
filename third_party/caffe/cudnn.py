"""The cuDNN that accel compiles its layers for the GPU against: fetched into the cache beside the other CUDA libraries.

Caffe's own build does not depend on it, nor on this file.
"""
from __future__ import annotations

import os
from pathlib import Path

from . import cuda


def requirement(plan: cuda.Plan, cache: Path, venv: Path) -> str | None:
    """Return the requirement that brings cuDNN, if it is to be fetched.

    Parameters
    ----------
    plan : cuda.Plan
        Of the GPU build.
    cache : Path
        The folder that keeps builds.
    venv : Path
        The virtual environment whose packages accel sees.

    Returns
    -------
    str or None
        Such as 'nvidia-cudnn-cu12==9.1'. None with FCN_CUDNN=0 and with CUDNN_HOME; where the cache, .venv or the
        system has cuDNN; and without a pin for the toolkit's version.
    """
    if os.environ.get('FCN_CUDNN', '1') == '0' or os.environ.get('CUDNN_HOME'):
        return None
    package = f'nvidia-cudnn-cu{plan.toolkit.version[0]}'
    fetched = (path.parent for path in cache.glob(f'cuda-*/{package.replace("-", "_")}-*')
               if path.parent.suffix != '.tmp')     # as an interrupted installation leaves it
    places = [*fetched, *venv.glob('lib/python*/site-packages')]
    if any(_complete(folder / 'nvidia/cudnn') for folder in places) or _in_system():
        return None
    version = cuda.pinned(cuda.PINS.read_text()).get(package)
    return f'{package}=={version}' if version else None


def _complete(folder: Path) -> bool:
    """Return whether a folder has cuDNN's header and library."""
    return (folder / 'include/cudnn.h').is_file() and any(folder.glob('lib*/libcudnn.so*'))


def _in_system() -> bool:
    """Return whether a compiler finds header and library without options."""
    return (cuda.SYSTEM / 'cudnn.h').is_file() and cuda.system_library('cudnn') is not None
