"""The layers for cuDNN on the host's reference: what they ask for, what they keep, what they leave to Caffe.

`tests/test_gpu.py` compares the numbers, here and on cards.
"""
import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
import cli  # noqa: E402
from accel import build_cudnn, cudnn  # noqa: E402
from tests.helpers.gpu import on, reference, why_not  # noqa: E402
from tests.helpers.single_layers import CASES, make, pass_through, same  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.skipif(bool(why_not('reference')), reason=why_not('reference'))]
CONVOLUTIONS = [name for name, (layer, _) in CASES.items() if 'onvolution' in layer]
FORWARD, TO_IMAGE, TO_WEIGHTS = 1, 2, 4
PLENTY = 1 << 40


@pytest.fixture
def layers():
    """The reference's library, afterwards as it was."""
    found = reference()
    found.use(False, 1024)
    yield found
    options(found)
    found.use(False, 1024)


def options(layers, refuse=0, fail=0, memory=PLENTY, workspace=0):
    """Set which passes the reference refuses or fails, how much memory there is, and how much its plans ask for."""
    layers.library.accel_reference_options(refuse, fail, ctypes.c_longlong(memory), ctypes.c_longlong(workspace))


def change(layers, before):
    """What was counted since."""
    return cudnn.Counts(*(now - then for now, then in zip(layers.counts(), before, strict=True)))


def compare(name):
    """A convolution of `CASES` in accel's layers and in Caffe's own."""
    with on('reference'):
        ours = pass_through(make(*CASES[name]))
    with on('cpu'):
        same(ours, pass_through(make(*CASES[name])))


@pytest.mark.parametrize('name', CONVOLUTIONS)
@pytest.mark.parametrize('refuse', [0, FORWARD, TO_IMAGE, TO_WEIGHTS, 7])
def test_each_pass_or_caffes(layers, name, refuse):
    """Whatever is refused, the numbers are Caffe's, and just what was refused is left to it."""
    options(layers, refuse=refuse)
    before = layers.counts()
    compare(name)
    done = change(layers, before)
    asked = 0 if name == 'volume' else 3 * len(CASES[name][1])    # Caffe's own altogether over other than two axes
    left = asked // 3 * refuse.bit_count()
    assert (done.runs, done.refused) == (asked - left, left)


@pytest.mark.parametrize('name', ['alexnet conv2', 'deconvolution groups', 'two bottoms'])
def test_failures_are_caffes(layers, name):
    """A plan that fails when executed is not tried again."""
    options(layers, fail=TO_WEIGHTS)
    before = layers.counts()
    compare(name)
    options(layers)
    compare(name)
    done = change(layers, before)
    assert done.plans == 3 and done.refused == 2 * len(CASES[name][1])


def test_one_search_for_a_shape(layers):
    """Images of two sizes in turn: three searches for each, however often they come."""
    layer, shapes = CASES['winograd odd']
    with on('reference'):
        net, before = make(layer, shapes), layers.counts()
        for _ in range(4):
            for size in ((31, 18), (12, 45)):
                net.blobs['x0'].reshape(1, shapes[0][1], *size)
                pass_through(net)
    done = change(layers, before)
    assert (done.plans, done.runs, done.refused) == (6, 24, 0)


def test_all_that_matters_makes_another_search(layers):
    """Shapes that differ in one number only, and TF32."""
    variants = ['kernel_size: 3 pad: 1', 'kernel_size: 3', 'kernel_size: 3 pad: 1 stride: 2', 'kernel_size: 1',
                'kernel_size: 3 pad: 1 dilation: 2', 'kernel_size: 3 pad: 1 group: 2',
                'kernel_h: 3 kernel_w: 1 pad: 1', 'kernel_size: 3 pad_h: 1 pad_w: 2']
    layer = CASES['fc6'][0].replace('num_output: 150 kernel_size: 7', 'num_output: 4 %s')
    shapes = [(1, 2, 8, 9), (1, 2, 9, 8), (2, 2, 8, 9), (1, 4, 8, 9)]
    before = layers.counts()
    with on('reference'):
        for variant in variants:
            for shape in shapes:
                pass_through(make(layer % variant, [shape]))
    assert change(layers, before).plans == 3 * len(variants) * len(shapes)


def test_the_oldest_plan_is_forgotten(layers):
    """4096 are kept, which is more than any one net needs and less than all sizes of images there are."""
    layer = 'type: "Convolution" convolution_param { num_output: 1 kernel_size: 1 }'
    with on('reference'):
        net, before = make(layer, [(1, 1, 1, 1)]), layers.counts()

        def forward(width):
            net.blobs['x0'].reshape(1, 1, 1, width)
            net.forward()
        for width in (*range(1, 4097), 1, 4097, 1, 2, 1):
            forward(width)
    done = change(layers, before)
    assert done.runs == 4101 and done.plans == 4098    # 4097 pushed 2 out, which pushed 3 out


def test_workspace(layers):
    """No more than is allowed, and less where the card is full."""
    layers.use(False, 8)
    options(layers, workspace=20 << 20, memory=3 << 20)
    before = layers.counts()
    compare('alexnet conv2')
    first = change(layers, before)
    assert (first.runs, first.refused) == (3, 0) and first.plans == 3 + 2    # of 8, 4 and at last 2 MB
    compare('alexnet conv2')
    assert change(layers, before).plans == first.plans
    options(layers, workspace=20 << 20, memory=1 << 20)    # there is a workspace already
    compare('alexnet conv2')
    assert change(layers, before).plans == first.plans
    layers.use(False, 0)
    compare('alexnet conv2')
    assert change(layers, before).refused == 0


def test_a_full_card_needs_no_workspace(layers):
    options(layers, workspace=5 << 20, memory=PLENTY)
    compare('fc7')    # the row of ones is there
    layers.use(False, 4096)
    options(layers, workspace=4 << 30, memory=0)
    before = layers.counts()
    compare('fc7')
    assert change(layers, before).refused == 0


def random(count, shift=0):
    """Numbers that start `shift` floats beyond a multiple of 16 bytes."""
    memory = np.random.default_rng(0).standard_normal(count + 8, np.float32)
    first = -memory.ctypes.data % 16 // 4 + shift
    return memory[first:first + count]


def test_weights_anywhere_in_memory(layers):
    """Data-parallel training keeps all parameters in one buffer, where they start at any multiple of four bytes."""
    shape = np.array([1, 2, 3, 4, 5, 3, 4, 1, 1, 1, 1, 0, 0, 1, 1, 1], np.int32)
    before = layers.counts()
    for shift in (0, 1, 2, 3, 0):
        image, weights, columns = random(2 * 12), random(5 * 2, shift), random(5 * 12)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (shape, image, weights, columns)]
        assert layers.library.accel_gpu_run(0, *pointers) == 1
        expected = weights.reshape(5, 2).astype(float) @ image.reshape(2, 12)
        np.testing.assert_allclose(columns.reshape(5, 12), expected, rtol=1e-5)
    assert change(layers, before).plans == 2


def test_off_and_on_again(layers):
    """`accel.off` makes nets of Caffe's own layers, without a trace of accel's."""
    before = layers.counts()
    layers.enable()
    try:
        layers.enable()    # a second time changes nothing
        pass_through(make(*CASES['fc7']))
        assert change(layers, before).runs == 3
    finally:
        layers.disable()
    layers.disable()
    pass_through(make(*CASES['fc7']))
    assert change(layers, before).runs == 3 and accel.status().startswith('accelerated')


@pytest.mark.parametrize('engine, runs', [('CAFFE', 0), ('CUDNN', 3), ('DEFAULT', 3)])
def test_engine(layers, engine, runs):
    """A prototxt may ask for Caffe's own convolution, and for cuDNN's, which would stop a Caffe built without it."""
    layer, shapes = CASES['fc7']
    before = layers.counts()
    with on('reference'):
        pass_through(make(layer.replace('num_output', f'engine: {engine} num_output'), shapes))
    assert change(layers, before).runs == runs


@pytest.mark.parametrize('environment, expected', [({}, (False, 1024)), ({'FCN_TF32': '1'}, (True, 1024)),
                                                   ({'FCN_CUDNN_WORKSPACE_MB': '0'}, (False, 0))])
def test_settings(environment, expected):
    assert cudnn.settings(environment) == expected


@pytest.mark.parametrize('environment', [{'FCN_TF32': 'yes'}, {'FCN_CUDNN_WORKSPACE_MB': '-1'},
                                         {'FCN_CUDNN_WORKSPACE_MB': '1.5'}, {'FCN_CUDNN_WORKSPACE_MB': ''}])
def test_settings_that_make_no_sense(environment):
    with pytest.raises(cli.BadInput, match=next(iter(environment))):
        cudnn.settings(environment)


def test_switched_off():
    result = subprocess.run([sys.executable, '-c', 'import accel; print(accel.cudnn.status())'], capture_output=True,
                            text=True, check=True, env={**os.environ, 'FCN_CUDNN': '0'})
    assert result.stdout == "Caffe's own convolutions (FCN_CUDNN=0)\n"


def test_cpu_library_is_free_of_cuda():
    from accel import build
    needed = subprocess.run(['readelf', '-d', build.library()], capture_output=True, text=True, check=True).stdout
    needed = [line for line in needed.splitlines() if 'NEEDED' in line]
    assert any('libcaffe.so' in line for line in needed) and not any('cud' in line for line in needed)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder that looks like cuDNN."""
    (tmp_path / 'include').mkdir()
    (tmp_path / 'lib').mkdir()
    (tmp_path / 'lib/libcudnn.so.9').touch()
    (tmp_path / 'include/cudnn.h').touch()
    (tmp_path / 'include/cudnn_version.h').write_text(
        '#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 27\n#define CUDNN_PATCHLEVEL 0\n')
    monkeypatch.setenv('CUDNN_HOME', str(tmp_path))
    return tmp_path


def test_cudnn_is_found(installed):
    found = build_cudnn.find()
    assert found == (installed / 'include', installed / 'lib/libcudnn.so.9')
    assert build_cudnn.version(found) == '9.27.0'


def test_half_a_cudnn_is_none(installed):
    (installed / 'include/cudnn.h').unlink()
    assert build_cudnn.find() is None
