"""A classifier as its author left it, made ready for surgery: one phase, Input layers, no losses, weights that fit."""
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from .caffemodel import Weights, by
from .graph import needed, unread
from .layers import Shape, layer_type
from .prototxt import at_phase
from .shapes import Shapes, infer
from .transplant import Entry


class Transform(NamedTuple):
    """What a data layer does to an image: `(image - mean) * scale`; the mean is in the net's channel order.

    A `mean_file` has another mean for every pixel.
    """

    mean: tuple[float, ...] = ()
    scale: float = 1.0
    mean_file: str = ''


class Classifier(NamedTuple):
    """A net that takes images of one size, with its parameters.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        Its layers, from Input layers to outputs.
    shapes : Shapes
        Of its blobs and parameters.
    inputs : dict of str to shape
        Image blobs, N x C x H x W.
    outputs : list of str
        Blobs that no layer reads.
    weights : dict of str to list of ndarray
        Parameters in the shapes that the net gives them, for the layers that the weights file has.
    transform : Transform
        What its data layer said about preparing an image.
    removed : list of (str, str)
        Layers left out, each with the reason.
    unused : list of Entry
        Parameters in the weights file for which the net has no layer.
    missing : list of Entry
        Parameters that the weights file does not have.
    """

    net: Any
    shapes: Shapes
    inputs: dict[str, Shape]
    outputs: list[str]
    weights: Weights
    transform: Transform
    removed: list[tuple[str, str]]
    unused: list[Entry]
    missing: list[Entry]


def prepare(net: Any, weights: Weights, size: tuple[int, int] | None = None, stages: Sequence[str] = (),
            images: bool = True) -> Classifier:
    """Cut a net down to what turns images into scores, and fit its parameters to it.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Upgraded, as `read_net` gives it: a deploy net, or one for training with data layers and losses.
    weights : dict of str to list of ndarray
        As `read_weights` gives them.
    size : (int, int), optional
        Height and width of the images, where the net does not say or another is wanted.
    stages : sequence of str
        Stages that its include rules ask for.
    images : bool
        Whether its inputs must be images, all of one size; others are left out, and all that needs them.

    Returns
    -------
    Classifier

    Raises
    ------
    BadInput
        The net does not fit together or its weights do not fit it; names the layer.
    """
    trimmed = trim(net, weights, size, stages, images)
    net, shapes = trimmed.net, trimmed.shapes
    inputs = {name: shapes.blobs[name] for layer in net.layer if layer.type == 'Input' for name in layer.top}
    if images and len({shape[2:] for shape in inputs.values()}) != 1:
        raise BadInput(f'inputs of different sizes: {", ".join(f"{n} {by(s)}" for n, s in inputs.items())}')
    params = {layer.name: shape for layer, shape in zip(net.layer, shapes.params, strict=True) if shape}
    fitted, unused, missing = _fit(params, weights)
    _share(net, params, weights, fitted, missing)
    return Classifier(net, shapes, inputs, trimmed.outputs, fitted, trimmed.transform, trimmed.removed, unused, missing)


class Trimmed(NamedTuple):
    """A net from its images to its outputs; attributes as of `Classifier`."""

    net: Any
    shapes: Shapes
    outputs: list[str]
    transform: Transform
    removed: list[tuple[str, str]]


def trim(net: Any, weights: Weights, size: tuple[int, int] | None = None, stages: Sequence[str] = (),
         images: bool = True) -> Trimmed:
    """Cut a net down to what turns images into outputs in the TEST phase.

    Parameters
    ----------
    net, weights, size, stages, images
        As for `prepare`; of the weights only the channels of a data layer's images are told.

    Returns
    -------
    Trimmed

    Raises
    ------
    BadInput
        The net does not fit together; names the layer.
    """
    net = at_phase(net, 'TEST', stages)
    _any_engine(net)
    removed: list[tuple[str, str]] = []
    net, entries, transform = _feed(net, weights, size, removed, images)
    net, outputs = _cut(net, entries, removed)
    return Trimmed(net, _shapes(net), outputs, transform, removed)


def _any_engine(net: Any) -> None:
    """Let Caffe choose between its own code and cuDNN: a CPU build ends the process where cuDNN is asked for."""
    for layer in net.layer:
        for field, value in layer.ListFields():
            if field.name.endswith('_param') and field.message_type and 'engine' in field.message_type.fields_by_name:
                value.ClearField('engine')


# ------------------------------------------------------------------------------------------------------- inputs

def _feed(net: Any, weights: Weights, size: tuple[int, int] | None, removed: list[tuple[str, str]],
          images_only: bool) -> tuple[Any, list[str], Transform]:
    """Replace data layers by Input layers, one image a batch; also gives the image blobs and how they are prepared."""
    result = type(net)(name=net.name)
    images: list[str] = []
    transform = Transform()
    for layer in net.layer:
        if not layer_type(layer.type).source and (layer.type != 'Python' or layer.bottom):
            result.layer.add().CopyFrom(layer)
            continue
        if layer.type == 'Input':
            shapes = [list(shape.dim) for shape in layer.input_param.shape]
            tops = [(top, shapes[0 if len(shapes) == 1 else i]) for i, top in enumerate(layer.top)
                    if len(shapes) in (1, len(layer.top))]
            if not tops:
                raise BadInput(f'layer {layer.name}: {len(layer.top)} inputs but {len(shapes)} shapes')
        else:
            removed.append((layer.name, f'{layer.type} layer, now an input'))
            if not layer.top:
                continue
            tops = [(layer.top[0], _image_shape(net, layer, weights, size))]
            transform = _transform(layer)
        for top, shape in tops:
            if len(shape) != 4 and images_only:
                removed.append((layer.name, f'input {top}, {by(shape)}, is not an image'))
                continue
            if size and len(shape) == 4:
                shape[2:] = size
            if not shape or any(d < 1 for d in shape):
                raise BadInput(f'input {top} is {by(shape)}; give the size of an image with --size HEIGHTxWIDTH')
            images.append(top)
            entry = result.layer.add(name=layer.name if layer.type == 'Input' and len(layer.top) == 1 else top,
                                     type='Input', top=[top])
            entry.input_param.shape.add(dim=shape)
    if not images:
        raise BadInput('the net has no image input in the TEST phase; give it an Input layer, or the stage it '
                       'needs with --stage')
    return result, images, transform


def _image_shape(net: Any, layer: Any, weights: Weights, size: tuple[int, int] | None) -> list[int]:
    """What a data layer's first top holds, as far as its parameters tell; the weights know the channels."""
    p = getattr(layer, {'MemoryData': 'memory_data_param', 'DummyData': 'dummy_data_param',
                        'ImageData': 'image_data_param'}.get(layer.type, 'transform_param'))
    if layer.type == 'DummyData':
        if p.shape:
            return list(p.shape[0].dim)
        return [list(dims)[0] if dims else 0 for dims in (p.num, p.channels, p.height, p.width)]
    if layer.type == 'MemoryData':
        return [1, p.channels, p.height, p.width]
    crop = layer.transform_param.crop_size
    height, width = size or (crop, crop)
    if layer.type == 'ImageData' and not height:
        height, width = p.new_height, p.new_width
    if not height or not width:
        raise BadInput(f'layer {layer.name}: a {layer.type} layer that does not say how large its images are; '
                       'give it with --size HEIGHTxWIDTH')
    return [1, _channels(net, layer.top[0], weights, height * width), height, width]


def _channels(net: Any, top: str, weights: Weights, pixels: int) -> int:
    """How many channels an image blob has, by the parameters of what reads it."""
    found = _read_channels(net, top, weights, pixels)
    if not found:
        raise BadInput(f'cannot tell how many channels {top!r} has; give the net an Input layer')
    return found


def _read_channels(net: Any, top: str, weights: Weights, pixels: int) -> int:
    names = {top}
    for layer in net.layer:
        if not names & set(layer.bottom):
            continue
        blobs = weights.get(layer.name) or _shared_blobs(net, layer, weights)
        record = layer_type(layer.type)
        if blobs and record.channels and (found := record.channels(layer, blobs, pixels)):
            return found
        if layer.type == 'Slice' and layer.top:
            points, last = list(layer.slice_param.slice_point), _read_channels(net, layer.top[-1], weights, pixels)
            return (points[-1] + last if points else last * len(layer.top)) if last else 0
        if record.elementwise:
            names |= set(layer.top)
    return 0


def _shared_blobs(net: Any, layer: Any, weights: Weights) -> list[np.ndarray] | None:
    """The parameters that another layer of the file has under the same shared name."""
    name = layer.param[0].name if layer.param else ''
    return next((weights[other.name] for other in net.layer if name and other.name in weights
                 and other.param and other.param[0].name == name), None)


def _transform(layer: Any) -> Transform:
    p = layer.transform_param
    return Transform(tuple(p.mean_value), p.scale, p.mean_file)


# ----------------------------------------------------------------------------------------------------- cutting

def _cut(net: Any, images: list[str], removed: list[tuple[str, str]]) -> tuple[Any, list[str]]:
    """Leave out losses, what needs labels, and what no output depends on; also gives the outputs."""
    kept, known, silenced = [], set(images), set()
    for layer in net.layer:
        if layer.type == 'Input':
            kept.append(layer)
        elif layer_type(layer.type).end:
            removed.append((layer.name, f'{layer.type} {layer_type(layer.type).refused}'))
            if layer.type == 'Silence':
                silenced |= set(layer.bottom)
        elif layer.bottom and known.issuperset(layer.bottom):
            kept.append(layer)
            known |= set(layer.top)
        else:
            others = [name for name in layer.bottom if name not in known]
            removed.append((layer.name, f'needs {", ".join(others)}, which is not made from the image' if others
                            else 'makes its tops from nothing'))
            known -= set(layer.top)
    free = unread(kept)
    for layer in kept:
        if layer.type == 'Pooling' and len(layer.top) == 2 and layer.top[1] in free:      # where the maxima were
            free.remove(layer.top[1])
            del layer.top[1]
    outputs = [name for name in free if name not in silenced and name not in images]
    if not outputs:
        raise BadInput('no output is made from the image')
    used = needed(kept, outputs)
    removed += [(layer.name, 'leads to no output') for layer, use in zip(kept, used, strict=True) if not use][::-1]
    result = type(net)(name=net.name)
    result.layer.extend(layer for layer, use in zip(kept, used, strict=True) if use)
    return result, outputs


def _shapes(net: Any) -> Shapes:
    """Shapes for one image at a time, or for the net's own batch where it insists on that."""
    shapes = [layer.input_param.shape[0] for layer in net.layer if layer.type == 'Input']
    batches = [shape.dim[0] for shape in shapes]
    for shape in shapes:
        shape.dim[0] = 1
    try:
        return infer(net)
    except BadInput:
        for shape, batch in zip(shapes, batches, strict=True):
            shape.dim[0] = batch
        return infer(net)


# ----------------------------------------------------------------------------------------------------- weights

def _fit(params: Mapping[str, list[Shape]], weights: Weights) -> tuple[Weights, list[Entry], list[Entry]]:
    fitted: Weights = {}
    missing = []
    for name, shapes in params.items():
        blobs = weights.get(name)
        if blobs is None:
            missing += [Entry(None, name, i, None, shape) for i, shape in enumerate(shapes)]
            continue
        if len(blobs) != len(shapes):
            raise BadInput(f'layer {name}: the net has {len(shapes)} parameters ({", ".join(map(by, shapes))}), '
                           f'the weights have {len(blobs)} ({", ".join(by(b.shape) for b in blobs)})')
        for i, (blob, shape) in enumerate(zip(blobs, shapes, strict=True)):
            if blob.size != math.prod(shape):
                raise BadInput(f'layer {name}: blob {i} is {by(shape)} in the net, {by(blob.shape)} in the weights; '
                               'are prototxt, weights and image size of one net?')
        fitted[name] = [blob.reshape(shape) for blob, shape in zip(blobs, shapes, strict=True)]
    unused = [Entry(name, None, i, blob.shape, None) for name, blobs in weights.items() if name not in params
              for i, blob in enumerate(blobs)]
    return fitted, unused, missing


def shared(net: Any, params: Mapping[str, list[Shape]]) -> dict[str, list[tuple[str, int]]]:
    """The parameters that several layers share.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Shared parameters have a name in its layers' `param`.
    params : mapping of str to list of shape
        Layer -> shapes of its parameters.

    Returns
    -------
    dict of str to list of (str, int)
        Name -> layers and blob numbers, the owner first.
    """
    groups: dict[str, list[tuple[str, int]]] = {}
    for layer in net.layer:
        for i, spec in enumerate(layer.param):
            if spec.name and i < len(params.get(layer.name, ())):
                groups.setdefault(spec.name, []).append((layer.name, i))
    return {name: members for name, members in groups.items() if len(members) > 1}


def _share(net: Any, params: Mapping[str, list[Shape]], weights: Weights, fitted: Weights,
           missing: list[Entry]) -> None:
    """Give every layer of a shared parameter the one value that Caffe would: that of the last one in the file."""
    specs = {layer.name: layer.param for layer in net.layer}
    order = {name: i for i, name in enumerate(weights)}
    values: dict[tuple[str, int], np.ndarray] = {}
    for name, members in shared(net, params).items():
        shapes = [params[layer][i] for layer, i in members]
        strict = any(specs[layer][i].share_mode == specs[layer][i].STRICT for layer, i in members[1:])
        if len({math.prod(s) for s in shapes}) > 1 or strict and len(set(shapes)) > 1:
            raise BadInput(f'layer {members[-1][0]}: shares {name!r} with layer {members[0][0]}, but they are '
                           f'{" and ".join(map(by, shapes))}')
        present = [(order[layer], layer, i) for layer, i in members if layer in fitted]
        if present:
            _, layer, i = max(present)
            values |= {member: fitted[layer][i].reshape(shape) for member, shape in zip(members, shapes, strict=True)}
    for layer, shapes in params.items():
        mine = [values.get((layer, i)) for i in range(len(shapes))]
        if layer in fitted:
            fitted[layer] = [old if new is None else new for old, new in zip(fitted[layer], mine, strict=True)]
        elif not any(value is None for value in mine):
            fitted[layer] = [value for value in mine if value is not None]
    missing[:] = [entry for entry in missing if (entry.target, entry.blob) not in values]
