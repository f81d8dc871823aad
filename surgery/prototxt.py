"""Read a net's prototxt as Caffe does: parse, upgrade old forms, and keep the layers of one phase."""
import os
from collections.abc import Sequence
from typing import Any

import files
from cli import BadInput

from .caffemodel import V1_TYPES
from .untrusted import shortened
from .v0 import to_v1

LARGEST = 64 * 2 ** 20                              # bytes; the largest nets' prototxts have less than one megabyte


def read_net(path: str | os.PathLike[str]) -> Any:
    """Read a prototxt, of either generation, and upgrade it to what Caffe works with today.

    Parameters
    ----------
    path : path
        A text prototxt with `layer`, or legacy `layers` of V1 or V0; any form of input.

    Returns
    -------
    caffe_pb2.NetParameter
        With `layer`s only; `input` headers have become an Input layer.

    Raises
    ------
    BadInput
        The file is missing or is not a net's prototxt.
    """
    from caffe.proto import caffe_pb2
    net = read_message(path, caffe_pb2.NetParameter())
    if not net.layer and not net.layers:
        raise BadInput(f'{path}: a net without layers')
    if net.layer and net.layers:
        raise BadInput(f"{path}: has both 'layer' and legacy 'layers'; keep one of the two")
    try:
        upgrade(net)
    except BadInput as problem:
        raise BadInput(f'{path}: {problem}') from None
    return net


def read_message(path: str | os.PathLike[str], message: Any) -> Any:
    """Parse a prototxt as it is, without an upgrade.

    Parameters
    ----------
    path : path
    message : protobuf message
        An empty `NetParameter` or `SolverParameter`, which is filled.

    Returns
    -------
    protobuf message
        `message`.

    Raises
    ------
    BadInput
        The file is missing or is not a prototxt of that kind.
    """
    from google.protobuf import text_format
    try:
        with files.open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise BadInput(f'{path}: far too large for a prototxt; is it the weights?')
            text = file.read().decode()
    except OSError as problem:
        raise BadInput(f'{path}: cannot read the prototxt: {problem.strerror}') from None
    except UnicodeDecodeError:
        raise BadInput(f'{path}: not a text prototxt; is it the weights?') from None
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as problem:
        raise BadInput(f'{path}: not a prototxt of BVLC Caffe: {shortened(" ".join(str(problem).split()))}') from None
    except (RecursionError, ValueError) as problem:
        raise BadInput(f'{path}: not a prototxt: {type(problem).__name__}') from None


def write_prototxt(path: str | os.PathLike[str], message: Any, heading: str = '') -> None:
    """Write a message as text, complete or not at all, under a comment.

    Parameters
    ----------
    path : path
        Where to write.
    message : protobuf message
        A net or a solver.
    heading : str
        The comment; may have several lines.

    Raises
    ------
    BadInput
        The file cannot be written.
    """
    from google.protobuf import text_format
    comment = ''.join(f'# {line}\n' for line in heading.splitlines())
    files.write(path, comment + text_format.MessageToString(message))


def upgrade(net: Any) -> None:
    """Bring a parsed net up to date by the rules of Caffe's own upgrade.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        With `layer`s or legacy `layers` of V1 or V0, and any form of input. Written in place: afterwards it has
        `layer`s only, and its inputs are an Input layer.

    Raises
    ------
    BadInput
        A layer has no type, or one that is not known, or its inputs have no sizes.
    """
    to_v1(net)
    _upgrade_layers(net)
    _upgrade_input(net)
    for layer in net.layer:
        if layer.type == 'BatchNorm' and len(layer.param) == 3:     # its blobs are statistics, never to be trained
            for param in layer.param:
                param.lr_mult, param.decay_mult = 0, 0


def _upgrade_layers(net: Any) -> None:
    for old in net.layers:
        new = net.layer.add()
        known = new.DESCRIPTOR.fields_by_name
        for field, value in old.ListFields():
            if field.name in ('type', 'param', 'blob_share_mode', 'blobs_lr', 'weight_decay'):
                continue
            if field.name in known:
                _copy(new, field.name, value)
        if old.type not in V1_TYPES:
            raise BadInput(f'layer {old.name!r}: a legacy layer without a type')
        new.type = V1_TYPES[old.type]
        specs = max(map(len, (old.param, old.blob_share_mode, old.blobs_lr, old.weight_decay)))
        for i in range(specs):
            spec = new.param.add()
            for attribute, values in (('name', old.param), ('share_mode', old.blob_share_mode),
                                      ('lr_mult', old.blobs_lr), ('decay_mult', old.weight_decay)):
                if i < len(values):
                    setattr(spec, attribute, values[i])
        _upgrade_transform(new)
    net.ClearField('layers')


def _upgrade_transform(layer: Any) -> None:
    kind = {'Data': 'data_param', 'ImageData': 'image_data_param', 'WindowData': 'window_data_param'}.get(layer.type)
    if kind:
        source = getattr(layer, kind)
        for name in ('scale', 'mean_file', 'crop_size', 'mirror'):
            if source.HasField(name):
                setattr(layer.transform_param, name, getattr(source, name))
                source.ClearField(name)


def _upgrade_input(net: Any) -> None:
    names, shapes, dims = list(net.input), list(net.input_shape), list(net.input_dim)
    if names and (shapes or dims):
        if shapes and len(shapes) != len(names) or not shapes and len(dims) != 4 * len(names):
            raise BadInput(f'{len(names)} inputs, but sizes for another number of them')
        layers = list(net.layer)
        net.ClearField('layer')
        top = net.layer.add(name='input', type='Input', top=names)
        for i in range(len(names)):
            top.input_param.shape.add(dim=shapes[i].dim if shapes else dims[4 * i:4 * i + 4])
        net.layer.extend(layers)
    for field in ('input', 'input_shape', 'input_dim'):
        net.ClearField(field)


def _copy(message: Any, name: str, value: Any) -> None:
    target = getattr(message, name)
    if hasattr(target, 'extend'):
        target.extend(value)
    elif hasattr(target, 'CopyFrom'):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def at_phase(net: Any, phase: str = 'TEST', stages: Sequence[str] = ()) -> Any:
    """The layers of a net that its include and exclude rules keep.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Upgraded; not changed.
    phase : str
        'TRAIN' or 'TEST'.
    stages : sequence of str
        Stages that hold, besides those of the net's own state.

    Returns
    -------
    caffe_pb2.NetParameter
        A copy without rules and without a state.

    Raises
    ------
    BadInput
        A layer has both include and exclude rules.
    """
    from caffe.proto import caffe_pb2
    result = caffe_pb2.NetParameter()
    result.CopyFrom(net)
    result.ClearField('layer')
    level, stages = net.state.level, [*net.state.stage, *stages]

    def meets(rule: Any) -> bool:
        return ((not rule.HasField('phase') or rule.phase == caffe_pb2.Phase.Value(phase))
                and (not rule.HasField('min_level') or level >= rule.min_level)
                and (not rule.HasField('max_level') or level <= rule.max_level)
                and all(stage in stages for stage in rule.stage)
                and not any(stage in stages for stage in rule.not_stage))

    for layer in net.layer:
        if layer.include and layer.exclude:
            raise BadInput(f'layer {layer.name}: has both include and exclude rules; Caffe takes one of them')
        if any(map(meets, layer.include)) if layer.include else not any(map(meets, layer.exclude)):
            kept = result.layer.add()
            kept.CopyFrom(layer)
            kept.ClearField('include')
            kept.ClearField('exclude')
    result.ClearField('state')
    return result
