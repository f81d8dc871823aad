"""Sums, products and normalisation: of a value and constants, or of two values."""
import math
from typing import Any

import numpy as np

from cli import BadInput

from ..caffemodel import by
from .node import ELTWISE, Node, Operator, Value

PAIRED: dict[str, tuple[int | None, list[float]]] = {       # operation, where it is not the default, and coefficients
    'Mul': (ELTWISE['PROD'], []), 'Max': (ELTWISE['MAX'], []), 'Add': (None, []), 'Sum': (None, []),
    'Sub': (ELTWISE['SUM'], [1.0, -1.0]),
}


def _arithmetic(node: Node) -> Value:
    values = node.state.values
    if all(name in values for name in node.inputs):
        return _eltwise(node)
    first = node.inputs[0] in values
    value, array = node.value(0 if first else 1), node.array(1 if first else 0).astype(np.float32)
    if node.kind == 'Div' and not first:
        raise BadInput('it divides by a value that depends on the image')
    if node.kind == 'Div':
        with np.errstate(divide='ignore'):
            return _affine(node, value, factor=1 / array)
    if node.kind == 'Mul':
        return _affine(node, value, factor=array)
    if node.kind == 'Sub' and first:
        return _affine(node, value, shift=-array)
    if node.kind == 'Sub':
        return _affine(node, node.add('Power', [value], scale=-1.0), shift=array)
    return _affine(node, value, shift=array)


def _affine(node: Node, value: Value, factor: np.ndarray | None = None, shift: np.ndarray | None = None) -> Value:
    """A value times or plus something known: one number, one per channel, or one for each of its numbers."""
    array = factor if factor is not None else shift
    assert array is not None
    array = array.reshape((1,) * (len(value.axes) - array.ndim) + array.shape)
    if np.broadcast_shapes(array.shape, value.shape) != value.shape:
        raise BadInput(f'{by(array.shape)} does not go with {by(value.shape)}')
    if not np.isfinite(array).all():
        raise BadInput('its constant is not finite, or it divides by zero')
    along = [i for i in range(len(value.axes)) if array.shape[i] > 1]
    if not along:
        number = float(array.ravel()[0])
        return node.add('Power', [value], scale=number if factor is not None else None,
                        shift=number if shift is not None else None)
    if 0 in along:
        raise BadInput('its constant differs between the images of a batch')
    runs = [a for i in along for a in value.runs_over(i)]
    numbers = array.reshape([value.dims[a] for a in runs])
    if runs != [1]:
        if sorted(runs) != value.longer(1, 2, 3):
            raise BadInput(f'{by(array.shape)} on {by(value.shape)}: neither one number per channel nor one each')
        numbers = numbers.transpose(np.argsort(runs))
    if shift is not None and _take_bias(node, value, numbers):
        return value
    shape = node.state.builder.shapes[value.blob][1:] if runs != [1] else numbers.shape
    params: dict[str, Any] = {'num_axes': len(shape)} if runs != [1] else {}
    return node.add('Scale' if factor is not None else 'Bias', [value], [numbers.reshape(shape)], **params)


def _take_bias(node: Node, value: Value, numbers: np.ndarray) -> bool:
    """Let the layer that made a value add the bias, where it has none and no other node reads the value."""
    state = node.state
    names = [name for name, other in state.values.items() if other.blob == value.blob]
    if value.blob == 'data' or any(state.readers[name] > 1 for name in names) or any(value.pad):
        return False
    layer = state.builder.layer(value.blob)
    blobs = state.builder.weights.get(layer.name, [])
    message = {'Convolution': 'convolution_param', 'InnerProduct': 'inner_product_param'}.get(layer.type)
    if message and not getattr(layer, message).bias_term and len(blobs) == 1 and numbers.size == blobs[0].shape[0]:
        getattr(layer, message).ClearField('bias_term')
    elif layer.type == 'Scale' and len(layer.bottom) == 1 and len(blobs) == 1 and blobs[0].size == numbers.size:
        layer.scale_param.bias_term = True
    else:
        return False
    blobs.append(np.ascontiguousarray(numbers, np.float32).reshape(blobs[0].shape if layer.type == 'Scale' else -1))
    return True


def _eltwise(node: Node) -> Value:
    """A sum, difference, product or maximum of values that all depend on the image."""
    values = [node.value(i) for i in range(len(node.inputs))]
    if node.kind == 'Mul' and len(values) == 2:
        gate, value = sorted(values, key=lambda v: math.prod(v.dims))
        if gate.dims != value.dims:
            return _gate(node, value, gate)
    runs = [[v.runs_over(i) for i in range(len(v.axes))] for v in values]
    if len({v.dims for v in values}) > 1 or any(r != runs[0] for r in runs):
        raise BadInput(f'its inputs differ: {" and ".join(by(v.shape) for v in values)}')
    if node.kind not in PAIRED:
        raise BadInput('Caffe adds, subtracts and multiplies two maps, and takes their maximum, but no more')
    operation, coefficients = PAIRED[node.kind]
    return node.add('Eltwise', values, operation=operation, coeff=coefficients)


def _gate(node: Node, value: Value, gate: Value) -> Value:
    """A map times one number per channel, each computed from the image."""
    apart = len(value.axes) - len(gate.axes)
    aligned = apart >= 0 and all(not gate.runs_over(i) or gate.runs_over(i) == value.runs_over(i + apart)
                                 for i in range(len(gate.axes)))
    if gate.dims != (*value.dims[:2], 1, 1) or not aligned:
        raise BadInput(f'its inputs differ: {by(value.shape)} and {by(gate.shape)}')
    flat = gate
    if len(node.state.builder.shapes[gate.blob]) == 4:
        flat = node.add('Flatten', [gate], suffix='_gate')
    return node.add('Scale', [value, flat], axis=0)


def _batch_norm(node: Node) -> Value:
    value = node.value()
    if node.attribute('training_mode', 0):
        raise BadInput('it is in training mode')
    gamma, beta, mean, variance = (node.array(i).astype(np.float64) for i in (1, 2, 3, 4))
    epsilon = node.attribute('epsilon', 1e-5)
    if value.runs_over(1) not in ((1,), ()) or gamma.shape != (value.dims[1],):
        factor = gamma / np.sqrt(variance + epsilon)                   # of a flattened map: one for each number
        shape = (-1, *[1] * (len(value.axes) - 2))
        scaled = _affine(node, value, factor=factor.reshape(shape))
        return _affine(node, scaled, shift=(beta - mean * factor).reshape(shape))
    normal = node.add('BatchNorm', [value], [mean, variance, np.ones(1)], eps=epsilon)
    layer = node.state.builder.layer(normal.blob)
    for _ in range(3):
        layer.param.add(lr_mult=0, decay_mult=0)
    return node.add('Scale', [normal], [gamma, beta], suffix='_scale', bias_term=True)


def _lrn(node: Node) -> Value:
    return node.add('LRN', [node.map()], local_size=node.attribute('size', 5), alpha=node.attribute('alpha', 1e-4),
                    beta=node.attribute('beta', 0.75), k=node.attribute('bias', 1.0))


OPERATORS: dict[str, Operator] = {
    'Add': _arithmetic, 'Sub': _arithmetic, 'Mul': _arithmetic, 'Div': _arithmetic, 'Sum': _arithmetic,
    'Max': _eltwise, 'BatchNormalization': _batch_norm, 'LRN': _lrn,
}
