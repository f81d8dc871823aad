"""Activations and other functions of one number, dropout, and softmax."""
from typing import Any

import numpy as np

from cli import BadInput

from ..caffemodel import by
from .node import ELTWISE, Node, Operator, Value


def _layer(kind: str, **params: Any) -> Operator:
    """An operator that is a layer of its own, whatever the node says."""
    return lambda node: node.add(kind, [node.value()], **params)


def _relu(node: Node) -> Value:
    slope = node.attribute('alpha', 0.01) if node.kind == 'LeakyRelu' else None
    return node.add('ReLU', [node.value()], negative_slope=slope)


def _clip(node: Node) -> Value:
    value = node.value()
    low = float(node.attribute('min', node.array(1, -np.inf)))
    high = float(node.attribute('max', node.array(2, np.inf)))
    if low == 0 and high > 3e38:
        return node.add('ReLU', [value])
    if low > high:
        raise BadInput(f'it clips to {low} and above, and to {high} and below')
    limit = float(np.finfo(np.float32).max)
    return node.add('Clip', [value], min=max(low, -limit), max=min(high, limit))


def _prelu(node: Node) -> Value:
    value, slope = node.value(), node.array(1)
    if slope.size == 1:
        return node.add('PReLU', [value], [slope.reshape(())], channel_shared=True)
    if value.runs_over(1) != (1,) or slope.size != value.dims[1] or slope.shape[0] not in (1, slope.size):
        raise BadInput(f'{by(slope.shape)} slopes for {by(value.shape)}: expected one, or one per channel')
    return node.add('PReLU', [value], [slope.reshape(-1)])


def _elu(node: Node) -> Value:
    return node.add('ELU', [node.value()], alpha=node.attribute('alpha', 1.0))


def _hard_sigmoid(node: Node) -> Value:
    swish = node.kind == 'HardSwish'
    scale = 1 / 6 if swish else node.attribute('alpha', 0.2)
    shift = 0.5 if swish else node.attribute('beta', 0.5)
    value = node.value()
    line = node.add('Power', [value], suffix='_line', scale=scale, shift=shift)
    gate = node.add('Clip', [line], min=0.0, max=1.0)
    return node.add('Eltwise', [value, gate], operation=ELTWISE['PROD']) if swish else gate


def _pow(node: Node) -> Value:
    power = node.array(1)
    if power.size != 1:
        raise BadInput(f'{by(power.shape)} powers; Caffe has one for all numbers')
    return node.add('Power', [node.value()], power=float(power.ravel()[0]))


def _dropout(node: Node) -> Value:
    ratio = float(node.attribute('ratio', node.array(1, 0.5)))
    if not 0 < ratio < 1:
        return node.value()
    return node.add('Dropout', [node.value()], dropout_ratio=ratio)


def _softmax(node: Node) -> Value:
    value, opset = node.value(), node.state.opset
    axis = node.attribute('axis', 1 if opset < 13 else -1)
    if not -len(value.axes) <= axis < len(value.axes):
        raise BadInput(f'axis {axis} of {by(value.shape)}')
    axis %= len(value.axes)
    over = range(axis, len(value.axes)) if opset < 13 else [axis]
    if [a for i in over for a in value.runs_over(i)] != [1]:
        raise BadInput(f'along axis {axis} of {by(value.shape)}, not along channels')
    top = node.add('Softmax', [value])
    return node.add('Log', [top], suffix='_log') if node.kind == 'LogSoftmax' else top


OPERATORS: dict[str, Operator] = {
    'Relu': _relu, 'LeakyRelu': _relu, 'PRelu': _prelu, 'Clip': _clip, 'Elu': _elu, 'Sigmoid': _layer('Sigmoid'),
    'Tanh': _layer('TanH'), 'Exp': _layer('Exp'), 'Log': _layer('Log'), 'Abs': _layer('AbsVal'),
    'Softplus': _layer('BNLL'), 'Neg': _layer('Power', scale=-1.0), 'Sqrt': _layer('Power', power=0.5), 'Pow': _pow,
    'HardSigmoid': _hard_sigmoid, 'HardSwish': _hard_sigmoid, 'Dropout': _dropout, 'Softmax': _softmax,
    'LogSoftmax': _softmax,
}
