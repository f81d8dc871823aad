"""What an installed Caffe can do, with nothing of this checkout: also the tests of a wheel on a bare machine."""
import ctypes
import importlib.metadata
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault('GLOG_minloglevel', '2')
caffe = pytest.importorskip('caffe', reason='no Caffe is installed')
accel = pytest.importorskip('accel')

pytestmark = [pytest.mark.wheel, pytest.mark.caffe]

NET = '''
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 23 dim: 31 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 5 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" std: 1 }
                            bias_filler { type: "uniform" min: -1 max: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
        convolution_param { num_output: 5 kernel_size: 4 stride: 2 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "score" crop_param { axis: 2 offset: 1 } }
'''
TRAIN = '''
layer { name: "data" type: "Python" top: "data" top: "label"
        python_param { module: "constant_data" layer: "Constant" } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
'''
LAYER = '''
import caffe
class Constant(caffe.Layer):
    def setup(self, bottom, top):
        top[0].reshape(4, 6); top[1].reshape(4)
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top):
        top[0].data[...] = [[(3 * i + j) % 5 - 2 for j in range(6)] for i in range(4)]; top[1].data[...] = [0, 1, 2, 1]
    def backward(self, top, propagate_down, bottom): pass
'''


@pytest.fixture
def net(tmp_path):
    caffe.set_mode_cpu()
    caffe.set_random_seed(3)
    (tmp_path / 'net.prototxt').write_text(NET)
    made = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    made.blobs['data'].data[...] = np.random.default_rng(0).normal(size=made.blobs['data'].data.shape)
    return made


def test_a_net_computes_what_numpy_computes(net):
    """Convolution, ReLU, pooling, deconvolution and crop, written out in double precision."""
    net.forward()
    data = np.pad(net.blobs['data'].data[0].astype(float), ((0, 0), (1, 1), (1, 1)))
    weights, bias = (blob.data.astype(float) for blob in net.params['conv'])
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3), (1, 2))
    conv = np.maximum(np.einsum('cyxkl,ockl->oyx', windows, weights) + bias[:, None, None], 0)
    padded = np.pad(conv, ((0, 0), (0, 1), (0, 1)), constant_values=-np.inf)        # 23 x 31 -> 12 x 16, rounded up
    pool = padded.reshape(5, 12, 2, 16, 2).max((2, 4))
    up = np.zeros((5, 26, 34))
    for y in range(12):
        for x in range(16):
            up[:, 2 * y:2 * y + 4, 2 * x:2 * x + 4] += np.einsum('i,iokl->okl', pool[:, y, x],
                                                               net.params['up'][0].data.astype(float))
    expected = up[:, 1:24, 1:32] + net.params['up'][1].data[:, None, None]
    np.testing.assert_allclose(net.blobs['score'].data[0], expected, rtol=1e-4, atol=1e-4)


def test_accelerated_layers_are_there_and_agree_with_caffes_own(net, tmp_path):
    if os.environ.get('FCN_ACCEL') == '0':
        pytest.skip('FCN_ACCEL=0')
    assert accel.status().startswith('accelerated layers (')
    net.forward()
    with accel.off():
        plain = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
        plain.share_with(net)
        plain.blobs['data'].data[...] = net.blobs['data'].data
        plain.forward()
    np.testing.assert_allclose(net.blobs['score'].data, plain.blobs['score'].data, rtol=1e-4, atol=1e-4)


def test_weights_are_kept_in_both_formats(net, tmp_path):
    """The protobuf and HDF5 libraries inside work."""
    net.save(str(tmp_path / 'a.caffemodel'))
    net.save_hdf5(str(tmp_path / 'a.caffemodel.h5'))
    for name in ('a.caffemodel', 'a.caffemodel.h5'):
        other = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
        other.copy_from(str(tmp_path / name))
        for layer, blobs in net.params.items():
            for mine, theirs in zip(blobs, other.params[layer], strict=True):
                assert np.array_equal(mine.data, theirs.data)


def test_a_solver_steps_with_a_python_layer(tmp_path, monkeypatch):
    """The Boost.Python library inside belongs to this interpreter; the loss of a constant batch falls."""
    (tmp_path / 'constant_data.py').write_text(LAYER)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'train.prototxt').write_text(TRAIN)
    (tmp_path / 'solver.prototxt').write_text(f'net: "{tmp_path}/train.prototxt" base_lr: 0.1 lr_policy: "fixed" '
                                              'momentum: 0.9 max_iter: 40 random_seed: 1 snapshot_after_train: false '
                                              'solver_mode: CPU')
    solver = caffe.get_solver(str(tmp_path / 'solver.prototxt'))
    solver.step(1)
    first = float(solver.net.blobs['loss'].data)
    solver.step(39)
    assert float(solver.net.blobs['loss'].data) < first / 4


def test_nets_in_threads_do_not_meet(tmp_path):
    (tmp_path / 'net.prototxt').write_text(NET)
    scores = {}

    def compute(number):
        made = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
        made.params['conv'][0].data[...] = 0.5
        made.params['up'][0].data[...] = 0.25
        made.params['conv'][1].data[...] = 0
        made.blobs['data'].data[...] = number
        made.forward()
        scores[number] = made.blobs['score'].data.max()

    threads = [threading.Thread(target=compute, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scores[2] == pytest.approx(2 * scores[1]) and scores[3] == pytest.approx(3 * scores[1])


def test_every_library_inside_has_its_license():
    try:
        distribution = importlib.metadata.distribution('caffe')
    except importlib.metadata.PackageNotFoundError:
        pytest.skip('this Caffe is a build, not a wheel')
    names = [str(file) for file in distribution.files]
    inside = {re.sub(r'(-[0-9a-f]{8})?\..*', '', Path(name).name) for name in names if '.libs/' in name}
    licenses = {Path(name).parent.name for name in names if '/licenses/' in name}
    assert {'libcaffe', 'libglog', 'libprotobuf'} < inside and any('openblas' in name for name in inside)
    assert {'caffe', 'accel'} < licenses and any('openblas' in name for name in licenses)
    assert all(distribution.locate_file(name).stat().st_size > 500 for name in names if '/licenses/' in name)


def test_the_library_needs_only_what_every_linux_has():
    """Run by a wheel: nothing outside it is loaded but the C and C++ libraries, zlib and other wheels' own."""
    folder = Path(caffe.__file__).parents[1]
    if not (folder / 'caffe.libs').is_dir():
        pytest.skip('this Caffe is a build, not a wheel')
    code = ('import caffe, accel\n'
            'print(*{line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}, sep="\\n")')
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    outside = [Path(path).name for path in loaded if 'site-packages' not in path and '/lib-dynload/' not in path
               and not path.startswith((str(folder), sys.prefix, sys.base_prefix + '/lib/python'))]
    # The interpreter's modules take some of these; zstd is OpenSSL's.
    known = re.compile(r'(ld-linux.*|lib(c|m|z|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s|crypt|ffi|expat|bz2|lzma|'
                       r'crypto|ssl|zstd|uuid|python3.*))(\.so.*|-\d.*)')
    assert [name for name in outside if not known.match(name)] == []
    assert ctypes.CDLL(caffe._caffe.__file__)
