"""Fully connected layers: products of a value with a known matrix."""
import numpy as np

from cli import BadInput

from ..caffemodel import by
from .node import Node, Operator, Value


def _gemm(node: Node) -> Value:
    if node.attribute('transA', 0):
        raise BadInput('transA: its images would be columns')
    weights = _matrix(node)
    matrix = (weights.T if node.attribute('transB', 0) else weights) * np.float32(node.attribute('alpha', 1.0))
    bias = None
    if node.given(2):
        bias = node.array(2).reshape(-1) * np.float32(node.attribute('beta', 1.0))
        if bias.size not in (1, matrix.shape[1]):
            raise BadInput(f'a bias of {bias.size} numbers for {matrix.shape[1]} outputs')
        bias = np.broadcast_to(bias, matrix.shape[1])
    return _connected(node, node.value(), matrix, bias)


def _matmul(node: Node) -> Value:
    weights = _matrix(node)
    return _connected(node, node.value(), weights, None)


def _matrix(node: Node) -> np.ndarray:
    weights = node.array(1)
    if weights.ndim != 2:
        raise BadInput(f'weights {by(weights.shape)}, where a matrix has two axes')
    return weights


def _connected(node: Node, value: Value, matrix: np.ndarray, bias: np.ndarray | None) -> Value:
    """A product of a value's last axis with an inputs x outputs matrix: an InnerProduct, or a 1x1 Convolution."""
    last = len(value.axes) - 1
    order = value.runs_over(last)
    left = [a for i in range(1, last) for a in value.runs_over(i)]
    if last < 1 or value.shape[last] != len(matrix):
        raise BadInput(f'{by(matrix.shape)} weights on {by(value.shape)}')
    weights = _in_order_of_blob(value, order, matrix)
    blobs = [weights] + ([bias] if bias is not None else [])
    has_bias = None if bias is not None else False
    if left:
        if order not in ((1,), ()) or sorted(left) != value.longer(2, 3):
            raise BadInput(f'it multiplies the last axis of {by(value.shape)}, which is not the channels of a map')
        return node.add('Convolution', [value], [weights[:, :, None, None], *blobs[1:]],
                        num_output=weights.shape[0], kernel_size=[1], bias_term=has_bias)
    if set(value.longer(1, 2, 3)) != set(order):
        raise BadInput(f'it multiplies a part of {by(value.dims)}, not all of it')
    axes = (*value.axes[:1], *[()] * (last - 1), (1,))
    return node.add('InnerProduct', [value], blobs, axes=axes, num_output=weights.shape[0], bias_term=has_bias)


def _in_order_of_blob(value: Value, order: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """The matrix as outputs x inputs, its inputs in the order of the blob; `order` has the axes they run over."""
    sizes = [value.dims[a] for a in order] or [1]
    rows = matrix.reshape(*sizes, matrix.shape[1])
    rows = rows.transpose(*np.argsort(order).tolist(), len(sizes)) if order else rows
    return rows.reshape(len(matrix), -1).T


OPERATORS: dict[str, Operator] = {'Gemm': _gemm, 'MatMul': _matmul}
