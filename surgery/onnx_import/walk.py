"""Walk over a graph from its input to its outputs and add the layers of each node."""
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from ..builder import Builder
from ..caffemodel import MOST_AXES
from ..untrusted import sensible
from .constants import FACTOR, compute
from .cropping import finish_cut
from .node import CHANNELS_LAST, MAP, Axes, Node, State, Value, attribute
from .operators import OPERATORS
from .reading import tensor_array

MOST_INPUTS = 16


class ImportedGraph(NamedTuple):
    """A graph as a Caffe net.

    Attributes
    ----------
    builder : Builder
        The net, its input blob `data` in the graph's channel order and scale.
    input : str
        The graph's input.
    channels_last : bool
        Whether the graph takes N x H x W x C.
    others : dict of str to str
        The graph's further inputs, each with its blob; they are taken as they are.
    outputs : dict of str to str
        The graph's outputs, each with its blob.
    scores : dict of str to str
        What goes into a Softmax that makes an output, with its blob: probabilities can hide a difference.
    """

    builder: Builder
    input: str
    channels_last: bool
    others: dict[str, str]
    outputs: dict[str, str]
    scores: dict[str, str]


def import_graph(model: Any, size: tuple[int, int] | None = None) -> ImportedGraph:
    """Build the Caffe net of an ONNX classifier.

    Parameters
    ----------
    model : onnx.ModelProto
        From `read_onnx`.
    size : (int, int), optional
        Height and width of the images in pixels; the model's own by default.

    Returns
    -------
    ImportedGraph

    Raises
    ------
    BadInput
        The graph is not that of a classifier, or a node has no equivalent in Caffe; names the node.
    """
    with sensible('', 'the graph\'s names or types'):
        return _walk(model, size)


def _walk(model: Any, size: tuple[int, int] | None) -> ImportedGraph:
    graph = model.graph
    known = {tensor.name: tensor_array(tensor) for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in known]
    if not 1 <= len(inputs) <= MOST_INPUTS or len({info.name for info in inputs}) != len(inputs):
        raise BadInput(f'the graph has {len(inputs)} inputs; expected one, or 2 to {MOST_INPUTS} images')
    entry = inputs[0].name
    if not all(info.name for info in inputs):
        raise BadInput('its input has no name')
    shape, axes = _input_form(inputs[0], size, _channels_last(graph, entry))
    opset = next((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')), 13)
    state = State(Builder(str(graph.name) or 'imported', shape), opset, known, {entry: Value('data', shape, axes)},
                  _readers(graph), any(sum(name not in known for name in node.input) > 1 for node in graph.node))
    others = {info.name: _add_input(state, info, size) for info in inputs[1:]}
    state.builder.spare += FACTOR * sum(array.size for array in known.values())
    needed = _needed(graph)
    for proto in graph.node:
        if any(name in needed for name in proto.output):
            _step(Node(proto, state))
    for node in graph.node:
        for name in node.output:
            if name in state.values:
                _finish(Node(node, state), [name] if any(name == output.name for output in graph.output) else [])
    outputs = {output.name: _output(state, output.name) for output in graph.output}
    scores = {node.input[0]: state.values[node.input[0]].blob for node in graph.node
              if node.op_type == 'Softmax' and node.output and node.output[0] in outputs}
    return ImportedGraph(state.builder, entry, axes[1] != (1,), others, outputs, scores)


def _step(node: Node) -> None:
    """Compute a node, or add its layers, and note its outputs; its errors name it."""
    name = node.proto.name or node.outputs[0]
    with sensible(f'cannot import node {name} ({node.kind})', 'its attributes or constants'):
        _convert(node)


def _convert(node: Node) -> None:
    state = node.state
    if node.proto.domain not in ('', 'ai.onnx'):
        raise BadInput(f'an operator of {node.proto.domain}, not of ONNX itself')
    again = next((name for name in node.outputs if name and (name in state.known or name in state.values)), None)
    if again is not None:
        raise BadInput(f'its output {again!r} is already there')
    if node.kind == 'Shape' and node.given(0) and node.inputs[0] in state.values:
        shape = state.values[node.inputs[0]].padded_shape
        state.known[node.outputs[0]] = np.array(shape, np.int64)[node.attribute('start', 0):
                                                                 node.attribute('end', None)]
        state.origins[node.outputs[0]] = (node.inputs[0],)
    elif all(not name or name in state.known for name in node.inputs):
        state.known |= compute(node)
        origins = tuple(dict.fromkeys(o for name in node.inputs for o in state.origins.get(name, ())))
        state.origins |= dict.fromkeys(node.outputs, origins) if origins else {}
    elif node.kind not in OPERATORS:
        raise BadInput('Caffe has no such layer')
    else:
        for name in node.inputs:
            if name and name not in state.known and name not in state.values:
                raise BadInput(f'its input {name!r} comes from no node before it')
        if node.kind != 'Slice':            # which may cut the other axis as well
            _finish(node, node.inputs)
        made = OPERATORS[node.kind](node)
        tops = made if isinstance(made, list) else [made]
        if any(len(top.axes) > MOST_AXES for top in tops):
            raise BadInput(f'more than {MOST_AXES} axes')
        state.values |= dict(zip(node.outputs, tops, strict=False))


def _finish(node: Node, names: Sequence[str]) -> None:
    """Add the Crops of values that are cut along one axis alone."""
    values = node.state.values
    for name in names:
        if name in values and values[name].cut:
            values[name] = finish_cut(node, values[name])


def _add_input(state: State, info: Any, size: tuple[int, int] | None) -> str:
    """A further input; its blob."""
    shape, axes = _input_form(info, size, None)
    if axes != MAP:
        raise BadInput(f'its input {info.name!r} has the channels last, beside another input')
    blob = state.builder.add_input(info.name, shape)
    state.values[info.name] = Value(blob, shape, axes)
    return blob


def _output(state: State, name: str) -> str:
    """The blob of an output, which has the output's numbers in the same order."""
    if name not in state.values:
        raise BadInput(f'output {name!r} does not depend on the image')
    value = state.values[name]
    order = [a for axis in value.axes for a in axis if value.dims[a] > 1]
    if order != sorted(order) or any(value.pad):
        raise BadInput(f'output {name!r} is a map in another order than channels, height, width')
    return value.blob


def _readers(graph: Any) -> dict[str, int]:
    readers: dict[str, int] = {}
    for name in [name for node in graph.node for name in node.input] + [output.name for output in graph.output]:
        readers[name] = readers.get(name, 0) + 1
    return readers


def _needed(graph: Any) -> set[str]:
    """The values that the outputs depend on."""
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
    return needed


def _channels_last(graph: Any, entry: str) -> bool | None:
    """Whether the first convolution gets the image with its last axis moved to the front; None if that is not clear."""
    makers = {name: node for node in graph.node for name in node.output}
    first = next((node for node in graph.node if node.op_type == 'Conv'), None)
    moved, name = False, first.input[0] if first and first.input else ''
    for _ in range(len(graph.node)):
        if name == entry:
            return moved
        node = makers.get(name)
        if node is None or not node.input:
            break
        moved ^= node.op_type == 'Transpose' and attribute(node, 'perm', None) == [0, 3, 1, 2]
        name = next((i for i in node.input if i == entry or i in makers), '')
    return None


def _input_form(info: Any, size: tuple[int, int] | None, last: bool | None) -> tuple[tuple[int, ...], Axes]:
    """N, C, H, W of the input, and the order in which the graph has them."""
    dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise BadInput(f'its input {info.name!r} has {len(dims)} axes; a batch of images has 4')
    if last is None:
        last = dims[3] in (1, 3, 4) and dims[1] not in (1, 3, 4)
    n, c, h, w = (dims[0], dims[3], dims[1], dims[2]) if last else dims
    h, w = size or (h, w)
    if h < 1 or w < 1:
        raise BadInput('the model does not say how large its images are: give it with --size HEIGHTxWIDTH')
    if c < 1:
        raise BadInput('the model does not say how many channels its images have')
    return (max(n, 1), c, h, w), CHANNELS_LAST if last else MAP
