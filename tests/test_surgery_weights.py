"""Caffemodels, transplant, bilinear and expand, without Caffe: protobuf and scipy are the oracles."""
import doctest
import importlib
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cli import BadInput
from surgery import (
    bilinear_kernel,
    caffemodel,
    expand_score,
    fill_bilinear,
    read_weights,
    transplant,
    write_weights,
)

F = descriptor_pb2.FieldDescriptorProto
MESSAGES = {
    'BlobShape': [('dim', 1, F.TYPE_INT64, True)],
    'BlobProto': [('num', 1, F.TYPE_INT32, False), ('channels', 2, F.TYPE_INT32, False),
                  ('height', 3, F.TYPE_INT32, False), ('width', 4, F.TYPE_INT32, False),
                  ('data', 5, F.TYPE_FLOAT, True), ('diff', 6, F.TYPE_FLOAT, True),
                  ('shape', 7, '.w.BlobShape', False), ('double_data', 8, F.TYPE_DOUBLE, True)],
    'V0': [('name', 1, F.TYPE_STRING, False), ('type', 2, F.TYPE_STRING, False), ('blobs', 50, '.w.BlobProto', True)],
    'V1': [('layer', 1, '.w.V0', False), ('bottom', 2, F.TYPE_STRING, True), ('name', 4, F.TYPE_STRING, False),
           ('type', 5, F.TYPE_INT32, False), ('blobs', 6, '.w.BlobProto', True), ('lr', 7, F.TYPE_FLOAT, True)],
    'Layer': [('name', 1, F.TYPE_STRING, False), ('type', 2, F.TYPE_STRING, False), ('bottom', 3, F.TYPE_STRING, True),
              ('loss_weight', 5, F.TYPE_FLOAT, True), ('blobs', 7, '.w.BlobProto', True)],
    'Net': [('name', 1, F.TYPE_STRING, False), ('layers', 2, '.w.V1', True), ('input', 3, F.TYPE_STRING, True),
            ('force_backward', 5, F.TYPE_BOOL, False), ('layer', 100, '.w.Layer', True)],
}


def _messages():
    """Google's own implementation of the format, from the field numbers in Caffe's documentation."""
    file = descriptor_pb2.FileDescriptorProto(name='w.proto', package='w', syntax='proto2')
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            f = message.field.add(name=field, number=number, label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL)
            if isinstance(kind, str):
                f.type, f.type_name = F.TYPE_MESSAGE, kind
            else:
                f.type = kind
                f.options.packed = repeated and kind != F.TYPE_STRING
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {m: message_factory.GetMessageClass(pool.FindMessageTypeByName(f'w.{m}')) for m in MESSAGES}


PROTO = _messages()


def _some_net():
    net = PROTO['Net'](name='n', input=['data'], force_backward=True)
    layer = net.layer.add(name='conv', type='Convolution', bottom=['data'], loss_weight=[1])
    layer.blobs.add(shape=PROTO['BlobShape'](dim=[2, 3, 1, 1]), data=range(6), diff=range(6))
    layer.blobs.add(shape=PROTO['BlobShape'](dim=[2]), double_data=[1.5, 2.5])
    net.layer.add(name='relu', type='ReLU')
    return net


def test_reads_what_protobuf_wrote(tmp_path):
    (tmp_path / 'w').write_bytes(_some_net().SerializeToString())
    weights = read_weights(tmp_path / 'w')
    assert list(weights) == ['conv']
    np.testing.assert_array_equal(weights['conv'][0], np.arange(6, dtype='f').reshape(2, 3, 1, 1))
    np.testing.assert_array_equal(weights['conv'][1], [1.5, 2.5])
    assert all(b.dtype == np.float32 and b.flags.writeable for b in weights['conv'])
    assert [(x.name, x.type) for x in caffemodel.read_layers(tmp_path / 'w')] == [
        ('conv', 'Convolution'), ('relu', 'ReLU')]


def test_reads_legacy_layers_with_four_axes(tmp_path):
    net = PROTO['Net']()
    fc = net.layers.add(name='fc', type=14, bottom=['a'], lr=[1, 2])
    fc.blobs.add(num=1, channels=1, height=2, width=3, data=range(6))
    v0 = net.layers.add()
    v0.layer.name, v0.layer.type = 'old', 'innerproduct'
    v0.layer.blobs.add(num=1, channels=1, height=1, width=2, data=[7, 8])
    (tmp_path / 'w').write_bytes(net.SerializeToString())
    weights = read_weights(tmp_path / 'w')
    assert weights['fc'][0].shape == (1, 1, 2, 3) and weights['old'][0].shape == (1, 1, 1, 2)
    assert [x.type for x in caffemodel.read_layers(tmp_path / 'w')] == ['InnerProduct', 'innerproduct']


def test_reads_numbers_that_are_not_packed(tmp_path):
    blob = b'\x3a\x02\x08\x02' + b''.join(b'\x2d' + struct.pack('<f', v) for v in (1, 2))
    layer = b'\x0a\x01a\x3a' + bytes([len(blob)]) + blob
    (tmp_path / 'w').write_bytes(b'\xa2\x06' + bytes([len(layer)]) + layer)
    np.testing.assert_array_equal(read_weights(tmp_path / 'w')['a'][0], [1, 2])


def test_protobuf_reads_what_we_wrote(tmp_path):
    rng = np.random.default_rng(0)
    weights = {'conv': [rng.normal(size=(4, 3, 2, 2)).astype('f').transpose(1, 0, 2, 3), np.ones(3, 'f')],
               'scalar': [np.float32(3) * np.ones((), 'f')], 'wide': [np.zeros((1, 300), 'f')], 'double': [np.ones(2)]}
    write_weights(tmp_path / 'w', weights, types={'conv': 'Convolution'})
    net = PROTO['Net'].FromString((tmp_path / 'w').read_bytes())
    assert [x.name for x in net.layer] == list(weights) and net.layer[0].type == 'Convolution'
    for layer in net.layer:
        for blob, array in zip(layer.blobs, weights[layer.name], strict=True):
            assert list(blob.shape.dim) == list(array.shape)
            np.testing.assert_array_equal(np.reshape(blob.data, array.shape), array)
    again = read_weights(tmp_path / 'w')
    assert [b.shape for b in again['conv']] == [(3, 4, 2, 2), (3,)] and again['scalar'][0].shape == ()
    assert os.listdir(tmp_path) == ['w']


def test_writes_nothing_where_it_cannot(tmp_path):
    with pytest.raises(BadInput, match='nowhere'):
        write_weights(tmp_path / 'nowhere' / 'w', {'a': [np.ones(1)]})


@pytest.mark.parametrize('content, says', [
    (b'', 'empty'), (b'<!DOCTYPE html>', 'page'), (b'name: "VGG"\nlayer {', 'prototxt'), (b'PK\x03\x04', 'archive'),
    (b'\x89HDF\r\n', 'HDF5'), (b'version https://git-lfs.github.com/spec/v1', 'LFS'),
    (b'\x08\x07\x12\x02ok', 'field 1'),
    (b'\xff' * 40, 'corrupt'), (b'\x0a\x03abc', 'no layer'), (b'\xa2\x06\xff\xff\xff\xff\x0f', 'cut short'),
])
def test_foreign_files_are_refused(tmp_path, content, says):
    (tmp_path / 'w').write_bytes(content)
    with pytest.raises(BadInput, match=says) as caught:
        read_weights(tmp_path / 'w')
    assert str(tmp_path / 'w') in str(caught.value) and '\n' not in str(caught.value)


def test_every_truncation_is_refused_or_whole(tmp_path):
    net = _some_net()
    whole, expected = net.SerializeToString(), net.layer[0].ByteSize()
    for cut in range(len(whole)):
        (tmp_path / 'w').write_bytes(whole[:cut])
        try:
            weights = read_weights(tmp_path / 'w')
        except BadInput:
            continue
        assert cut > expected and len(weights['conv']) == 2       # only the layer without weights is missing


def test_noise_never_escapes_bad_input(tmp_path):
    whole, rng = bytearray(_some_net().SerializeToString()), np.random.default_rng(1)
    for _ in range(500):
        noisy = bytearray(whole)
        for at in rng.integers(len(noisy), size=2):
            noisy[at] = rng.integers(256)
        (tmp_path / 'w').write_bytes(noisy)
        try:
            read_weights(tmp_path / 'w')
        except BadInput:
            pass


def test_shape_and_count_must_agree(tmp_path):
    net = PROTO['Net']()
    net.layer.add(name='conv').blobs.add(shape=PROTO['BlobShape'](dim=[2 ** 40, 2 ** 40]), data=[1])
    (tmp_path / 'w').write_bytes(net.SerializeToString())
    with pytest.raises(BadInput, match="layer 'conv', blob 0: its shape"):
        read_weights(tmp_path / 'w')


def test_a_table_without_caffe(tmp_path):
    write_weights(tmp_path / 'w', {'conv': [np.array([[1, 3]], 'f'), np.array([np.nan], 'f')]}, {'conv': 'Convolution'})
    text = caffemodel.summary(caffemodel.read_layers(tmp_path / 'w'))
    assert 'conv   Convolution  0     1x2    2      2     1    1    3' in text and '1 not finite' in text


def test_surgery_does_not_load_caffe():
    code = 'import surgery, sys; assert "caffe" not in sys.modules'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


@pytest.mark.parametrize('module', ['surgery', 'surgery.transplant', 'surgery.bilinear', 'surgery.expand',
                                    'surgery.caffemodel'])
def test_doctests(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match='nothing.caffemodel'):
        read_weights(tmp_path / 'nothing.caffemodel')


# -------------------------------------------------------------------------------------------------- transplant

def test_transplant_by_name_and_suffix():
    rng = np.random.default_rng(0)
    old = {'conv': [rng.normal(size=(2, 3, 3, 3)), rng.normal(size=2)], 'fc': [rng.normal(size=(4, 18))],
           'gone': [np.ones(1)]}
    new = {'conv_a': [np.zeros((2, 3, 3, 3)), np.zeros(2)], 'fc_a': [np.zeros((4, 2, 3, 3)), np.zeros(4)],
           'conv': [np.zeros((2, 3, 3, 3)), np.zeros(2)]}
    report = transplant(new, old, suffix='_a')
    np.testing.assert_array_equal(new['conv_a'][0], old['conv'][0])
    np.testing.assert_array_equal(new['fc_a'][0][3, 1, 2, 0], old['fc'][0][3, 1 * 9 + 2 * 3 + 0])
    assert not new['conv'][0].any()
    assert [(e.source, e.target, e.blob) for e in report.copied] == [('conv', 'conv_a', 0), ('conv', 'conv_a', 1)]
    assert [(e.old, e.new) for e in report.coerced] == [((4, 18), (4, 2, 3, 3))]
    assert [e.source for e in report.dropped] == ['gone']
    assert [(e.target, e.blob) for e in report.untouched] == [('fc_a', 1), ('conv', 0), ('conv', 1)]
    assert 'fc -> fc_a' in str(report) and '4x18 -> 4x2x3x3' in str(report)


def test_transplant_refuses_before_it_copies():
    new = {'a': [np.zeros(2)], 'b': [np.zeros((2, 2))]}
    with pytest.raises(BadInput, match='layer b: blob 0 is 2x2 in the new net, 2x3 in the weights'):
        transplant(new, {'a': [np.ones(2)], 'b': [np.ones((2, 3))]})
    assert not new['a'][0].any()


def test_transplant_drops_a_bias_without_a_place():
    report = transplant({'a': [np.zeros(2)]}, {'a': [np.ones(2), np.ones(2)]})
    assert [(e.source, e.blob, e.old) for e in report.dropped] == [('a', 1, (2,))]


def test_transplant_renames_and_refuses_unknown_names():
    new = {'x': [np.zeros(2)]}
    transplant(new, {'a': [np.ones(2)]}, rename={'a': 'x'})
    assert new['x'][0].all()
    for rename in ({'b': 'x'}, {'a': 'y'}):
        with pytest.raises(BadInput, match='cannot map'):
            transplant(new, {'a': [np.ones(2)]}, rename=rename)
    with pytest.raises(BadInput, match='more than one'):
        transplant(new, {'a': [np.ones(2)], 'x': [np.ones(2)]}, rename={'a': 'x'})


# ---------------------------------------------------------------------------------------------------- bilinear

def _deconvolve(image, kernel, stride):
    """A Deconvolution from its definition: every input pixel paints the kernel, `stride` apart."""
    spread = np.zeros([(n - 1) * stride + 1 for n in image.shape])
    spread[::stride, ::stride] = image
    return scipy.signal.convolve2d(spread, kernel, mode='full')


@pytest.mark.parametrize('size, factor', [(4, 2), (16, 8), (64, 32), (3, 2), (63, 32), (5, 3), (1, 1)])
def test_bilinear_kernel_interpolates_as_scipy_does(size, factor):
    image = np.random.default_rng(0).normal(size=(4, 5))
    up = _deconvolve(image, bilinear_kernel(size), factor)
    centre = factor - 1 if size % 2 else factor - 0.5       # of the first input pixel, in the output
    rows, cols = [(np.arange(n) - centre) / factor for n in up.shape]
    inner = [np.flatnonzero((at >= 0) & (at <= n - 1)) for at, n in zip((rows, cols), image.shape, strict=True)]
    where = np.meshgrid(rows[inner[0]], cols[inner[1]], indexing='ij')
    expected = scipy.ndimage.map_coordinates(image, where, order=1)
    np.testing.assert_allclose(up[np.ix_(*inner)], expected, atol=1e-12)


def test_bilinear_kernel_by_hand():
    np.testing.assert_allclose(bilinear_kernel(4)[1], np.array([1, 3, 3, 1]) * 3 / 16)
    with pytest.raises(ValueError):
        bilinear_kernel(0)


def test_fill_bilinear_on_the_diagonal_only():
    k = bilinear_kernel(4)
    net = {'dense': [np.ones((3, 3, 4, 4)), np.ones(3)], 'depthwise': [np.ones((3, 1, 4, 4))],
           'from_one': [np.ones((1, 3, 4, 4))], 'other': [np.ones((2, 3, 4, 4))]}
    assert fill_bilinear(net, ['dense', 'depthwise', 'from_one']) == {
        'dense': (3, 3, 4, 4), 'depthwise': (3, 1, 4, 4), 'from_one': (1, 3, 4, 4)}
    np.testing.assert_allclose(net['dense'][0], np.eye(3)[:, :, None, None] * k)
    np.testing.assert_allclose(net['depthwise'][0], np.broadcast_to(k, (3, 1, 4, 4)))
    np.testing.assert_allclose(net['from_one'][0], np.broadcast_to(k, (1, 3, 4, 4)))
    assert net['dense'][1].all() and net['other'][0].all()


@pytest.mark.parametrize('shape, says', [((3, 2, 4, 4), '3x2x4x4'), ((3, 3, 4, 5), 'square'), ((3, 3), 'square')])
def test_fill_bilinear_refuses_before_it_fills(shape, says):
    net = {'good': [np.zeros((2, 2, 4, 4))], 'bad': [np.zeros(shape)]}
    with pytest.raises(BadInput, match=f'layer bad.*{says}'):
        fill_bilinear(net, ['good', 'bad'])
    assert not net['good'][0].any()
    with pytest.raises(BadInput, match='layer absent'):
        fill_bilinear(net, ['absent'])


# ------------------------------------------------------------------------------------------------------ expand

def test_expand_score_keeps_the_first_classes():
    old = {'score': [np.arange(6.).reshape(2, 3, 1, 1), np.array([7., 8.])]}
    grown = np.full((3, 4), 5.).T[..., None, None]           # not contiguous, as a slice of a larger array may be
    new = {'s': [grown, np.full(4, 5.)]}
    report = expand_score(new, 's', old, 'score')
    np.testing.assert_array_equal(new['s'][0][:, :, 0, 0], [[0, 1, 2], [3, 4, 5], [5, 5, 5], [5, 5, 5]])
    np.testing.assert_array_equal(new['s'][1], [7, 8, 5, 5])
    assert len(report.coerced) == 2


def test_expand_score_of_a_legacy_inner_product():
    old = {'fc8': [np.ones((1, 1, 2, 3)), np.ones((1, 1, 1, 2))]}
    new = {'fc8': [np.zeros((4, 3, 1, 1)), np.zeros(4)]}
    expand_score(new, 'fc8', old, 'fc8')
    np.testing.assert_array_equal(new['fc8'][0].sum((1, 2, 3)), [3, 3, 0, 0])


def test_expand_score_refuses():
    old = {'s': [np.ones((3, 2, 1, 1)), np.ones(3)]}
    with pytest.raises(BadInput, match='2 classes cannot hold the 3'):
        expand_score({'s': [np.zeros((2, 2, 1, 1)), np.zeros(2)]}, 's', old, 's')
    with pytest.raises(BadInput, match='not as many numbers per class'):
        expand_score({'s': [np.zeros((4, 3, 1, 1)), np.zeros(4)]}, 's', old, 's')
    with pytest.raises(BadInput, match="no layer 't'"):
        expand_score({'s': [np.zeros((4, 2, 1, 1))]}, 's', old, 't')
