"""Classifiers as ONNX models and state dicts, small and with most kinds of layer."""
import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def a_classifier():
    """A model that has most kinds of node."""
    numbers = np.random.default_rng(0)
    constants = {
        'w1': numbers.normal(size=(4, 3, 3, 3)), 'b1': numbers.normal(size=4), 'g': np.ones(4), 'z': np.zeros(4),
        'pads': np.array([0, 0, 1, 1, 0, 0, 1, 1]), 'parts': np.array([1, 3]), 'some': np.array([2, 0]),
        'starts': np.array([0]), 'ends': np.array([2]), 'axes': np.array([1]), 'low': np.float32(0),
        'high': np.float32(6), 'slopes': np.ones((4, 1, 1)), 'flat': np.array([1, -1]),
        'w2': numbers.normal(size=(45, 5)),
        'b2': numbers.normal(size=5), 'one': np.array([1]), 'half': np.float32(0.5)}
    nodes = [
        ('Conv', 'x w1 b1', 'c', {'pads': [1, 0, 1, 1], 'strides': [1, 1], 'group': 1}),
        ('BatchNormalization', 'c g z z g', 'n', {'epsilon': 1e-5}), ('Relu', 'n', 'r', {}),
        ('MaxPool', 'r', 'p', {'kernel_shape': [2, 2], 'strides': [2, 2]}), ('PRelu', 'p slopes', 'pr', {}),
        ('LRN', 'pr', 'l', {'size': 3}), ('Clip', 'l low high', 'k', {}), ('Split', 'k parts', 's1 s2', {'axis': 1}),
        ('Gather', 's2 some', 'ga', {'axis': 1}), ('Slice', 'k starts ends axes', 'sl', {}),
        ('Concat', 's1 ga sl', 'j', {'axis': 1}), ('Pad', 'j pads', 'd', {}),
        ('AveragePool', 'd', 'a', {'kernel_shape': [2, 2], 'strides': [2, 2], 'count_include_pad': 1}),
        ('Transpose', 'a', 't', {'perm': [0, 2, 3, 1]}), ('Transpose', 't', 'u', {'perm': [0, 3, 1, 2]}),
        ('Mul', 'u half', 'm', {}), ('Add', 'm m', 'ad', {}), ('Expand', 'one one', 'ex', {}),
        ('Concat', 'ex flat', 'to', {'axis': 0}), ('Slice', 'to one ends2', 'to2', {}),
        ('ConstantOfShape', 'one', 'cs', {}), ('Reshape', 'ad to2', 'f', {}), ('Gemm', 'f w2 b2', 'y', {'alpha': 1.0}),
        ('Unsqueeze', 'y axes', 'us', {}), ('Squeeze', 'us axes', 'sq', {}), ('Dropout', 'sq half', 'dr', {}),
        ('Softmax', 'dr', 'prob', {'axis': -1})]
    constants['ends2'] = np.array([3])
    tensors = [numpy_helper.from_array(np.asarray(a, np.int64 if np.asarray(a).dtype.kind == 'i' else np.float32), k)
               for k, a in constants.items()]
    graph = helper.make_graph([helper.make_node(op, ins.split(), outs.split(), name=f'/{op}', **more)
                               for op, ins, outs, more in nodes], 'g',
                              [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 3, 9, 9])],
                              [helper.make_empty_tensor_value_info('prob')], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def chain(*nodes, shape=(1, 3, 8, 8), constants=()):
    graph = helper.make_graph([helper.make_node(op, ins.split(), outs.split(), **more)
                               for op, ins, outs, more in nodes], 'g',
                              [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
                              [helper.make_empty_tensor_value_info(nodes[-1][2].split()[0])],
                              [numpy_helper.from_array(np.asarray(a), name) for name, a in constants])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def a_state():
    numbers = np.random.default_rng(0)
    shapes = {'features.0.weight': (2, 3, 3, 3), 'features.0.bias': (2,), 'features.1.weight': (2,),
              'features.1.bias': (2,), 'features.1.running_mean': (2,), 'features.1.running_var': (2,),
              'classifier.0.weight': (3, 2 * 112 * 112), 'classifier.0.bias': (3,), 'classifier.3.weight': (2, 3)}
    return {name: numbers.normal(size=shape).astype('<f4') for name, shape in shapes.items()}


def save_safetensors(path, state):
    header, at = {}, 0
    for name, array in state.items():
        header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': [at, at + array.nbytes]}
        at += array.nbytes
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, 'little') + head + b''.join(a.tobytes() for a in state.values()))
