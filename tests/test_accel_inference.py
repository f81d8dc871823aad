"""Nets that are only passed through whole give what they give layer by layer, in less memory."""
import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
from caffe.proto import caffe_pb2  # noqa: E402
from google.protobuf import text_format  # noqa: E402

import accel  # noqa: E402
import nets  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from tests.helpers import narrow_nets  # noqa: E402
from tests.helpers.single_layers import differ  # noqa: E402

pytestmark = [pytest.mark.caffe,
              pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())]


class Graph:
    """A random net of layers that keep height and width, its prototxt in `text`."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.text = ('layer { name: "data" type: "Input" top: "data" '
                     'input_param { shape { dim: 1 dim: 6 dim: 13 dim: 17 } } }')
        self.blobs = {'data': 6}      # name -> channels
        for i in range(int(self.rng.integers(8, 24))):
            self.add(i)

    def pick(self):
        """A blob, often the newest."""
        names = list(self.blobs)
        return names[-1] if self.rng.random() < 0.6 else names[self.rng.integers(len(names))]

    def layer(self, name, type, bottoms, top, channels, parameters=''):
        self.text += f'\nlayer {{ name: "{name}" type: "{type}" {" ".join(f"""bottom: "{b}" """ for b in bottoms)} ' \
                     f'top: "{top}" {parameters} }}'
        self.blobs[top] = channels

    def add(self, i):
        kind, bottom = self.rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())), self.pick()
        channels, name = self.blobs[bottom], f'l{i}'
        # In place only where nobody else has taken the blob before: Caffe would give both the changed one.
        alone = self.text.count(f'bottom: "{bottom}"') == 0 and bottom != 'data'
        top = bottom if alone and self.rng.random() < 0.7 else name
        if kind == 'Convolution':
            size, outputs = int(self.rng.choice([1, 3, 5])), int(self.rng.choice([6, 16, 20]))
            group = channels if self.rng.random() < 0.3 else 1
            self.layer(name, kind, [bottom], name, channels if group > 1 else outputs,
                       f'convolution_param {{ num_output: {channels if group > 1 else outputs} kernel_size: {size} '
                       f'pad: {size // 2} group: {group} bias_term: {self.rng.choice(["true", "false"])} }}')
        elif kind == 'BatchNorm':
            self.layer(name, kind, [bottom], top, channels)
        elif kind == 'Scale':
            self.layer(name, kind, [bottom], top, channels, 'scale_param { bias_term: true }')
        elif kind == 'Eltwise':
            same = [b for b, c in self.blobs.items() if c == channels]
            other = same[self.rng.integers(len(same))]
            self.layer(name, kind, [bottom, other], name, channels,
                       f'eltwise_param {{ operation: {self.rng.choice(["SUM", "SUM", "SUM", "MAX", "PROD"])} }}')
        elif kind == 'Concat':
            other = self.pick()
            self.layer(name, kind, [bottom, other], name, channels + self.blobs[other])
        elif kind == 'Upsample':
            self.layer(f'{name}up', 'Deconvolution', [bottom], f'{name}up', channels,
                       f'convolution_param {{ num_output: {channels} kernel_size: 4 stride: 2 '
                       f'group: {self.rng.choice([1, channels])} bias_term: false }}')
            del self.blobs[f'{name}up']     # of another size
            self.layer(name, 'Crop', [f'{name}up', 'data'], name, channels,
                       'crop_param { axis: 2 offset: 3 offset: 5 }')
        elif kind == 'Slice':
            if channels % 2 == 0:
                self.text += (f'\nlayer {{ name: "{name}" type: "Slice" bottom: "{bottom}" '
                              f'top: "{name}a" top: "{name}b" }}')
                self.blobs |= {f'{name}a': channels // 2, f'{name}b': channels // 2}
        elif kind == 'Reshape':
            self.layer(name, kind, [bottom], name, channels, 'reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 } }')
        elif kind == 'Pooling':
            self.layer(name, kind, [bottom], name, channels,
                       f'pooling_param {{ pool: {self.rng.choice(["MAX", "AVE"])} kernel_size: 3 stride: 1 pad: 1 }}')
        else:
            self.layer(name, kind, [bottom], top, channels, PARAMETERS.get(kind, ''))


KINDS = {'Convolution': 8, 'BatchNorm': 3, 'Scale': 3, 'ReLU': 4, 'Clip': 2, 'Dropout': 1, 'Eltwise': 4, 'Concat': 3,
         'Upsample': 2, 'Slice': 1, 'Reshape': 1, 'Pooling': 2, 'LRN': 1, 'Power': 1, 'Sigmoid': 1}
PARAMETERS = {'Clip': 'clip_param { min: -0.5 max: 1.5 }', 'Power': 'power_param { scale: 0.7 shift: 0.2 }'}


def fill(net, seed):
    """Weights that keep numbers in bounds; variances above 0; upsampling on the diagonal in every other net."""
    rng = np.random.default_rng(seed)
    kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            fan = max(int(np.prod(blob.data.shape[1:])), 1)
            blob.data[...] = rng.standard_normal(blob.data.shape) / np.sqrt(fan)
            if kinds[name] == 'BatchNorm':
                blob.data[...] = np.abs(blob.data) + 0.5 if i else blob.data
            if kinds[name] == 'Deconvolution' and seed % 2 and blob.data.shape[0] == blob.data.shape[1]:
                blob.data[...] *= np.eye(len(blob.data))[:, :, None, None]


def passed(net, image):
    net.blobs['data'].reshape(*image.shape)
    net.blobs['data'].data[...] = image
    net.forward()
    return {name: net.blobs[name].data.copy() for name in net.outputs}


@pytest.mark.parametrize('seed', range(60))
def test_any_net_gives_what_caffe_gives(seed):
    """Also of other sizes, that no `reshape` announces, of several images, and with weights that change."""
    parameter = text_format.Parse(Graph(seed).text, caffe_pb2.NetParameter())
    with accel.off():
        theirs = instantiate(parameter)
    ours = instantiate(parameter, read=())
    rng = np.random.default_rng(seed)
    for i, shape in enumerate([(1, 6, 13, 17), (1, 6, 30, 21), (2, 6, 9, 8), (1, 6, 13, 17)]):
        for net in (ours, theirs):
            fill(net, seed + i // 2)
        image = rng.standard_normal(shape).astype(np.float32)
        expected = passed(theirs, image)
        for _ in range(2):
            found = passed(ours, image)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert differ(found[name], value) < 1e-5, f'{name} of {shape}'


@pytest.mark.parametrize('seed', range(60, 80))
def test_kept_blobs_can_be_read(seed):
    parameter = text_format.Parse(Graph(seed).text, caffe_pb2.NetParameter())
    names = [layer.top[0] for layer in parameter.layer][::3]
    with accel.off():
        theirs = instantiate(parameter)
    ours = instantiate(parameter, read=names)
    image = np.random.default_rng(seed).standard_normal((1, 6, 13, 17)).astype(np.float32)
    for net in (ours, theirs):
        fill(net, seed)
        passed(net, image)
    for name in names:
        assert differ(ours.blobs[name].data, theirs.blobs[name].data) < 1e-5, name


@pytest.mark.parametrize('name', nets.names())
def test_nets_of_the_papers(name):
    """By what is computed first to last: whatever a convolution does on the way, scores are those of the layers."""
    parameter, plain = narrow_nets.alive(name)
    ours = instantiate(parameter, read=())
    for layer, blobs in plain.params.items():
        for blob, other in zip(ours.params[layer], blobs, strict=True):
            blob.data[...] = other.data
    for size in ((33, 47), (60, 40)):
        for net in (plain, ours):
            for blob in net.inputs:
                net.blobs[blob].reshape(1, net.blobs[blob].shape[1], *size)
                net.blobs[blob].data[...] = np.random.default_rng(1).standard_normal(net.blobs[blob].shape) * 50
            net.forward()
        for blob in plain.outputs:
            assert differ(ours.blobs[blob].data, plain.blobs[blob].data) < 1e-5
