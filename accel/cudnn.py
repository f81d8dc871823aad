"""Convolution and deconvolution by cuDNN, for nets on a GPU.

In GPU mode, nets made while these are enabled take their convolutions from cuDNN; the prototxts, weights and numbers
are Caffe's, and what cuDNN doesn't do is Caffe's own. `import accel` enables them where the build of Caffe has CUDA and
cuDNN was found. In the environment:

    FCN_CUDNN=0                 leaves Caffe's convolutions
    FCN_TF32=1                  lets tensor cores round factors to 10 bits: faster, errors around 1e-3
    FCN_CUDNN_WORKSPACE_MB=512  memory on the card that an algorithm may use for itself, 1024 when not set
"""
import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cli
from accel import build_cudnn

__all__ = ['Counts', 'Layers', 'counts', 'disable', 'enable', 'probe', 'status', 'use']

WORKSPACE_MB = 1024


class Counts(NamedTuple):
    """What the layers of this process have done."""

    plans: int      # searches for an algorithm, one for each pass and shape
    runs: int       # passes computed
    refused: int    # passes left to Caffe


class Layers:
    """The layers of a library, loaded beside Caffe.

    Parameters
    ----------
    path : Path
        The library that `build_cudnn.compile_library` made.

    Raises
    ------
    OSError
        It does not load.
    """

    def __init__(self, path: Path) -> None:
        import caffe  # noqa: F401 (loads libcaffe, whose registry this is)
        self.library = ctypes.CDLL(str(path))
        self.library.accel_gpu_version.restype = self.library.accel_gpu_probe.restype = ctypes.c_char_p
        self.library.accel_gpu_options.argtypes = [ctypes.c_int, ctypes.c_longlong]

    def enable(self) -> None:
        """Use these layers in nets made from now on."""
        self.library.accel_gpu_enable()

    def disable(self) -> None:
        """Use what these layers cover in nets made from now on."""
        self.library.accel_gpu_disable()

    def use(self, tf32: bool, workspace_mb: int) -> None:
        """Set what algorithms may do; those chosen so far are forgotten.

        Parameters
        ----------
        tf32 : bool
            Tensor cores may round factors to 10 bits.
        workspace_mb : int
            Megabytes on the card that an algorithm may use for itself.
        """
        self.library.accel_gpu_options(tf32, workspace_mb << 20)

    def counts(self) -> Counts:
        """What these layers have done so far."""
        numbers = [ctypes.c_longlong() for _ in Counts._fields]
        self.library.accel_gpu_counts(*map(ctypes.byref, numbers))
        return Counts(*(number.value for number in numbers))

    def version(self) -> str:
        """What computes, such as 'cuDNN 9.27.0'."""
        return str(self.library.accel_gpu_version().decode())

    def probe(self) -> str:
        """Why nothing can be computed on the device in use; empty where it can."""
        return str(self.library.accel_gpu_probe().decode())


_layers: Layers | None = None
_status = 'Caffe\'s own convolutions'


def settings(environment: Mapping[str, str] = os.environ) -> tuple[bool, int]:
    """What the environment asks of cuDNN.

    Parameters
    ----------
    environment : mapping
        The process's own by default.

    Returns
    -------
    tf32 : bool
        Tensor cores may round factors to 10 bits.
    workspace_mb : int
        Megabytes on the card that an algorithm may use for itself.

    Raises
    ------
    cli.BadInput
        A variable has another value than it may have.
    """
    text = environment.get('FCN_CUDNN_WORKSPACE_MB', str(WORKSPACE_MB))
    if not text.isascii() or not text.isdigit():
        raise cli.BadInput(f'FCN_CUDNN_WORKSPACE_MB={text}: a number of megabytes is needed, such as {WORKSPACE_MB}')
    tf32 = environment.get('FCN_TF32', '0')
    if tf32 not in ('0', '1'):
        raise cli.BadInput(f'FCN_TF32={tf32}: 0 or 1 is needed')
    return tf32 == '1', int(text)


def enable() -> bool:
    """Use cuDNN in nets made from now on.

    Returns
    -------
    bool
        Whether that is possible; `status` says why not. A variable with a wrong value is a reason, too:
        `accel.device.use` refuses it when a GPU is chosen.
    """
    global _layers, _status
    if os.environ.get('FCN_CUDNN', '1') == '0':
        _status = 'Caffe\'s own convolutions (FCN_CUDNN=0)'
        return False
    if _layers is None:
        try:
            chosen = settings()
        except cli.BadInput as problem:
            _status = f'Caffe\'s own convolutions ({problem})'
            return False
        path = build_cudnn.library()
        if not path.is_file():
            _status = 'Caffe\'s own convolutions (accel was built without cuDNN)'
            return False
        try:
            layers = Layers(path)
        except OSError as problem:
            _status = f'Caffe\'s own convolutions ({problem})'
            return False
        layers.use(*chosen)
        _layers = layers
        _describe(*chosen)
    _layers.enable()
    return True


def _describe(tf32: bool, workspace_mb: int) -> None:
    global _status
    assert _layers is not None
    _status = f'{_layers.version()}, {"TF32" if tf32 else "float32"}, workspace up to {workspace_mb} MB'


def disable() -> None:
    """Use Caffe's own convolutions in nets made from now on."""
    if _layers is not None:
        _layers.disable()


def use(tf32: bool = False, workspace_mb: int = WORKSPACE_MB) -> None:
    """Set what algorithms may do, also in nets that exist.

    Parameters
    ----------
    tf32 : bool
        Tensor cores may round factors to 10 bits.
    workspace_mb : int
        Megabytes on the card that an algorithm may use for itself.

    Raises
    ------
    RuntimeError
        cuDNN is not in use.
    """
    if _layers is None:
        raise RuntimeError(f'cuDNN is not in use: {_status}')
    _layers.use(tf32, workspace_mb)
    _describe(tf32, workspace_mb)


def status() -> str:
    """Which convolutions a net made now on a GPU would have, in one line."""
    return _status


def counts() -> Counts:
    """What has been computed so far; zeros without cuDNN."""
    return _layers.counts() if _layers else Counts(0, 0, 0)


def probe() -> str:
    """Why cuDNN can't compute on the device in use; empty where it can."""
    return _layers.probe() if _layers else _status
