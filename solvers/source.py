"""What a net reads and tells apart: its data layer, the data set behind it, and what its losses compare."""
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cli import BadInput
from data_layers import Dataset, dataset_type, open_dataset, param_str
from solvers.losses import losses_of


def data_layer(net: Any) -> Any:
    """The layer of a net that reads a data set.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        For training or for scoring.

    Returns
    -------
    caffe_pb2.LayerParameter
        Part of `net`; None for a net that is fed by hand, as deploy nets are.

    Raises
    ------
    BadInput
        Several layers read data sets.
    """
    found = [layer for layer in net.layer if layer.type == 'Python' and layer.python_param.module == param_str.MODULE
             and layer.python_param.layer == param_str.DATA_LAYER]
    if len(found) > 1:
        raise BadInput(f'the net has {len(found)} data layers, {" and ".join(layer.name for layer in found)}; '
                       'keep one of them, it can have several tops')
    return found[0] if found else None


def facts(net: Any) -> dict[str, Any]:
    """What the data layer of a net states: data set, split, tops, perhaps root and more (`data_layers.param_str`).

    Raises
    ------
    BadInput
        The net has no data layer, or one that states something wrong.
    """
    layer = data_layer(net)
    if layer is None:
        raise BadInput(f'the net has no data layer: it needs a Python layer {param_str.DATA_LAYER} of '
                       f'{param_str.MODULE}')
    return param_str.parse(layer.python_param.param_str)


def read_from(net: Any, **changes: Any) -> Any:
    """The net with other facts (data set, split, root ...) in its data layer; a deploy net stays as it is.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    changes
        Keys of `data_layers.param_str`.

    Returns
    -------
    caffe_pb2.NetParameter
        A copy.
    """
    result = type(net).FromString(net.SerializeToString())
    layer = data_layer(result)
    if layer is not None:
        layer.python_param.param_str = param_str.write(**param_str.parse(layer.python_param.param_str) | changes)
    return result


def open_source(net: Any) -> Dataset:
    """The split that the data layer of a net reads.

    Raises
    ------
    BadInput
        As `facts` and `data_layers.open_dataset`.
    """
    read = facts(net)
    return open_dataset(read['dataset'], read['split'], read.get('root'), read.get('tops'))


def tasks(net: Any) -> dict[str, str]:
    """The (score blob -> label blob) pairs of a `NetParameter`: what its losses compare, of each label the last one's.

    Losses before that, at layers below, only help it to learn.
    """
    last = {layer.bottom[1]: layer.bottom[0] for layer in losses_of(net)}
    return {score: label for label, score in last.items()}


class Source:
    """What a net reads and tells apart, known without the data set: how a user's own image becomes its input.

    Parameters
    ----------
    training : Training or Run
        What has `fcn` and `phases`.

    Attributes
    ----------
    dataset : type of Dataset
        What it is scored on.
    tasks : dict of str to str
        Score blob -> label blob.
    tops : dict of str to str
        Input blob of the deploy net -> top of the data set.
    """

    def __init__(self, training: Any) -> None:
        test = training.fcn(training.phases[1])
        read = facts(test)
        self.dataset: type[Dataset] = dataset_type(read['dataset'], read.get('root'))
        self.tasks = tasks(test)
        inputs = [layer.top[0] for layer in training.fcn('deploy').layer if layer.type == 'Input']
        self.tops = dict(zip(inputs, read['tops'], strict=False))

    def classes(self, score: str) -> tuple[str, ...]:
        """Names of the classes of a score blob, in the order of its channels."""
        return self.dataset.classes[self.tasks[score]]

    def read(self, path: Path) -> dict[str, npt.NDArray[np.float32]]:
        """The input blobs of a photograph, C x H x W each; other views of it lie beside its folder."""
        first, *others = self.tops
        paths = {first: path, **{name: path.parent.parent / self.tops[name] / path.name for name in others}}
        return {name: self.dataset.read_image(top, paths[name]) for name, top in self.tops.items()}
