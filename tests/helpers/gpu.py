"""Where nets of the GPU tests are made and run, and how the results are compared with Caffe on the CPU, the oracle.

    caffe       Caffe's own layers on GPU 0
    cudnn       the same with convolutions by cuDNN
    reference   no GPU at all: accel's CPU layers, and the layers for cuDNN compiled for the host, with loops written as
                the definition of a convolution in cuDNN's place (accel/gpu/reference.cpp). Runs everywhere, so that all
                lines of these tests do, and all of accel/gpu but cudnn.cpp.
"""
import contextlib
import functools

import pytest

import accel
from accel import build_cudnn, cudnn, device

DEVICES = [pytest.param('caffe', marks=pytest.mark.gpu), pytest.param('cudnn', marks=pytest.mark.gpu), 'reference']


def why_not(name):
    """Why nothing can run on a device here, or nothing."""
    if name == 'reference':
        return '' if accel.status().startswith('accelerated') else accel.status()
    if not device.has_cuda():
        return 'needs a GPU build of Caffe: make test-gpu'
    if not device.cards():
        return 'no CUDA card answers'
    return '' if name == 'caffe' or cudnn.status().startswith('cuDNN') else cudnn.status()


@functools.cache
def reference():
    """The layers for cuDNN, compiled for the host; the library is kept beside accel's."""
    path = build_cudnn.library().with_name('libaccel_reference.so')
    if not path.is_file():
        build_cudnn.compile_library(path, None, ('-Werror',))
    return cudnn.Layers(path)


@contextlib.contextmanager
def on(name):
    """Make and run nets there inside a `with` block; 'cpu' is Caffe's own code on the CPU."""
    import caffe
    was_on = accel.status().startswith('accelerated')
    try:
        if name in ('cpu', 'caffe'):
            accel.disable()
        if name in ('caffe', 'cudnn'):
            caffe.set_device(0)
            caffe.set_mode_gpu()
        if name == 'reference':
            reference().enable()
        yield
    finally:
        if name == 'reference':
            reference().disable()
        caffe.set_mode_cpu()
        if was_on:
            accel.enable()


def computed(name):
    """What the layers for cuDNN have computed on a device of that name, as `cudnn.Counts`."""
    return reference().counts() if name == 'reference' else cudnn.counts()
