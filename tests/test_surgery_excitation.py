"""Squeeze and excitation: imports for classifying, as onnxruntime computes it; refused where a net should be dense."""
import json

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
onnx = pytest.importorskip('onnx')

from cli import BadInput, run  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import import_model, read_net  # noqa: E402
from tests.helpers.torch_nets import Twin  # noqa: E402

pytestmark = pytest.mark.caffe
SIZE = (15, 18)
C = 6


def convolutions(t, x):
    """As timm and efficientnet have it: two 1x1 convolutions, SiLU."""
    y = t.silu(t.conv('reduce', t.node('GlobalAveragePool', x), 3, 1, bias=True))
    return t.node('Mul', x, t.node('Sigmoid', t.conv('expand', y, C, 1, bias=True)))


def hard(t, x):
    """As MobileNetV3: ReLU and a hard sigmoid, the gate first."""
    y = t.node('Relu', t.conv('reduce', t.node('GlobalAveragePool', x), 3, 1, bias=True))
    gate = t.node('HardSigmoid', t.conv('expand', y, C, 1, bias=True), alpha=1 / 6, beta=0.5)
    return t.node('HardSwish', t.node('Mul', gate, x))


def connected(t, x):
    """As SENet: inner products on what a mean and a Reshape leave, then N x C x 1 x 1 again."""
    y = t.node('Reshape', t.node('ReduceMean', x, axes=[2, 3]), t.constant([1, C]))
    y = t.linear('down', y, 3)
    y = t.node('Sigmoid', t.linear('up', t.node('Relu', y), C))
    return t.node('Mul', x, t.node('Reshape', y, t.constant([1, C, 1, 1])))


def expanded(t, x):
    """The same with `expand_as`."""
    y = t.node('Squeeze', t.node('GlobalAveragePool', x), t.constant([2, 3]))
    y = t.node('Sigmoid', t.linear('up', y, C))
    y = t.node('Unsqueeze', y, t.constant([2, 3]))
    return t.node('Mul', x, t.node('Expand', y, t.constant([1, C, SIZE[0] - 2, SIZE[1] - 2])))


def channels_last(t, x):
    """As Keras: products along the last axis."""
    x = t.node('Transpose', x, perm=[0, 2, 3, 1])
    y = t.node('ReduceMean', x, axes=[1, 2], keepdims=1)
    for i, (a, b, act) in enumerate(((C, 3, 'Relu'), (3, C, 'Sigmoid'))):
        y = t.node(act, t.node('MatMul', y, t.parameter(f'{i}', t.rng.normal(size=(a, b)))))
    return t.node('Transpose', t.node('Mul', x, y), perm=[0, 3, 1, 2], channels=C)


def by_hand(t, x):
    """Hard sigmoid as older exports write it: (x + 3) clipped to 0 and 6, over 6."""
    y = t.conv('gate', t.node('GlobalAveragePool', x), C, 1, bias=True)
    y = t.relu6(t.node('Add', y, t.constant(np.float32(3))))
    return t.node('Mul', x, t.node('Div', y, t.constant(np.float32(6))))


GATES = (convolutions, hard, connected, expanded, channels_last, by_hand)


def model(gate, path):
    t = Twin(SIZE)
    x = gate(t, t.node('Relu', t.conv('conv1', 'x', C, 3, pad=0)))
    x = t.node('Relu', t.conv('conv2', x, 4, 3))
    onnx.save(t.model(t.linear('fc', t.node('GlobalAveragePool', x), 5)), path)
    return path


@pytest.mark.parametrize('gate', GATES)
def test_imports_for_classifying_and_is_refused_for_a_dense_net(tmp_path, gate, capsys):
    pytest.importorskip('onnxruntime')
    path = model(gate, tmp_path / 'm.onnx')
    (tmp_path / 'net').mkdir()
    import_model(path, tmp_path / 'net')
    rows = json.loads((tmp_path / 'net/report.json').read_text())['onnxruntime']['outputs']
    assert rows and all(row['images'] == 3 and row['max_relative'] < 5e-5 for row in rows.values())
    scale, = (layer for layer in read_net(tmp_path / 'net/deploy.prototxt').layer if layer.type == 'Scale')
    assert len(scale.bottom) == 2 and scale.scale_param.axis == 0
    call = ['convolutionalize', '--prototxt', str(tmp_path / 'net/deploy.prototxt'), '--weights',
            str(tmp_path / 'net/weights.caffemodel'), '--out', str(tmp_path / 'dense'), '--cpu']
    for options in ([], ['--head', '1', '--classes', '3']):
        capsys.readouterr()
        assert run(command.main, [*call, *options]) == 2
        error = capsys.readouterr().err
        assert f'layer {scale.name} (Scale)' in error and 'made of the whole image' in error
        assert 'squeeze and excitation' in error and error.count('\n') == 1
        assert not (tmp_path / 'dense').exists()


@pytest.mark.parametrize('gate, says', [
    (lambda t, x: t.node('Expand', t.node('GlobalAveragePool', x), t.constant([1, 2 * C, 13, 16])), 'Expand'),
    (lambda t, x: t.node('Add', x, t.node('Expand', t.node('GlobalAveragePool', x), t.constant([1, C, 13, 16]))),
     'Add.*its inputs differ'),
    (lambda t, x: t.node('Mul', t.node('Transpose', t.conv('c', x, 13, 3), perm=[0, 3, 1, 2]),
                         t.node('GlobalAveragePool', t.conv('d', x, 16, 1))), 'its inputs differ|another order')])
def test_other_products_are_refused_by_name(tmp_path, gate, says):
    (tmp_path / 'net').mkdir()
    with pytest.raises(BadInput, match=says):
        import_model(model(gate, tmp_path / 'm.onnx'), tmp_path / 'net')
