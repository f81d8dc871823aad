"""A whole net as an ONNX model."""
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cli import BadInput

from ..caffemodel import Weights
from ..free_sizes import ELSEWHERE, NAMES, FreeSizes
from ..layers import layer_type
from ..preparation import GREY, Preparation
from ..shapes import Shapes
from ..untrusted import sensible
from .graph import Graph, Layer, Value
from .operators import OPERATORS

OPSET, IR = 13, 7               # versions of operators and file: those of 2020, which all engines read
LARGEST = 2 ** 31 - 2 ** 20     # bytes of constants: protobuf reads files below 2 GB


def onnx_model(net: Any, weights: Weights, shapes: Shapes, sizes: FreeSizes, outputs: Sequence[str],
               takes: str = 'caffe', preparation: Preparation | None = None,
               facts: Mapping[str, object] | None = None) -> Any:
    """Write a net down in ONNX's operators.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Upgraded, of the TEST phase; its inputs are Input layers.
    weights : dict of str to list of ndarray
        The parameters of all its layers, in its shapes.
    shapes : Shapes
        At the sizes that it states.
    sizes : FreeSizes
        What may change of them.
    outputs : sequence of str
        Blobs; the model's outputs have their names, and its inputs those of the net's.
    takes : str
        'caffe' for what the net takes; 'rgb' or 'bgr' for pixels from 0 to 255 in that order, which the model prepares.
    preparation : Preparation, optional
        How it does that.
    facts : mapping of str to object, optional
        What the model's metadata say; what is not text, as JSON.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    BadInput
        A layer has no equivalent, or the parameters are more than an ONNX file can hold; names the layer.
    """
    from onnx import helper
    if sum(blob.nbytes for blobs in weights.values() for blob in blobs) > LARGEST:
        raise BadInput('its parameters take more than 2 GB, which is more than an ONNX file can hold')
    graph = Graph()
    for blob in dict.fromkeys(blob for layer in net.layer for blob in layer.top):
        graph.unique(blob)
    values = _walk(graph, net, weights, shapes, sizes, takes, preparation)
    results = []
    for blob in outputs:
        name = values[blob].name
        if name != blob:                # it is another blob's value, or the net overwrites its input
            name = graph.add('Identity', [name], f'{blob}/Identity')[0]
            blob = graph.unique(f'{blob}_out') if blob in sizes.inputs else blob
            graph.rename({name: blob})
        results.append(blob)
    inputs = [_info(name, (shape[0], 3, *shape[2:]) if takes != 'caffe' else shape, _input_follows(sizes, shape))
              for name, shape in sizes.inputs.items()]
    infos = [_info(result, shapes.blobs[blob], _last_follows(net, sizes, blob))
             for blob, result in zip(outputs, results, strict=True)]
    model = helper.make_model(helper.make_graph(graph.nodes, net.name or 'net', inputs, infos, graph.constants),
                              opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR, producer_name='surgery')
    helper.set_model_props(model, {key: value if isinstance(value, str) else json.dumps(value)
                                   for key, value in (facts or {}).items()})
    return model


def _walk(graph: Graph, net: Any, weights: Weights, shapes: Shapes, sizes: FreeSizes, takes: str,
          preparation: Preparation | None) -> dict[str, Value]:
    """Add the nodes of all layers; the values of all blobs at the end of the net."""
    values: dict[str, Value] = {}
    names: dict[str, str] = {}      # of values as they came about -> those that they get
    last = {blob: i for i, layer in enumerate(net.layer) for blob in layer.top}
    for i, layer in enumerate(net.layer):
        tops = [Value(blob, shape, _free(follows))
                for blob, shape, follows in zip(layer.top, shapes.tops[i], sizes.tops[i], strict=True)]
        if layer.type == 'Input':
            values |= {top.name: top if takes == 'caffe' else _prepared(graph, top, takes, preparation or Preparation())
                       for top in tops}
            continue
        bottoms = [Value(values[blob].name, shape, _free(follows)) for blob, shape, follows in zip(
            layer.bottom, shapes.bottoms[i], sizes.bottoms[i], strict=True)]
        made = _convert(Layer(layer, graph, bottoms, tops, weights.get(layer.name, ())))
        passed = {value.name for value in values.values()}
        for top, name in zip(tops, made, strict=True):
            if name not in passed and name not in names:
                graph.call(name, layer.name)
                own = last[top.name] == i and top.name not in sizes.inputs
                names[name] = top.name if own else graph.unique(f'{top.name}/{layer.name}')
            values[top.name] = top._replace(name=name)
    graph.rename(names)
    return {blob: value._replace(name=names.get(value.name, value.name)) for blob, value in values.items()}


def _convert(layer: Layer) -> list[str]:
    """Add the nodes of a layer; the names of its tops. Its errors name it."""
    kind = layer.proto.type
    with sensible(f'cannot export layer {layer.proto.name} ({kind})', 'its parameters'):
        if kind not in OPERATORS:
            raise BadInput(f'it {layer_type(kind).refused or "has no equivalent"}, which ONNX has no operator for')
        made = OPERATORS[kind](layer)
        return made if isinstance(made, list) else [made]


def _prepared(graph: Graph, blob: Value, takes: str, preparation: Preparation) -> Value:
    """What the net takes, made of pixels from 0 to 255: the mean goes before any padding, as in training."""
    order = preparation.order
    name = blob.name

    def add(kind: str, *arrays: np.ndarray, **attributes: Any) -> str:
        constants = [graph.constant(array, f'{blob.name}/{kind}.constant') for array in arrays]
        return graph.add(kind, [name, *constants], f'{blob.name}/{kind}', **attributes)[0]

    if order == 'grey':
        shares = np.array(GREY if takes == 'bgr' else GREY[::-1], np.float32)
        name = add('Conv', shares.reshape(1, 3, 1, 1))
        mean = np.array([np.mean(preparation.mean)], np.float32)
    else:
        if takes != order:
            name = add('Gather', np.array([2, 1, 0]), axis=1)
        mean = np.array(preparation.mean, np.float32)[::1 if order == 'bgr' else -1]
    if mean.any():
        name = add('Sub', mean.reshape(1, -1, 1, 1))
    if preparation.scale != 1:
        name = add('Mul', np.array(preparation.scale, np.float32))
    return blob._replace(name=name)


def _free(follows: Sequence[str | None]) -> tuple[bool, ...]:
    return tuple(name is not None for name in follows)


def _input_follows(sizes: FreeSizes, shape: Sequence[int]) -> list[str | None]:
    """What the axes of an input are called: those of the first one's size after it."""
    first = next(iter(sizes.inputs.values()))
    names = (NAMES[0], None, *NAMES[1:])
    return [None if name is None or not sizes.free[name] else
            name if shape[i] == first[i] else ELSEWHERE for i, name in enumerate(names[:len(shape)])]


def _last_follows(net: Any, sizes: FreeSizes, blob: str) -> Sequence[str | None]:
    return next(follows for layer, tops in zip(reversed(net.layer), reversed(sizes.tops), strict=True)
                for name, follows in zip(layer.top, tops, strict=True) if name == blob)


def _info(name: str, shape: Sequence[int], follows: Sequence[str | None]) -> Any:
    """A value's name, type and shape; axes that follow nothing else's size are called after it."""
    from onnx import TensorProto, helper
    dims = [d if axis is None else axis or f'{name}:{i}' for i, (d, axis) in enumerate(zip(shape, follows,
                                                                                         strict=False))]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
