"""How a photograph becomes an exported net's input: by the command line, a net.json, or the net's data layer."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cli import BadInput
from data_layers import dataset_type, param_str

from ..layers import Shape, layer_type
from ..preparation import NAME, ORDERS, Preparation, checked, read

PHOTOGRAPHS = ('rgb', 'bgr')        # what a model may take in place of a prepared blob


class Known(NamedTuple):
    """What is known of a net's input and its scores.

    Attributes
    ----------
    preparation : Preparation
    mean : bool
        Whether somebody has said what is subtracted from pixels.
    classes : dict of str to tuple of str
        Names in the order of a score's channels, by blob; '' for all scores.
    """

    preparation: Preparation
    mean: bool
    classes: dict[str, tuple[str, ...]]


def known(net: Any, prototxt: Path | None, options: Mapping[str, Any]) -> Known:
    """What is known of how a net's images are prepared.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        As its author left it, with its data layers and losses.
    prototxt : Path, optional
        Its file; a net.json beside it says more than its data layer.
    options : mapping of str to value
        `mean`, `scale`, `order` and `classes`, where the command line gives them.

    Raises
    ------
    BadInput
        The net.json or an option makes no sense.
    """
    found = _of_data_layer(net)
    beside = prototxt.parent / NAME if prototxt else None
    if beside and beside.is_file():
        stated = read(beside)
        found = Known(stated, True, {'': stated.classes} if stated.classes else found.classes)
    changes = {key: value for key, value in options.items() if value is not None}
    values = {key: getattr(found.preparation, key) for key in Preparation.__dataclass_fields__} | changes
    if 'classes' in changes:
        values |= {'colours': (), 'values': ()}
    preparation = checked('the command line' if changes else beside or 'the data layer', **values)
    classes = {'': preparation.classes} if 'classes' in changes else found.classes
    return Known(preparation, found.mean or 'mean' in changes, classes)


def _of_data_layer(net: Any) -> Known:
    for layer in net.layer:
        if layer.type == 'Python' and layer.python_param.module == param_str.MODULE:
            return _of_our_data_layer(net, layer)
        p = layer.transform_param
        if layer_type(layer.type).source and layer.HasField('transform_param') and not p.HasField('mean_file'):
            mean = tuple(p.mean_value)
            return Known(Preparation(mean if len(mean) in (1, 3) else (0.0,), p.scale), len(mean) < 4, {})
    return Known(Preparation(), False, {})


def _of_our_data_layer(net: Any, layer: Any) -> Known:
    """That a data set of `data_layers` has a mean for its photographs, and names for what the losses compare."""
    options = param_str.parse(layer.python_param.param_str)
    dataset = dataset_type(options['dataset'], options.get('root'))
    labels = {loss.bottom[0]: loss.bottom[1] for loss in net.layer
              if loss.type.endswith('Loss') and len(loss.bottom) > 1}
    classes = {score: tuple(dataset.classes[label]) for score, label in labels.items() if label in dataset.classes}
    photograph = next(iter(dataset.means))
    tops = list(options.get('tops', ()))
    if [top for top in tops if top in dataset.means] != [photograph]:       # depth, say, or several images
        return Known(Preparation(), False, classes)
    return Known(Preparation(tuple(map(float, dataset.means[photograph])), pictures=dataset.pictures), True, classes)


def check_photograph(inputs: Mapping[str, Shape], facts: Known) -> Known:
    """See that a model can prepare photographs for a net, and fill in the order of a grey one's input.

    Raises
    ------
    BadInput
        The net has several inputs or another number of channels, or nobody has said what its mean is.
    """
    if len(inputs) != 1:
        raise BadInput(f'--input rgb and bgr are for nets with one input, and this one has {", ".join(inputs)}: leave '
                       '--input out')
    name, shape = next(iter(inputs.items()))
    preparation = facts.preparation
    if preparation.pictures:
        raise BadInput(f'the input {name} is made of {", ".join(preparation.pictures.channels)} through a window, not '
                       'of a photograph: leave --input out, and prepare pictures as the report and net.json say')
    if len(shape) == 4 and shape[1] == 1 and preparation.order == 'bgr':
        preparation = checked('the input', **{key: getattr(preparation, key) for key in
                                              Preparation.__dataclass_fields__} | {'order': 'grey'})
    if len(shape) != 4 or shape[1] != ORDERS[preparation.order]:
        raise BadInput(f'the input {name} has {shape[1] if len(shape) == 4 else "no"} channels, where order '
                       f'{preparation.order} has {ORDERS[preparation.order]}: it takes no photograph')
    if not facts.mean:
        raise BadInput(f'nothing says what is subtracted from photographs: give --mean B,G,R (0 for nothing), or put '
                       f'a {NAME} beside the prototxt')
    return facts._replace(preparation=preparation)
