"""An ONNX classifier as a Caffe net.

Each value of the graph is either known (a constant, or computed from constants and shapes) or lies in a Caffe blob,
N x C x H x W. Transposing and reshaping such a value moves no numbers in the blob: what changes is which of the blob's
axes the value's axes are made of, and that is all that is kept (`Value.axes`). So channels-last exports come out in
Caffe's order, and a flattened map's order goes into the weights of the layer that reads it.
"""
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from ..builder import Builder
from ..caffemodel import by

LARGEST = 2 ** 28               # numbers in a constant that a graph may compute
MAP = ((0,), (1,), (2,), (3,))  # the axes of a value that is the blob as it is
FOLDED = ('Constant', 'ConstantOfShape', 'Gather', 'Slice', 'Concat', 'Cast', 'Unsqueeze', 'Squeeze', 'Reshape',
          'Transpose', 'Add', 'Sub', 'Mul', 'Div', 'Sqrt', 'Identity', 'Neg', 'Pow', 'Reciprocal', 'ReduceProd',
          'Equal', 'Where', 'Expand', 'Range', 'Floor', 'Ceil', 'Min', 'Max', 'Exp', 'ReduceSum', 'ReduceMin',
          'ReduceMax')


class Value(NamedTuple):
    """A value of the graph that lies in a blob.

    Attributes
    ----------
    blob : str
        The Caffe blob.
    dims : tuple of int
        Its N, C, H, W.
    axes : tuple of tuple of int
        For each axis of the value, the blob's axes it runs over, slowest first.
    pad : tuple of int
        Zeros around it that no layer has added yet: top, left, bottom, right.
    """

    blob: str
    dims: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape as the graph has it, without the padding."""
        return tuple(math.prod(self.dims[a] for a in axis) for axis in self.axes)

    def runs_over(self, axis: int) -> tuple[int, ...]:
        """The blob's axes longer than 1 that an axis of the value runs over."""
        return tuple(a for a in self.axes[axis] if self.dims[a] > 1)


Known = np.ndarray
Graph = Any


def load(path: str | os.PathLike) -> Any:
    """Parse an ONNX file, with weights kept in files beside it; nothing outside its folder is read."""
    import onnx
    from google.protobuf.message import DecodeError
    path = Path(path)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the model: {problem.strerror}') from None
    except (DecodeError, ValueError, RecursionError):
        raise BadInput(f'{path}: not an ONNX model, or a damaged one; fetch or export it again') from None
    if not model.graph.node:
        raise BadInput(f'{path}: not an ONNX model: there is no graph in it')
    for tensor in model.graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            _load_external(path, tensor)
    return model


def _load_external(path: Path, tensor: Any) -> None:
    facts = {entry.key: entry.value for entry in tensor.external_data}
    name = facts.get('location', '')
    file = path.parent / name
    if not name or Path(name).is_absolute() or '..' in Path(name).parts or file.is_symlink() or not file.is_file():
        raise BadInput(f'{path}: keeps {tensor.name} in {name!r}, which is no file beside it')
    try:
        offset, length = int(facts.get('offset', 0)), int(facts.get('length', file.stat().st_size))
        with open(file, 'rb') as data:
            data.seek(offset)
            tensor.raw_data = data.read(length) if 0 <= length <= file.stat().st_size else b''
    except (OSError, ValueError):
        raise BadInput(f'{path}: cannot read {tensor.name} from {name!r}') from None
    tensor.ClearField('external_data')
    tensor.data_location = tensor.DEFAULT


class Importer:
    """Goes through a graph and adds a layer for each of its nodes to a `Builder`."""

    def __init__(self, model: Any, size: tuple[int, int] | None = None) -> None:
        graph = model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')), 13)
        self.known: dict[str, Known] = {}
        for tensor in graph.initializer:
            self.known[tensor.name] = _array(tensor)
        inputs = [i for i in graph.input if i.name not in self.known]
        if len(inputs) != 1:
            raise BadInput(f'the graph has {len(inputs)} inputs; a classifier has one')
        self.input = inputs[0].name
        shape, axes = _input_form(inputs[0], size, _channels_last(graph, self.input))
        self.builder = Builder(graph.name or 'imported', shape)
        self.values = {self.input: Value('data', shape, axes)}
        self.readers: dict[str, int] = {}
        for node in graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1
        for output in graph.output:
            self.readers[output.name] = self.readers.get(output.name, 0) + 1
        self.branches = any(sum(name not in self.known for name in node.input) > 1 for node in graph.node)
        needed = _needed(graph)
        for node in graph.node:
            if any(name in needed for name in node.output):
                self._node(node)
        self.outputs = {o.name: self._output(o.name) for o in graph.output}
        self.scores = {node.input[0]: self.values[node.input[0]] for node in graph.node
                       if node.op_type == 'Softmax' and node.output[0] in self.outputs}

    def _node(self, node: Any) -> None:
        known = [self.known[name] if name else None for name in node.input if not name or name in self.known]
        try:
            if node.domain not in ('', 'ai.onnx'):
                raise BadInput(f'an operator of {node.domain}')
            if node.op_type == 'Shape' and node.input[0] in self.values:
                value = self.values[node.input[0]]
                self.known[node.output[0]] = np.array(_padded(value), np.int64)[_attribute(node, 'start', 0):
                                                                               _attribute(node, 'end', None)]
            elif len(known) == len(node.input):
                self._fold(node)
            elif node.op_type not in OPERATORS:
                raise BadInput('there is no such layer in Caffe')
            else:
                for name in node.input:
                    if name and name not in self.known and name not in self.values:
                        raise BadInput(f'its input {name!r} comes from no node before it')
                made = OPERATORS[node.op_type](self, node)
                self.values |= dict(zip(node.output, made if isinstance(made, list) else [made], strict=False))
        except BadInput as problem:
            raise BadInput(f'cannot import node {node.name or node.output[0]} ({node.op_type}): {problem}') from None

    def _fold(self, node: Any) -> None:
        """Compute a node whose inputs are all known."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator
        if node.op_type not in FOLDED:
            raise BadInput('it computes a constant in a way that is not known here')
        inputs = {name: self.known[name] for name in node.input if name}
        for value in inputs.values():
            if node.op_type in ('ConstantOfShape', 'Expand', 'Reshape', 'Range') and value.dtype.kind in 'iu' \
                    and value.size < 16 and math.prod(max(1, int(v)) for v in value.ravel()) > LARGEST:
                raise BadInput('it computes a constant that is too large')
        make = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
                for n, v in inputs.items()]
        graph = helper.make_graph([node], 'one', make, [helper.make_empty_tensor_value_info(n) for n in node.output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', self.opset)])
        try:
            results = ReferenceEvaluator(model).run(None, inputs)
        except Exception as problem:        # numpy's and onnx's own complaints about a graph that makes no sense
            raise BadInput(f'it cannot be computed: {type(problem).__name__}: {str(problem)[:100]}') from None
        self.known |= dict(zip(node.output, map(np.asarray, results), strict=True))

    def _output(self, name: str) -> Value:
        if name not in self.values:
            raise BadInput(f'output {name!r} is not made from the input')
        value = self.values[name]
        order = [a for axis in value.axes for a in axis if value.dims[a] > 1]
        if order != sorted(order) or any(value.pad):
            raise BadInput(f'output {name!r} is a map in another order than channels, height, width')
        return value

    # what operators ask for

    def value(self, node: Any, i: int = 0) -> Value:
        """An input that lies in a blob."""
        if node.input[i] not in self.values:
            raise BadInput(f'its input {i} must depend on the image')
        value = self.values[node.input[i]]
        if len(value.dims) != 4 and node.op_type not in ('Reshape', 'Transpose'):
            raise BadInput('its input has its channels in two axes')
        return value

    def array(self, node: Any, i: int, default: Any = None) -> Known:
        """An input that must be known."""
        if i >= len(node.input) or not node.input[i]:
            if default is None:
                raise BadInput(f'it lacks input {i}')
            return np.asarray(default)
        if node.input[i] not in self.known:
            raise BadInput(f'its input {i} depends on the image')
        return self.known[node.input[i]]

    def map(self, node: Any, i: int = 0, pad: bool = False) -> Value:
        """An input that is a map in Caffe's order."""
        value = self.value(node, i)
        if len(value.axes) != 4 or any(value.runs_over(a) != tuple(x for x in (a,) if value.dims[x] > 1)
                                       for a in range(4)):
            raise BadInput(f'its input is {by(value.shape)}, not a map with the channels first')
        if any(value.pad) and not pad:
            raise BadInput('its input is padded, which only convolutions and poolings can do')
        if len(self.builder.shapes[value.blob]) == 2:           # N x C, after an inner product
            top = self.builder.add('Reshape', f'{value.blob}_map', [value.blob], shape=(0, 0, 1, 1))
            return value._replace(blob=top)
        return value

    def add(self, node: Any, kind: str, bottoms: Sequence[Value], blobs: Sequence[np.ndarray] = (), name: str = '',
            axes: tuple[tuple[int, ...], ...] | None = None, **params: Any) -> Value:
        """A layer for a node; its top has the axes of the first bottom unless told otherwise."""
        if kind not in ('Convolution', 'Pooling') and any(any(v.pad) for v in bottoms):
            raise BadInput('its input is padded, which only convolutions and poolings can do')
        top = self.builder.add(kind, name or self.name(node), [v.blob for v in bottoms], blobs, **params)
        shape = self.builder.shapes[top]
        return Value(top, (*shape, *[1] * (4 - len(shape))), bottoms[0].axes if axes is None else axes)

    def name(self, node: Any) -> str:
        """A node's weights tell best what it is called; then its own name."""
        for name in node.input[1:]:
            if name in self.known and name.endswith(('.weight', '.bias', '.running_mean')):
                return name.rpartition('.')[0]
        return node.name.strip('/') or f'{node.op_type.lower()}_{node.output[0]}'


def _array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as problem:            # a damaged tensor: lengths that do not fit, unknown types
        raise BadInput(f'constant {tensor.name!r} is damaged: {str(problem)[:100]}') from None
    return array.astype(np.float32) if array.dtype.kind == 'f' or array.dtype.name == 'bfloat16' else array


def _channels_last(graph: Any, entry: str) -> bool | None:
    """Whether the first convolution gets the image with its last axis moved to the front; None if there is none."""
    makers = {name: node for node in graph.node for name in node.output}
    first = next((node for node in graph.node if node.op_type == 'Conv'), None)
    moved, name = False, first.input[0] if first and first.input else ''
    for _ in range(len(graph.node)):
        if name == entry:
            return moved
        node = makers.get(name)
        if node is None or not node.input:
            break
        moved ^= node.op_type == 'Transpose' and list(_attribute(node, 'perm', [])) == [0, 3, 1, 2]
        name = next((i for i in node.input if i == entry or i in makers), '')
    return None


def _input_form(info: Any, size: tuple[int, int] | None,
                last: bool | None) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """N, C, H, W of the input, and the order in which the graph has them."""
    dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise BadInput(f'its input {info.name!r} has {len(dims)} axes; images have four')
    if last is None:
        last = dims[3] in (1, 3, 4) and dims[1] not in (1, 3, 4)
    n, c, h, w = (dims[0], dims[3], dims[1], dims[2]) if last else dims
    h, w = size or (h, w)
    if h < 1 or w < 1:
        raise BadInput('the model does not say how large its images are: give it with --size HEIGHTxWIDTH')
    if c < 1:
        raise BadInput('the model does not say how many channels its images have')
    return (max(n, 1), c, h, w), ((0,), (2,), (3,), (1,)) if last else MAP


def _needed(graph: Any) -> set[str]:
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
    return needed


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _padded(value: Value) -> list[int]:
    more = (0, 0, value.pad[0] + value.pad[2], value.pad[1] + value.pad[3])
    return [math.prod(value.dims[a] + more[a] for a in axis) for axis in value.axes]


# ------------------------------------------------------------------------------------------------- convolution

def _pads(node: Any, value: Value, kernel: Sequence[int], stride: Sequence[int],
          dilation: Sequence[int]) -> tuple[list[int], list[int]]:
    """Zeros before and after, (y, x), those of a Pad node before this one included."""
    auto = _attribute(node, 'auto_pad', 'NOTSET')
    pads = list(_attribute(node, 'pads', [0] * 4))
    if auto in ('SAME_UPPER', 'SAME_LOWER'):
        before, after = [], []
        for n, k, s, d in zip(value.dims[2:], kernel, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            small, large = total // 2, total - total // 2
            before.append(small if auto == 'SAME_UPPER' else large)
            after.append(large if auto == 'SAME_UPPER' else small)
        pads = before + after
    if len(pads) != 4 or min(pads) < 0:
        raise BadInput(f'padding {pads} of a map')
    return ([a + b for a, b in zip(pads[:2], value.pad[:2], strict=True)],
            [a + b for a, b in zip(pads[2:], value.pad[2:], strict=True)])


def _conv(of: Importer, node: Any) -> Value:
    value, weights = of.map(node, pad=True), of.array(node, 1)
    if weights.ndim != 4:
        raise BadInput(f'weights {by(weights.shape)} of no image convolution')
    stride, dilation = (list(_attribute(node, key, [1, 1])) for key in ('strides', 'dilations'))
    before, after = _pads(node, value, weights.shape[2:], stride, dilation)
    if before != after:
        # Caffe pads both sides alike: pad by the larger, and let rows of zeros in the kernel stand on the surplus
        if dilation != [1, 1]:
            raise BadInput(f'dilated, with padding {before} before and {after} after')
        both = [max(a, b) for a, b in zip(before, after, strict=True)]
        weights = np.pad(weights, [(0, 0), (0, 0)] + [(p - a, p - b) for p, a, b in
                                                       zip(both, before, after, strict=True)])
        before = both
    blobs = [weights] + ([of.array(node, 2).reshape(-1)] if len(node.input) > 2 and node.input[2] else [])
    return of.add(node, 'Convolution', [value], blobs, axes=MAP, num_output=weights.shape[0],
                  **_pair('kernel', weights.shape[2:]), **_pair('pad', before), **_pair('stride', stride),
                  dilation=_same(dilation) if dilation != [1, 1] else [], bias_term=None if len(blobs) > 1 else False,
                  group=_attribute(node, 'group', 1) if _attribute(node, 'group', 1) > 1 else None)


def _pair(stem: str, values: Sequence[int], repeated: bool = True) -> dict[str, Any]:
    """A window's field: one number where both axes agree, `_h` and `_w` otherwise; none where it is the default."""
    whole = 'kernel_size' if stem == 'kernel' else stem
    values = [int(v) for v in values]
    if values == ([0, 0] if stem == 'pad' else [1, 1] if stem == 'stride' else None):
        return {}
    if values[0] == values[1]:
        return {whole: [values[0]] if repeated else values[0]}
    return {f'{stem}_h': values[0], f'{stem}_w': values[1]}


def _same(values: Sequence[int]) -> list[int]:
    return [int(v) for v in (values[:1] if values[0] == values[1] else values)]


# ----------------------------------------------------------------------------------------------------- pooling

def _pool(of: Importer, node: Any) -> Value:
    value = of.map(node, pad=True)
    kernel = list(_attribute(node, 'kernel_shape', []))
    stride, dilation = (list(_attribute(node, key, [1, 1])) for key in ('strides', 'dilations'))
    if len(kernel) != 2 or dilation != [1, 1] or len(node.output) > 1:
        raise BadInput('a pooling that Caffe does not have')
    before, after = _pads(node, value, kernel, stride, dilation)
    ceil = _attribute(node, 'ceil_mode', 0)
    if any(value.pad) and (ceil or not _nonnegative(of, value.blob) and node.op_type == 'MaxPool'):
        raise BadInput('a padding with zeros before it that is not the padding of a pooling')
    size = []
    for n, k, s, a, b in zip(value.dims[2:], kernel, stride, before, after, strict=True):
        steps = n + a + b - k
        count = (-(-steps // s) if ceil else steps // s) + 1
        size.append(count - 1 if ceil and (count - 1) * s >= n + a else count)
    average = node.op_type == 'AveragePool'
    include = _attribute(node, 'count_include_pad', 0) or any(value.pad)
    if average and include and before != after or any(value.pad) and not include:
        raise BadInput(f'it averages with padding {before} before and {after} after, which Caffe counts otherwise')
    if any(k <= p for k, p in zip(kernel, before, strict=True)):
        raise BadInput(f'padding {before} as wide as its window {kernel}')
    whole = list(value.dims[2:])
    if size == [1, 1] and all(k - p >= n for k, p, n in zip(kernel, before, whole, strict=True)) and not (
            average and include and (any(before) or any(after))):
        kernel, stride, before = whole, [1, 1], [0, 0]              # the whole map, and none of the padding
    floor = _rounding(value, kernel, stride, before, size, prefer_floor=of.branches and not ceil)
    params = {'pool': 1 if average else 0, **_pair('kernel', kernel, False), **_pair('stride', stride, False),
              **_pair('pad', before, False), 'round_mode': 1 if floor else None}
    pooled = of.add(node, 'Pooling', [value], axes=MAP, **params)
    return pooled if not average or include or not any(before) else _without_padding(of, node, value, pooled, params)


def _without_padding(of: Importer, node: Any, value: Value, pooled: Value, params: dict[str, Any]) -> Value:
    """An average that leaves the padding out: Caffe's own, over what it makes of a map of ones."""
    name = of.name(node)
    ones = of.add(node, 'Power', [value], name=f'{name}_ones', scale=0.0, shift=1.0)
    share = of.add(node, 'Pooling', [ones], name=f'{name}_share', axes=MAP, **params)
    inverse = of.add(node, 'Power', [share], name=f'{name}_inverse', power=-1.0)
    return of.add(node, 'Eltwise', [pooled, inverse], name=f'{name}_inside', operation=0)


def _rounding(value: Value, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int],
              size: Sequence[int], prefer_floor: bool) -> bool:
    """Whether Caffe must round down to get the sizes of the graph; it rounds up by default.

    Where both give the same size, branches of a graph that rounds down must do so at all sizes to meet again.
    """
    results = []
    for floor in (prefer_floor, not prefer_floor):
        got = []
        for n, k, s, p in zip(value.dims[2:], kernel, stride, pad, strict=True):
            steps = n + 2 * p - k
            count = (steps // s if floor else -(-steps // s)) + 1
            got.append(count - 1 if any(pad) and (count - 1) * s >= n + p else count)
        if got == list(size):
            return floor
        results.append(got)
    raise BadInput(f'a {by(value.dims[2:])} map becomes {by(size)} in the model, {by(results[0])} or {by(results[1])} '
                   'in Caffe')


def _nonnegative(of: Importer, blob: str) -> bool:
    """Whether padding with zeros is no different from leaving the padding out of a maximum."""
    layer = of.builder.layer(blob)
    if layer.type in ('Pooling', 'Dropout', 'Concat', 'Eltwise') and layer.bottom[0] != 'data':
        return all(_nonnegative(of, name) for name in layer.bottom) and not layer.eltwise_param.coeff
    return layer.type in ('ReLU', 'Sigmoid', 'Softmax') and not layer.relu_param.negative_slope


def _global_pool(of: Importer, node: Any) -> Value:
    return of.add(node, 'Pooling', [of.map(node)], axes=MAP, pool=0 if node.op_type == 'GlobalMaxPool' else 1,
                  global_pooling=True)


def _reduce(of: Importer, node: Any) -> Value:
    value = of.value(node)
    axes = _attribute(node, 'axes', None)
    if axes is None:
        axes = of.array(node, 1, [2, 3]).ravel().tolist()
    over = sorted(a % len(value.axes) for a in axes)
    covered = sorted(b for a in over for b in value.runs_over(a))
    if covered != [b for b in (2, 3) if value.dims[b] > 1]:
        raise BadInput(f'it reduces axes {axes} of {by(value.shape)}, not height and width')
    keep = _attribute(node, 'keepdims', 1)
    kept = tuple(axis for i, axis in enumerate(value.axes) if keep or i not in over)
    return of.add(node, 'Pooling', [value], axes=kept, pool=0 if node.op_type == 'ReduceMax' else 1,
                  global_pooling=True)


# ------------------------------------------------------------------------------------------- fully connected

def _gemm(of: Importer, node: Any) -> Value:
    if _attribute(node, 'transA', 0):
        raise BadInput('transA')
    weights = of.array(node, 1)
    if weights.ndim != 2:
        raise BadInput(f'weights {by(weights.shape)}')
    matrix = (weights.T if _attribute(node, 'transB', 0) else weights) * np.float32(_attribute(node, 'alpha', 1.0))
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = of.array(node, 2).reshape(-1) * np.float32(_attribute(node, 'beta', 1.0))
        if bias.size not in (1, matrix.shape[1]):
            raise BadInput('a bias for every image')
        bias = np.broadcast_to(bias, matrix.shape[1])
    return _connected(of, node, of.value(node), matrix, bias)


def _matmul(of: Importer, node: Any) -> Value:
    weights = of.array(node, 1)
    if weights.ndim != 2:
        raise BadInput(f'weights {by(weights.shape)}')
    return _connected(of, node, of.value(node), weights, None)


def _connected(of: Importer, node: Any, value: Value, matrix: np.ndarray, bias: np.ndarray | None) -> Value:
    """An inner product of a value's last axis, the weights in the order of the blob."""
    last = len(value.axes) - 1
    order = value.runs_over(last)
    left = [a for i in range(1, last) for a in value.runs_over(i)]
    if last < 1 or value.shape[last] != len(matrix):
        raise BadInput(f'{by(matrix.shape)} weights on {by(value.shape)}')
    sizes = [value.dims[a] for a in order] or [1]
    rows = matrix.reshape(*sizes, matrix.shape[1])
    rows = rows.transpose(*np.argsort(order).tolist(), len(sizes)) if order else rows
    weights = rows.reshape(len(matrix), -1).T
    blobs = [weights] + ([bias] if bias is not None else [])
    has_bias = None if bias is not None else False
    if left:
        if order not in ((1,), ()) or sorted(left) != [a for a in (2, 3) if value.dims[a] > 1]:
            raise BadInput(f'it works on each of the positions of {by(value.shape)}')
        return of.add(node, 'Convolution', [value], [weights[:, :, None, None], *blobs[1:]],
                      num_output=weights.shape[0], kernel_size=[1], bias_term=has_bias)
    if {a for i in range(1, 4) for a in ([i] if value.dims[i] > 1 else [])} != set(order):
        raise BadInput(f'it does not work on all of {by(value.dims)}')
    axes = (*value.axes[:1], *[()] * (last - 1), (1,))
    return of.add(node, 'InnerProduct', [value], blobs, axes=axes, num_output=weights.shape[0], bias_term=has_bias)


# ------------------------------------------------------------------------------------------------- arithmetic

def _arithmetic(of: Importer, node: Any) -> Value:
    if all(name in of.values for name in node.input):
        return _of_two(of, node)
    first = node.input[0] in of.values
    value, array = of.value(node, 0 if first else 1), of.array(node, 1 if first else 0).astype(np.float32)
    kind = node.op_type
    with np.errstate(divide='ignore'):
        if kind == 'Div' and first:
            return _affine(of, node, value, 1 / array, None)
        if kind == 'Div':
            raise BadInput('it divides by a map')
        if kind == 'Mul':
            return _affine(of, node, value, array, None)
        if kind == 'Sub':
            return _affine(of, node, value, None, -array) if first else _affine(
                of, node, of.add(node, 'Power', [value], scale=-1.0), None, array)
        return _affine(of, node, value, None, array)


def _affine(of: Importer, node: Any, value: Value, factor: np.ndarray | None, shift: np.ndarray | None) -> Value:
    """A value times and plus something known: one number, one a channel, or one for each of its numbers."""
    array = factor if factor is not None else shift
    assert array is not None
    array = array.reshape((1,) * (len(value.axes) - array.ndim) + array.shape)
    if np.broadcast_shapes(array.shape, value.shape) != value.shape:
        raise BadInput(f'{by(array.shape)} does not go with {by(value.shape)}')
    if not np.isfinite(array).all():
        raise BadInput('it divides by zero')
    along = [i for i in range(len(value.axes)) if array.shape[i] > 1]
    if not along:
        number = float(array.ravel()[0])
        return of.add(node, 'Power', [value], scale=number if factor is not None else None,
                      shift=number if shift is not None else None)
    runs = [a for i in along for a in value.runs_over(i)]
    if 0 in along:
        raise BadInput('it differs between the images of a batch')
    numbers = array.reshape([value.dims[a] for a in runs])
    if runs != [1]:
        if sorted(runs) != [a for a in (1, 2, 3) if value.dims[a] > 1]:
            raise BadInput(f'{by(array.shape)} on {by(value.shape)}: neither one number a channel nor one each')
        numbers = numbers.transpose(np.argsort(runs))
    if shift is not None and _take_bias(of, node, value, numbers):
        return value
    shape = of.builder.shapes[value.blob][1:] if runs != [1] else numbers.shape
    params: dict[str, Any] = {'num_axes': len(shape)} if runs != [1] else {}
    if factor is not None:
        return of.add(node, 'Scale', [value], [numbers.reshape(shape)], **params)
    return of.add(node, 'Bias', [value], [numbers.reshape(shape)], **params)


def _take_bias(of: Importer, node: Any, value: Value, numbers: np.ndarray) -> bool:
    """Let the layer that made a value add the bias, where it has none and nobody else reads it."""
    names = [name for name, other in of.values.items() if other.blob == value.blob]
    if value.blob == 'data' or any(of.readers[name] > 1 for name in names) or any(value.pad):
        return False
    layer = of.builder.layer(value.blob)
    blobs = of.builder.weights.get(layer.name, [])
    message = {'Convolution': 'convolution_param', 'InnerProduct': 'inner_product_param'}.get(layer.type)
    if message and not getattr(layer, message).bias_term and len(blobs) == 1 and numbers.size == blobs[0].shape[0]:
        getattr(layer, message).ClearField('bias_term')
    elif layer.type == 'Scale' and len(layer.bottom) == 1 and len(blobs) == 1 and blobs[0].size == numbers.size:
        layer.scale_param.bias_term = True
    else:
        return False
    blobs.append(np.ascontiguousarray(numbers, np.float32).reshape(blobs[0].shape if layer.type == 'Scale' else -1))
    return True


def _of_two(of: Importer, node: Any) -> Value:
    values = [of.value(node, i) for i in range(len(node.input))]
    kind = node.op_type
    if kind == 'Mul' and len(values) == 2:
        gate, value = sorted(values, key=lambda v: math.prod(v.dims))
        if gate.dims != value.dims:
            return _gate(of, node, value, gate)
    runs = [[v.runs_over(i) for i in range(len(v.axes))] for v in values]
    if len({v.dims for v in values}) > 1 or any(r != runs[0] for r in runs):
        raise BadInput(f'its inputs differ: {" and ".join(by(v.shape) for v in values)}')
    operation = {'Mul': 0, 'Add': 1, 'Sum': 1, 'Sub': 1, 'Max': 2}.get(kind)
    if operation is None:
        raise BadInput('Caffe cannot do that to two maps')
    return of.add(node, 'Eltwise', values, operation=operation if operation != 1 or kind == 'Sub' else None,
                  coeff=[1.0, -1.0] if kind == 'Sub' else [])


def _gate(of: Importer, node: Any, value: Value, gate: Value) -> Value:
    """A map times one number a channel, each computed from the image."""
    if gate.dims != (*value.dims[:2], 1, 1):
        raise BadInput(f'its inputs differ: {by(value.shape)} and {by(gate.shape)}')
    flat = gate
    if len(of.builder.shapes[gate.blob]) == 4:
        flat = of.add(node, 'Flatten', [gate], name=f'{of.name(node)}_gate')
    return of.add(node, 'Scale', [value, flat], axis=0)


def _batch_norm(of: Importer, node: Any) -> Value:
    value = of.value(node)
    if _attribute(node, 'training_mode', 0):
        raise BadInput('it is in training mode')
    gamma, beta, mean, variance = (of.array(node, i).astype(np.float64) for i in (1, 2, 3, 4))
    epsilon = _attribute(node, 'epsilon', 1e-5)
    if value.runs_over(1) not in ((1,), ()) or gamma.shape != (value.dims[1],):
        factor = gamma / np.sqrt(variance + epsilon)                   # of a flattened map: one for each number
        shape = (-1, *[1] * (len(value.axes) - 2))
        scaled = _affine(of, node, value, factor.reshape(shape), None)
        return _affine(of, node, scaled, None, (beta - mean * factor).reshape(shape))
    name = of.name(node)
    normal = of.add(node, 'BatchNorm', [value], [mean, variance, np.ones(1)], name=name, eps=epsilon)
    layer = of.builder.layer(normal.blob)
    for _ in range(3):
        layer.param.add(lr_mult=0, decay_mult=0)
    return of.add(node, 'Scale', [normal], [gamma, beta], name=f'{name}_scale', bias_term=True)


# ------------------------------------------------------------------------------------------------ activations

def _relu(of: Importer, node: Any) -> Value:
    slope = _attribute(node, 'alpha', 0.01) if node.op_type == 'LeakyRelu' else None
    return of.add(node, 'ReLU', [of.value(node)], negative_slope=slope)


def _clip(of: Importer, node: Any) -> Value:
    value = of.value(node)
    low = float(_attribute(node, 'min', of.array(node, 1, -np.inf)))
    high = float(_attribute(node, 'max', of.array(node, 2, np.inf)))
    if low == 0 and high > 3e38:
        return of.add(node, 'ReLU', [value])
    if low > high:
        raise BadInput(f'from {low} to {high}')
    limit = float(np.finfo(np.float32).max)
    return of.add(node, 'Clip', [value], min=max(low, -limit), max=min(high, limit))


def _prelu(of: Importer, node: Any) -> Value:
    value, slope = of.value(node), of.array(node, 1)
    if slope.size == 1:
        return of.add(node, 'PReLU', [value], [slope.reshape(())], channel_shared=True)
    if value.runs_over(1) != (1,) or slope.size != value.dims[1] or slope.shape[0] not in (1, slope.size):
        raise BadInput(f'{by(slope.shape)} slopes for {by(value.shape)}')
    return of.add(node, 'PReLU', [value], [slope.reshape(-1)])


def _simple(kind: str, **params: Any) -> Callable[[Importer, Any], Value]:
    return lambda of, node: of.add(node, kind, [of.value(node)], **params)


def _elu(of: Importer, node: Any) -> Value:
    return of.add(node, 'ELU', [of.value(node)], alpha=_attribute(node, 'alpha', 1.0))


def _hard_sigmoid(of: Importer, node: Any) -> Value:
    hard = node.op_type == 'HardSwish'
    scale = 1 / 6 if hard else _attribute(node, 'alpha', 0.2)
    shift = 0.5 if hard else _attribute(node, 'beta', 0.5)
    value = of.value(node)
    line = of.add(node, 'Power', [value], name=f'{of.name(node)}_line', scale=scale, shift=shift)
    gate = of.add(node, 'Clip', [line], min=0.0, max=1.0)
    return of.add(node, 'Eltwise', [value, gate], operation=0) if hard else gate


def _pow(of: Importer, node: Any) -> Value:
    power = of.array(node, 1)
    if power.size != 1:
        raise BadInput('a power for each number')
    return of.add(node, 'Power', [of.value(node)], power=float(power.ravel()[0]))


def _dropout(of: Importer, node: Any) -> Value:
    ratio = float(_attribute(node, 'ratio', of.array(node, 1, 0.5)))
    if not 0 < ratio < 1:
        return of.value(node)
    return of.add(node, 'Dropout', [of.value(node)], dropout_ratio=ratio)


def _softmax(of: Importer, node: Any) -> Value:
    value = of.value(node)
    axis = _attribute(node, 'axis', 1 if of.opset < 13 else -1)
    if not -len(value.axes) <= axis < len(value.axes):
        raise BadInput(f'axis {axis} of {by(value.shape)}')
    axis %= len(value.axes)
    over = range(axis, len(value.axes)) if of.opset < 13 else [axis]
    if [a for i in over for a in value.runs_over(i)] != [1]:
        raise BadInput(f'along axis {axis} of {by(value.shape)}, not along channels')
    top = of.add(node, 'Softmax', [value])
    return of.add(node, 'Log', [top], name=f'{of.name(node)}_log') if node.op_type == 'LogSoftmax' else top


def _lrn(of: Importer, node: Any) -> Value:
    return of.add(node, 'LRN', [of.map(node)], local_size=_attribute(node, 'size', 5),
                  alpha=_attribute(node, 'alpha', 1e-4), beta=_attribute(node, 'beta', 0.75),
                  k=_attribute(node, 'bias', 1.0))


# ------------------------------------------------------------------------------------------------------ layout

def _identity(of: Importer, node: Any) -> Value:
    return of.value(node)


def _transpose(of: Importer, node: Any) -> Value:
    value = of.value(node)
    perm = list(_attribute(node, 'perm', range(len(value.axes))[::-1]))
    if sorted(perm) != list(range(len(value.axes))) or perm[0] != 0:
        raise BadInput(f'{perm} moves the batch')
    return value._replace(axes=tuple(value.axes[i] for i in perm))


def _flatten(of: Importer, node: Any) -> Value:
    value = of.value(node)
    if _attribute(node, 'axis', 1) != 1:
        raise BadInput(f'axis {_attribute(node, "axis", 1)}')
    return _reshaped(value, (value.dims[0], math.prod(value.shape[1:])))


def _reshape(of: Importer, node: Any) -> Value:
    value, target = of.value(node), of.array(node, 1).ravel().tolist()
    if not _attribute(node, 'allowzero', 0):
        target = [value.shape[i] if d == 0 and i < len(value.shape) else d for i, d in enumerate(target)]
    rest = math.prod(d for d in target if d != -1)
    total = math.prod(value.shape)
    if target.count(-1) == 1 and rest > 0 and total % rest == 0:
        target[target.index(-1)] = total // rest
    if value.axes == MAP and len(target) == 5 and (target[0], *target[3:]) == (value.dims[0], *value.dims[2:]) \
            and target[1] * target[2] == value.dims[1]:
        return value._replace(dims=tuple(target), axes=tuple((i,) for i in range(5)))
    made = _reshaped(value, tuple(target))
    return _shuffled(of, node, made) if len(made.dims) == 5 else made


def _shuffled(of: Importer, node: Any, value: Value) -> Value:
    """Channels that a graph splits into two axes, swaps, and joins again: a 1x1 convolution that moves them."""
    n, a, b, h, w = value.dims
    if len(value.axes) != 4 or value.axes[2:] != ((3,), (4,)) or sorted(value.axes[1]) != [1, 2]:
        raise BadInput(f'{by(value.shape)} of channels that were split into {a} times {b}')
    order = np.arange(a * b).reshape(a, b).transpose([i - 1 for i in value.axes[1]]).ravel()
    return _channels(of, node, Value(value.blob, (n, a * b, h, w), MAP), 1, order.tolist())


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    """A value under another shape: each new axis must be made of whole axes of the blob."""
    if any(value.pad):
        raise BadInput('its input is padded, which only convolutions and poolings can do')
    if math.prod(shape) != math.prod(value.shape) or not shape or shape[0] != value.dims[0]:
        raise BadInput(f'{by(value.shape)} to {by(shape)}')
    atoms = [a for i in range(1, len(value.axes)) for a in value.axes[i] if value.dims[a] > 1 or len(value.dims) == 5]
    axes: list[tuple[int, ...]] = [(0,)]
    for d in shape[1:]:
        group: list[int] = []
        while atoms and math.prod(value.dims[a] for a in group) < d:
            group.append(atoms.pop(0))
        if math.prod(value.dims[a] for a in group) != d:
            raise BadInput(f'{by(value.shape)} to {by(shape)} cuts an axis apart')
        axes.append(tuple(group))
    if len(axes) == 4 and len(value.dims) == 4 and shape == value.dims and [a for axis in axes for a in axis] == sorted(
            a for axis in axes for a in axis):
        return value._replace(axes=MAP)
    return value._replace(axes=tuple(axes))


def _squeeze(of: Importer, node: Any) -> Value:
    value = of.value(node)
    given = _attribute(node, 'axes', None)
    if given is None and len(node.input) > 1:
        given = of.array(node, 1).ravel().tolist()
    drop = [a % len(value.axes) for a in given] if given is not None else [
        i for i, n in enumerate(value.shape) if n == 1 and i]
    if 0 in drop or any(value.shape[a] != 1 for a in drop):
        raise BadInput(f'axes {drop} of {by(value.shape)}')
    return value._replace(axes=tuple(axis for i, axis in enumerate(value.axes) if i not in drop))


def _unsqueeze(of: Importer, node: Any) -> Value:
    value = of.value(node)
    given = _attribute(node, 'axes', None)
    where = given if given is not None else of.array(node, 1).ravel().tolist()
    rank = len(value.axes) + len(where)
    axes = list(value.axes)
    for at in sorted(a % rank for a in where):
        axes.insert(at, ())
    if axes[0] != (0,):
        raise BadInput('it moves the batch')
    return value._replace(axes=MAP if len(axes) == 4 and [value.runs_over(0)] and all(
        tuple(a for a in axis if value.dims[a] > 1) == tuple(a for a in (i,) if value.dims[a] > 1)
        for i, axis in enumerate(axes) if i) else tuple(axes))


def _pad(of: Importer, node: Any) -> Value:
    value = of.value(node)
    pads = _attribute(node, 'pads', None)
    pads = pads if pads is not None else of.array(node, 1).ravel().tolist()
    fill = float(_attribute(node, 'value', of.array(node, 2, 0.0)))
    axes = of.array(node, 3, range(len(value.axes))).ravel().tolist()
    if _attribute(node, 'mode', 'constant') != 'constant' or fill or min(pads) < 0 or len(pads) != 2 * len(axes):
        raise BadInput('it pads with something else than zeros')
    more = list(value.pad)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if not before and not after:
            continue
        if value.axes[axis] not in ((2,), (3,)):
            raise BadInput(f'it pads axis {axis} of {by(value.shape)}, not height or width')
        at = value.axes[axis][0] - 2
        more[at], more[at + 2] = more[at] + before, more[at + 2] + after
    return value._replace(pad=(more[0], more[1], more[2], more[3]))


def _concat(of: Importer, node: Any) -> Value:
    values = [of.value(node, i) for i in range(len(node.input))]
    axis = _attribute(node, 'axis', 1) % len(values[0].axes)
    runs = [[v.runs_over(i) for i in range(len(v.axes)) if i != axis] for v in values]
    if any(v.runs_over(axis) not in ((1,), ()) for v in values) or any(r != runs[0] for r in runs):
        raise BadInput(f'it joins {" and ".join(by(v.shape) for v in values)} along axis {axis}, not along channels')
    if len({v.dims[2:] for v in values}) > 1:
        raise BadInput(f'maps of different sizes: {" and ".join(by(v.dims[2:]) for v in values)}')
    ranks = {len(of.builder.shapes[v.blob]) for v in values}
    if len(ranks) > 1:          # N x C beside N x C x 1 x 1
        values = [v if len(of.builder.shapes[v.blob]) == 2 else of.add(node, 'Flatten', [v]) for v in values]
    widest = max(values, key=lambda v: v.dims[1])
    return of.add(node, 'Concat', values, axes=widest.axes)


def _channels(of: Importer, node: Any, value: Value, axis: int, chosen: Sequence[int]) -> Value:
    """Some channels of a map, by a 1x1 convolution of ones and zeros."""
    if axis != 1 or not chosen:
        raise BadInput(f'it takes a part of axis {axis} of {by(value.shape)}, not of its channels')
    weights = np.zeros((len(chosen), value.dims[1], 1, 1), np.float32)
    weights[range(len(chosen)), list(chosen)] = 1
    return of.add(node, 'Convolution', [value], [weights], axes=MAP, num_output=len(chosen), kernel_size=[1],
                  bias_term=False)


def _gather(of: Importer, node: Any) -> Value:
    value, index = of.map(node), of.array(node, 1)
    axis = _attribute(node, 'axis', 0) % 4
    chosen = [int(i) % value.dims[1] for i in index.ravel()]
    made = _channels(of, node, value, axis, chosen)
    return made._replace(axes=tuple(a for i, a in enumerate(made.axes) if i != axis)) if index.ndim == 0 else made


def _slice(of: Importer, node: Any) -> Value:
    value = of.value(node)
    starts = _attribute(node, 'starts', None) or of.array(node, 1).ravel().tolist()
    ends = _attribute(node, 'ends', None) or of.array(node, 2).ravel().tolist()
    axes = _attribute(node, 'axes', None) or of.array(node, 3, range(len(starts))).ravel().tolist()
    steps = of.array(node, 4, [1] * len(starts)).ravel().tolist()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(value.axes)
        chosen = range(value.shape[axis])[slice(int(start), int(end), int(step))]
        if len(chosen) != value.shape[axis] or step != 1:
            if value.runs_over(axis) not in ((1,), ()) or len(value.axes) != 4:
                raise BadInput(f'it cuts axis {axis} of {by(value.shape)}, not its channels')
            value = _channels(of, node, value, 1, list(chosen))
    return value


def _split(of: Importer, node: Any) -> list[Value]:
    value = of.map(node)
    axis = _attribute(node, 'axis', 0) % 4
    n = len(node.output)
    parts = _attribute(node, 'split', None)
    if parts is None:
        even = -(-value.dims[1] // n)
        parts = of.array(node, 1, [even] * (n - 1) + [value.dims[1] - even * (n - 1)]).ravel().tolist()
    edges = np.cumsum([0, *parts]).tolist()
    return [_channels(of, node, value, axis, range(a, b)) for a, b in zip(edges, edges[1:], strict=False)]


Operator = Callable[[Importer, Any], 'Value | list[Value]']
OPERATORS: dict[str, Operator] = {
    'Conv': _conv, 'Gemm': _gemm, 'MatMul': _matmul, 'MaxPool': _pool, 'AveragePool': _pool,
    'GlobalAveragePool': _global_pool, 'GlobalMaxPool': _global_pool, 'ReduceMean': _reduce, 'ReduceMax': _reduce,
    'Add': _arithmetic, 'Sub': _arithmetic, 'Mul': _arithmetic, 'Div': _arithmetic, 'Sum': _arithmetic,
    'Max': _of_two, 'BatchNormalization': _batch_norm, 'Relu': _relu, 'LeakyRelu': _relu, 'PRelu': _prelu,
    'Clip': _clip, 'Elu': _elu, 'Sigmoid': _simple('Sigmoid'), 'Tanh': _simple('TanH'), 'Exp': _simple('Exp'),
    'Log': _simple('Log'), 'Abs': _simple('AbsVal'), 'Softplus': _simple('BNLL'), 'Neg': _simple('Power', scale=-1.0),
    'Sqrt': _simple('Power', power=0.5), 'HardSigmoid': _hard_sigmoid, 'HardSwish': _hard_sigmoid, 'Pow': _pow,
    'Dropout': _dropout, 'Softmax': _softmax, 'LogSoftmax': _softmax, 'LRN': _lrn, 'Identity': _identity,
    'Cast': _identity, 'Transpose': _transpose, 'Flatten': _flatten, 'Reshape': _reshape, 'Squeeze': _squeeze,
    'Unsqueeze': _unsqueeze, 'Pad': _pad, 'Concat': _concat, 'Gather': _gather, 'Slice': _slice, 'Split': _split,
}
