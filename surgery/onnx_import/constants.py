"""Compute the nodes of a graph whose inputs are all known."""
import math

import numpy as np

from cli import BadInput

from .node import Node

LARGEST = 2 ** 28               # numbers in a constant that a graph may compute
FACTOR = 4                      # numbers that an import may make of each of a file's, besides those that any may make
NUMBERS = (*range(1, 8), *range(9, 14), 16)     # TensorProto.DataType: floats, integers and truth values
PAIRED = ('Add', 'Sub', 'Mul', 'Div', 'Pow', 'Equal', 'Where', 'Expand', 'Min', 'Max')     # their inputs broadcast
COMPUTED = ('Constant', 'ConstantOfShape', 'Gather', 'Slice', 'Concat', 'Cast', 'Unsqueeze', 'Squeeze', 'Reshape',
            'Transpose', 'Add', 'Sub', 'Mul', 'Div', 'Sqrt', 'Identity', 'Neg', 'Pow', 'Reciprocal', 'ReduceProd',
            'Equal', 'Where', 'Expand', 'Range', 'Floor', 'Ceil', 'Min', 'Max', 'Exp', 'ReduceSum', 'ReduceMin',
            'ReduceMax')


def compute(node: Node) -> dict[str, np.ndarray]:
    """The outputs of a node whose inputs are all known, by onnx's reference implementation.

    Parameters
    ----------
    node : Node
        Each of its inputs is in `node.state.known`, or not given.

    Returns
    -------
    dict of str to ndarray
        The node's outputs, by name.

    Raises
    ------
    BadInput
        The operator is not one of `COMPUTED`, its inputs do not go together, or the result would be too large.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator
    if node.kind not in COMPUTED:
        raise BadInput('all of its inputs are constants, and it is not an operator that the import computes')
    inputs = {name: node.state.known[name] for name in node.inputs if name}
    if node.kind == 'Cast' and node.attribute('to', 0) not in NUMBERS:
        raise BadInput('it makes something else than numbers')
    builder = node.state.builder
    count = _count(node, [node.state.known[name] for name in node.inputs if name])
    if count > LARGEST:
        raise BadInput(f'it computes a constant of more than {LARGEST:,} numbers')
    builder.reserve(count)
    infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
             for name, array in inputs.items()]
    graph = helper.make_graph([node.proto], 'one', infos,
                              [helper.make_empty_tensor_value_info(name) for name in node.outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', node.state.opset)])
    try:
        results = ReferenceEvaluator(model).run(None, inputs)
    except Exception as problem:        # numpy's and onnx's own complaints about a graph that makes no sense
        raise BadInput(f'it cannot be computed: {type(problem).__name__}: {str(problem)[:100]}') from None
    arrays = [np.asarray(result) for result in results]
    if any(array.dtype.kind in 'OSUc' for array in arrays):
        raise BadInput('it makes something else than numbers')
    if node.kind == 'Constant':                 # its numbers are in the file
        builder.spare += FACTOR * sum(array.size for array in arrays)
    return dict(zip(node.outputs, arrays, strict=True))


def _count(node: Node, inputs: list[np.ndarray]) -> int:
    """How many numbers the node computes at most."""
    if node.kind == 'Constant':
        return 0
    shapes = [array.shape for array in inputs]
    if node.kind == 'ConstantOfShape':
        return math.prod(max(1, int(d)) for d in inputs[0].ravel())
    if node.kind == 'Expand':
        shapes[1] = tuple(max(1, int(d)) for d in inputs[1].ravel())
    if node.kind == 'Range':
        start, stop, step = (float(array.ravel()[0]) for array in inputs)
        return max(0, math.ceil((stop - start) / step))
    if node.kind == 'Concat':
        return sum(array.size for array in inputs)
    if node.kind == 'Gather':
        along = int(shapes[0][node.attribute('axis', 0)])
        return _longest(shapes[0]) // max(1, along) * max(1, inputs[1].size)
    if node.kind in PAIRED:
        return _longest(np.broadcast_shapes(*shapes))
    return _longest(shapes[0])


def _longest(shape: tuple[int, ...]) -> int:
    """How many numbers a shape holds; empty axes count 1, since a reduction fills what lies along them."""
    return math.prod(max(1, d) for d in shape)
