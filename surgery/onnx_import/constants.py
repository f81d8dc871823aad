"""Compute the nodes of a graph whose inputs are all known."""
import math

import numpy as np

from cli import BadInput

from .node import Node

LARGEST = 2 ** 28               # numbers in a constant that a graph may compute
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
    for value in inputs.values():
        if node.kind in ('ConstantOfShape', 'Expand', 'Reshape', 'Range') and value.dtype.kind in 'iu' \
                and value.size < 16 and math.prod(max(1, int(v)) for v in value.ravel()) > LARGEST:
            raise BadInput(f'it computes a constant of more than {LARGEST:,} numbers')
    infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
             for name, array in inputs.items()]
    graph = helper.make_graph([node.proto], 'one', infos,
                              [helper.make_empty_tensor_value_info(name) for name in node.outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', node.state.opset)])
    try:
        results = ReferenceEvaluator(model).run(None, inputs)
    except Exception as problem:        # numpy's and onnx's own complaints about a graph that makes no sense
        raise BadInput(f'it cannot be computed: {type(problem).__name__}: {str(problem)[:100]}') from None
    return dict(zip(node.outputs, map(np.asarray, results), strict=True))
