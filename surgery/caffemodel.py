"""Read and write `.caffemodel` files without Caffe and without protobuf.

A caffemodel is a serialized `NetParameter`, of which only this much carries weights:

    NetParameter      layers = 2 (V1LayerParameter)  layer = 100 (LayerParameter)
    LayerParameter    name = 1   type = 2   blobs = 7
    V1LayerParameter  name = 4   type = 5   blobs = 6   layer = 1 (V0LayerParameter)
    V0LayerParameter  name = 1   type = 2   blobs = 50
    BlobProto         num, channels, height, width = 1..4   data = 5 (packed float)   diff = 6
                      shape = 7 (BlobShape: dim = 1)   double_data = 8   double_diff = 9
"""
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

import files
from cli import BadInput, table

from .untrusted import shortened
from .wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Malformed,
    byte_count,
    encode,
    field,
    fields,
    numbers,
    skip,
    tag,
    text,
    varint,
)

Weights = dict[str, list[np.ndarray]]

LARGEST = 2 ** 31 - 1                       # bytes in a protobuf message, so in a file that Caffe can read
BEGINS = b'\xa2\x06'                        # the files written here, with a layer; Caffe's begin with the net's name
MOST_AXES = 32                              # of a blob

# V1LayerParameter.LayerType
V1_TYPES = {
    35: 'AbsVal', 1: 'Accuracy', 30: 'ArgMax', 2: 'BNLL', 3: 'Concat', 37: 'ContrastiveLoss', 4: 'Convolution',
    5: 'Data', 39: 'Deconvolution', 6: 'Dropout', 32: 'DummyData', 7: 'EuclideanLoss', 25: 'Eltwise', 38: 'Exp',
    8: 'Flatten', 9: 'HDF5Data', 10: 'HDF5Output', 28: 'HingeLoss', 11: 'Im2col', 12: 'ImageData',
    13: 'InfogainLoss', 14: 'InnerProduct', 15: 'LRN', 29: 'MemoryData', 16: 'MultinomialLogisticLoss', 34: 'MVN',
    17: 'Pooling', 26: 'Power', 18: 'ReLU', 19: 'Sigmoid', 27: 'SigmoidCrossEntropyLoss', 36: 'Silence',
    20: 'Softmax', 21: 'SoftmaxWithLoss', 22: 'Split', 33: 'Slice', 23: 'TanH', 24: 'WindowData', 31: 'Threshold',
}


class Layer(NamedTuple):
    """One layer of a caffemodel.

    Attributes
    ----------
    name : str
        Its name.
    type : str
        Its type in Caffe; '' where the file does not say it.
    blobs : list of ndarray
        Its parameters, float32.
    """

    name: str
    type: str
    blobs: list[np.ndarray]


# ---------------------------------------------------------------------------------------------------- reading

def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read the parameters of a `.caffemodel`, of either generation.

    Parameters
    ----------
    path : path
        A binary caffemodel: `layer`, legacy V1 `layers`, or V0 layers.

    Returns
    -------
    dict of str to list of ndarray
        Layer name to its blobs, in file order; float32. Legacy blobs keep their 4 axes
        (an `O x I` inner product is `1 x 1 x O x I` there). Layers without blobs are left out.

    Raises
    ------
    BadInput
        The file is missing, truncated, not a caffemodel, holds no weights, or has two layers of one name with different
        shapes.
    """
    weights: Weights = {}
    for layer in read_layers(path):
        if not layer.blobs:
            continue
        known = weights.get(layer.name)
        if known is not None and [b.shape for b in known] != [b.shape for b in layer.blobs]:
            raise BadInput(f'{path}: two layers named {layer.name!r} with different shapes')
        weights[layer.name] = layer.blobs
    if not weights:
        raise BadInput(f'{path}: a net without weights: no layer in it has parameters')
    return weights


def read_layers(path: str | os.PathLike[str]) -> list[Layer]:
    """Read every layer of a `.caffemodel`, those without parameters too.

    Parameters
    ----------
    path : path
        As for `read_weights`.

    Returns
    -------
    list of Layer
        In file order.

    Raises
    ------
    BadInput
        The file is missing, truncated, or not a caffemodel.
    """
    try:
        with files.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            hint = _foreign(file.read(64))
            if hint:
                raise BadInput(f'{path}: not a binary caffemodel: {hint}')
            file.seek(0)
            layers = list(_net(file, size))
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the weights: {problem.strerror}') from None
    except (Malformed, UnicodeDecodeError) as problem:
        raise BadInput(f'{path}: not a caffemodel, or a corrupt one ({shortened(str(problem))}); fetch it '
                       'again') from None
    if not layers:
        raise BadInput(f'{path}: not a caffemodel: it has no layer')
    return layers


def _foreign(head: bytes) -> str:
    """What a file that starts with `head` is, if it is one of the things often taken for weights."""
    start = head.lstrip()
    if not head:
        return 'the file is empty'
    if head.startswith(b'\x89HDF'):
        return 'it is HDF5; load it in Caffe and save it as binary protobuf'
    if head.startswith(b'version https://git-lfs'):
        return 'it is a Git LFS pointer, not the file itself'
    if start[:1] == b'<':
        return 'it is a web page, so the download went wrong'
    if start.startswith((b'name:', b'layer', b'input', b'#')):
        return 'it is a text prototxt; the weights are a file of their own'
    if head.startswith((b'PK\x03\x04', b'\x1f\x8b')):
        return 'it is an archive; unpack it first'
    return ''


def _net(file: BinaryIO, size: int) -> Iterator[Layer]:
    for number, wire, length in fields(file, size):
        if number in (2, 100) and wire == BYTES:
            yield _layer(file, file.tell() + length, v1=number == 2)
        elif number in (1, 2, 3, 6, 8, 100) and wire != BYTES:    # what another kind of protobuf file would have here
            raise Malformed(f'field {number} is not of a NetParameter')
        else:
            skip(file, wire, length)


def _layer(file: BinaryIO, end: int, v1: bool) -> Layer:
    name_at, type_at, blobs_at = (4, 5, 6) if v1 else (1, 2, 7)
    name, kind, blobs = '', '', []
    for number, wire, length in fields(file, end):
        if number == name_at and wire == BYTES:
            name = text(file, length)
        elif number == type_at and wire == (VARINT if v1 else BYTES):
            kind = V1_TYPES.get(length, str(length)) if v1 else text(file, length)
        elif number == blobs_at and wire == BYTES:
            blobs.append(_blob(file, file.tell() + length))
        elif v1 and number == 1 and wire == BYTES:                # a V0 layer inside
            name, kind, blobs = _v0_layer(file, file.tell() + length)
        else:
            skip(file, wire, length)
    for i, blob in enumerate(blobs):
        if isinstance(blob, str):
            raise Malformed(f'layer {name!r}, blob {i}: {blob}')
    return Layer(name, kind, blobs)


def _v0_layer(file: BinaryIO, end: int) -> tuple[str, str, list[Any]]:
    name, kind, blobs = '', '', []
    for number, wire, length in fields(file, end):
        if number == 1 and wire == BYTES:
            name = text(file, length)
        elif number == 2 and wire == BYTES:
            kind = text(file, length)
        elif number == 50 and wire == BYTES:
            blobs.append(_blob(file, file.tell() + length))
        else:
            skip(file, wire, length)
    return name, kind, blobs


def _blob(file: BinaryIO, end: int) -> Any:
    """The blob as a float32 array, or a string that says what is wrong with it (the layer's name may come later)."""
    legacy: dict[int, int] = {}
    shape: list[int] | None = None
    parts: list[np.ndarray] = []
    for number, wire, length in fields(file, end):
        if number in (1, 2, 3, 4) and wire == VARINT:
            legacy[number] = length
        elif number == 5 and wire in (BYTES, FIXED32):
            parts.append(numbers(file, '<f4', length))
        elif number == 8 and wire in (BYTES, FIXED64):
            parts.append(numbers(file, '<f8', length))
        elif number == 7 and wire == BYTES:
            shape = [*(shape or ()), *_dims(file, file.tell() + length)]
        else:
            skip(file, wire, length)
    dims = [legacy.get(i, 0) for i in (1, 2, 3, 4)] if legacy else shape or []
    data = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if len(dims) > MOST_AXES or math.prod(max(1, d) for d in dims) > LARGEST:
        return f'its shape {shortened(by(dims[:MOST_AXES + 1]))} is none that Caffe can hold'
    if math.prod(dims) != data.size:
        return f'its shape {by(dims)} takes {math.prod(dims)} numbers, the file has {data.size}'
    with np.errstate(over='ignore'):                              # doubles beyond float32 become infinite, as in Caffe
        return data.astype(np.float32, copy=False).reshape(dims)


def _dims(file: BinaryIO, end: int) -> list[int]:
    dims: list[int] = []
    for number, wire, length in fields(file, end):
        if number == 1 and wire == VARINT:
            dims.append(length)
        elif number == 1 and wire == BYTES:
            stop = file.tell() + length
            while file.tell() < stop:
                dims.append(varint(file, stop))
        else:
            skip(file, wire, length)
        if len(dims) > MOST_AXES:
            raise Malformed(f'a blob of more than {MOST_AXES} axes')
    return dims


# ---------------------------------------------------------------------------------------------------- writing

def write_weights(path: str | os.PathLike[str], weights: Mapping[str, Sequence[np.ndarray]],
                  types: Mapping[str, str] | None = None) -> None:
    """Write parameters as a `.caffemodel` that Caffe loads by layer name.

    The file appears complete or not at all.

    Parameters
    ----------
    path : path
        Where to write.
    weights : mapping of str to sequence of ndarray
        Layer name to its blobs, written as float32 with their own shapes.
    types : mapping of str to str, optional
        Layer name to layer type. Caffe does not need it; `python -m surgery show` prints it.

    Raises
    ------
    BadInput
        The folder cannot be written, or the file would be larger than the 2 GiB that protobuf allows.
    """
    types = types or {}
    net: list[bytes | np.ndarray] = []
    for name, blobs in weights.items():
        body: list[bytes | np.ndarray] = [field(1, name.encode())]
        if name in types:
            body.append(field(2, types[name].encode()))
        for blob in blobs:
            array: np.ndarray = np.asarray(blob, '<f4', order='C')
            dims = b''.join(encode(d) for d in array.shape)
            shape = field(7, field(1, dims) if dims else b'')
            data: list[bytes | np.ndarray] = [tag(5, array.nbytes), array]
            body += [tag(7, len(shape) + byte_count(data)), shape, *data]
        net += [tag(100, byte_count(body)), *body]
    if byte_count(net) > LARGEST:
        raise BadInput(f'{path}: {byte_count(net):,} bytes of weights; Caffe reads at most {LARGEST:,}')
    files.write(path, net)


# ---------------------------------------------------------------------------------------------------- showing

def by(shape: Sequence[int]) -> str:
    """A shape as text.

    Parameters
    ----------
    shape : sequence of int
        The length of each axis.

    Returns
    -------
    str
        'scalar' for a shape without axes.

    Examples
    --------
    >>> by((64, 3, 3, 3)), by(())
    ('64x3x3x3', 'scalar')
    """
    return 'x'.join(str(d) for d in shape) or 'scalar'


def summary(layers: Sequence[Layer]) -> str:
    """A table of layers, shapes and statistics.

    Parameters
    ----------
    layers : sequence of Layer
        From `read_layers`.

    Returns
    -------
    str
        A row for each blob: its shape, count, mean, standard deviation, smallest and largest number; where some are not
        finite, how many. The last line counts them all.
    """
    rows: list[tuple[str, ...]] = [('layer', 'type', 'blob', 'shape', 'count', 'mean', 'std', 'min', 'max', '')]
    for layer in layers:
        for i, blob in enumerate(layer.blobs):
            bad = blob.size - int(np.isfinite(blob).sum())
            stats = ['-'] * 4
            if blob.size and not bad:
                stats = [f'{v:.4g}' for v in (blob.mean(dtype=float), blob.std(dtype=float), blob.min(), blob.max())]
            name, kind = (shortened(layer.name), shortened(layer.type)) if not i else ('', '')
            rows.append((name, kind, str(i), by(blob.shape),
                         f'{blob.size:,}', *stats, f'{bad:,} not finite' if bad else ''))
    total = sum(blob.size for layer in layers for blob in layer.blobs)
    used = sum(bool(layer.blobs) for layer in layers)
    return f'{table(rows)}\n{used} of {len(layers)} layers have parameters: {total:,} numbers'


__all__ = ['Layer', 'Weights', 'by', 'read_layers', 'read_weights', 'summary', 'write_weights']
