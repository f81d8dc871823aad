"""The data set that a head is trained on, and the nets that read it."""
from pathlib import Path
from typing import Any, NamedTuple

from cli import BadInput
from data_layers import VOID, Dataset, dataset_type, param_str
from data_layers.bands import COLOURS
from data_layers.own.folder import CARD

from ..preparation import Preparation, of_dataset

HELD_OUT = {'train': 'val', 'trainval': 'test'}
PHASES = ('train', 'val', 'deploy')


class Data(NamedTuple):
    """A data set as the head's nets name it.

    Attributes
    ----------
    name, root : str
        As for `data_layers.open_dataset`.
    splits : (str, str)
        To train on, and to score.
    tops : (str, str)
        Image and label.
    test_size : int
        Images in the scored split.
    takes : Preparation or None
        What nets take that read it.
    """

    name: str
    root: str
    splits: tuple[str, str]
    tops: tuple[str, str]
    test_size: int
    takes: Preparation | None


def splits_of(dataset: type[Dataset]) -> tuple[str, str]:
    """The split to train on, which the data set states, and the one that is held out from it.

    What the papers score (`scored`) is held out from all that their nets learn from, which for VOC is SBD: seg11valid
    is val without SBD's images. A head learns from this data set alone, and has all of val.
    """
    return dataset.training, HELD_OUT[dataset.training]


def open_data(name: str | None, root: Path, classes: int) -> Data:
    """Look at the data set that a head is to be trained on.

    Parameters
    ----------
    name : str, optional
        Which one; by default your own if `root` describes it, else VOC.
    root : path
        Its folder.
    classes : int
        Of the head.

    Returns
    -------
    Data

    Raises
    ------
    BadInput
        No such data set there, or one with another number of classes.
    """
    name = name or ('folder' if (root / CARD).is_file() else 'voc')
    kind = dataset_type(name, root)
    splits = splits_of(kind)
    train, test = (kind(split, root) for split in splits)
    image, label = train.default_tops[0], next(top for top in train.default_tops if top in train.classes)
    if len(train.classes[label]) != classes:
        raise BadInput(f'--classes {classes}: the data set {name} has {len(train.classes[label])}')
    if kind.pictures and kind.pictures.channels != COLOURS:
        raise BadInput(f'the data set {name} has the channels {", ".join(kind.pictures.channels)}, and a head sees '
                       'blue, green and red; python -m nets new NAME --data DIR --trunk FOLDER widens the trunk too')
    return Data(name, str(root), splits, (image, label), len(test), of_dataset(kind, [image], [label]))


def phases(net: Any, data: Data | None, name: str) -> dict[str, Any]:
    """The train, val and deploy nets of a segmenter.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        From `segmenter`; its last top is the score.
    data : Data, optional
        What train and val nets read; Input layers `data` and `label` without it.
    name : str
        Of the nets.

    Returns
    -------
    dict of str to caffe_pb2.NetParameter
        By phase.
    """
    return {phase: _phase(net, data, name, phase) for phase in PHASES}


def _phase(net: Any, data: Data | None, name: str, phase: str) -> Any:
    result = type(net)(name=name)
    for layer in net.layer:
        if layer.type == 'Input' and phase != 'deploy':
            _feed(result, layer, data, phase)
        else:
            result.layer.add().CopyFrom(layer)
        if layer.type == 'BatchNorm':               # one image at a time makes no statistics
            result.layer[-1].batch_norm_param.use_global_stats = True
    if phase != 'deploy':
        loss = result.layer.add(name='loss', type='SoftmaxWithLoss', bottom=[net.layer[-1].top[0], 'label'],
                                top=['loss'])
        loss.loss_param.ignore_label, loss.loss_param.normalize = VOID, True
    return result


def _feed(net: Any, image: Any, data: Data | None, phase: str) -> None:
    """Add the layers that give image and label to a train or val net."""
    if data is None:
        net.layer.add().CopyFrom(image)
        label = net.layer.add(name='label', type='Input', top=['label'])
        label.input_param.shape.add(dim=[1, 1, *image.input_param.shape[0].dim[2:]])
        return
    layer = net.layer.add(name=image.name, type='Python', top=[image.top[0], 'label'])
    layer.python_param.module, layer.python_param.layer = param_str.MODULE, param_str.DATA_LAYER
    layer.python_param.param_str = param_str.write(dataset=data.name, split=data.splits[phase == 'val'],
                                                   root=data.root, tops=list(data.tops))
