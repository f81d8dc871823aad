"""Where nets of the GPU tests are made and run, and how the results are compared with Caffe on the CPU, the oracle.

    caffe       Caffe's own layers on GPU 0
    cudnn       the same with convolutions by cuDNN
    stand-in    the same on an emulated card, with loops in cuDNN's place that are written as the definition of a
                convolution (accel/gpu/reference.cpp)
    reference   no GPU at all: accel's CPU layers, and the layers for cuDNN compiled for the host, with the same loops.
                Runs everywhere, so that all lines of these tests do, and all of accel/gpu but cudnn.cpp and cuda.cpp.
"""
import contextlib
import functools

import pytest

import accel
from accel import build, build_cudnn, cudnn, device

DEVICES = [*(pytest.param(name, marks=pytest.mark.gpu) for name in ('caffe', 'cudnn', 'stand-in')), 'reference']


def why_not(name):
    """Why nothing can run on a device here, or nothing."""
    if name in LOOPS and 'include' not in build.facts():
        return 'this Caffe came in a wheel, without headers'
    if name == 'reference':
        return '' if accel.status().startswith('accelerated') else accel.status()
    if not device.has_cuda():
        return 'needs a GPU build of Caffe: make test-gpu'
    if not device.cards():
        return 'no CUDA card answers'
    if name == 'stand-in':
        return '' if emulated() else 'needs the build of an emulated card: make test-gpu EMULATED=1'
    return '' if name == 'caffe' or cudnn.status().startswith('cuDNN') else cudnn.status()


def emulated():
    """Whether the card is emulated: third_party/caffe/emulated."""
    return hasattr(device._cuda(), '_ZN8emulated6threadE')


@functools.cache
def reference():
    """The layers for cuDNN, compiled for the host; the library is kept beside accel's."""
    path = build_cudnn.library().with_name('libaccel_reference.so')
    if not path.is_file():
        build_cudnn.compile_library(path, None, ('-Werror',))
    return cudnn.Layers(path)


@functools.cache
def stand_in():
    """The layers for cuDNN on an emulated card; the library is kept beside accel's."""
    path = build_cudnn.library().with_name('libaccel_stand_in.so')
    if not path.is_file():
        build_cudnn.compile_library(path, None, ('-Werror',), emulated=True)
    return cudnn.Layers(path)


LOOPS = {'reference': reference, 'stand-in': stand_in}


@contextlib.contextmanager
def on(name):
    """Make and run nets there inside a `with` block; 'cpu' is Caffe's own code on the CPU."""
    was_on = accel.status().startswith('accelerated')
    try:
        if name in ('cpu', 'caffe'):
            accel.disable()
        if name in ('caffe', 'cudnn', 'stand-in'):
            device.use(0)
        if name in LOOPS:
            LOOPS[name]().enable()
        yield
    finally:
        if name in LOOPS:
            LOOPS[name]().disable()
        device.use(None)
        if was_on:
            accel.enable()


def computed(name):
    """What the layers for cuDNN have computed on a device of that name, as `cudnn.Counts`."""
    return LOOPS[name]().counts() if name in LOOPS else cudnn.counts()
