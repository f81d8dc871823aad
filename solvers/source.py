"""What a net reads and tells apart: its data layer, the data set behind it, and what its losses compare."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cli import BadInput
from data_layers import Dataset, dataset_type, open_dataset, param_str
from data_layers.bands import Bands
from data_layers.pictures import UNNAMED
from data_layers.reading import read_rgb
from solvers.losses import losses_of
from surgery.preparation import Preparation, of_dataset


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


@dataclass(frozen=True)
class Source:
    """What a net reads and tells apart, known without the data set: how a user's own image becomes its input.

    Attributes
    ----------
    tops : dict of str to str
        Input blob of the deploy net -> top of the data set.
    tasks : dict of str to str
        Score blob -> label blob, or what else people call that task.
    names : dict of str to tuple of str
        Score blob -> names of the classes, in the order of its channels.
    read_image : callable
        (top, path of a file) -> C x H x W, float32, as the net takes it.
    dataset : type of Dataset, optional
        What it is scored on.
    sees_photograph : bool
        Whether a photograph is all that it sees.
    colours : dict of str to tuple of (int, int, int)
        Score blob -> R, G and B of its classes, where others than VOC's are known.
    values : dict of str to tuple of str
        Score blob -> what stands for its classes in the user's own masks, where that is known.
    pictures : Bands, optional
        What that is where it is not colours of 8 bits.
    """
    tops: Mapping[str, str]
    tasks: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    read_image: Callable[[str, Path], npt.NDArray[np.float32]]
    dataset: type[Dataset] | None = None
    sees_photograph: bool = True
    colours: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictures: Bands | None = None

    def show(self, path: Path) -> npt.NDArray[np.uint8]:
        """A photograph to look at, H x W x 3, RGB."""
        return self.pictures.rgb(path) if self.pictures else read_rgb(path)

    def classes(self, score: str) -> tuple[str, ...]:
        """Names of the classes of a score blob, in the order of its channels."""
        return self.names[score]

    def read(self, path: Path) -> dict[str, npt.NDArray[np.float32]]:
        """The input blobs of a photograph, C x H x W each; other views of it lie beside its folder."""
        first, *others = self.tops
        paths = {first: path, **{name: path.parent.parent / self.tops[name] / path.name for name in others}}
        return {name: self.read_image(top, paths[name]) for name, top in self.tops.items()}

    def load(self, dataset: Dataset, id: str) -> dict[str, npt.NDArray[np.float32]]:
        """The input blobs of a sample of a data set, C x H x W each."""
        photograph = next(iter(dataset.means))
        return {name: self.read_image(top, dataset.file(photograph if self.sees_photograph else top, id))
                for name, top in self.tops.items()}


def source_of(training: Any) -> Source:
    """What a net reads whose data layer is ours.

    Parameters
    ----------
    training : Training or Run
        What has `fcn` and `phases`.
    """
    test = training.fcn(training.phases[1])
    read, compared = facts(test), tasks(test)
    dataset = dataset_type(read['dataset'], read.get('root'))
    inputs = [layer.top[0] for layer in training.fcn('deploy').layer if layer.type == 'Input']
    tops = dict(zip(inputs, read.get('tops') or dataset.default_tops, strict=False))
    return Source(tops, compared, {score: dataset.classes[label] for score, label in compared.items()},
                  dataset.read_image, dataset, list(tops.values()) == [next(iter(dataset.means))],
                  {score: dataset.colours.get(label, ()) for score, label in compared.items()},
                  {score: dataset.values.get(label, ()) for score, label in compared.items()}, dataset.pictures)


def source_of_photographs(preparation: Preparation, image: str, scores: Mapping[str, int]) -> Source:
    """What a deploy net reads that comes with a net.json or with options.

    Parameters
    ----------
    preparation : Preparation
        Without names of classes, numbers are theirs.
    image : str
        Its input blob.
    scores : mapping of str to int
        Score blob -> how many scores a pixel has; one is that of a class against all else.

    Raises
    ------
    BadInput
        There are more or fewer names than scores.
    """
    names = {}
    for score, count in scores.items():
        count = max(count, 2)
        names[score] = preparation.classes or tuple(map(UNNAMED.format, range(count)))
        if len(names[score]) != count:
            raise BadInput(f'{len(names[score])} names of classes for the {count} scores of {score}'
                           + ('; name one of its outputs with --score' if len(scores) > 1 else ''))
    return Source({image: image}, {score: score for score in scores}, names,
                  lambda _, path: preparation.read(path), colours=dict.fromkeys(scores, preparation.colours),
                  values=dict.fromkeys(scores, preparation.values), pictures=preparation.pictures)


def preparation_of(training: Any) -> Preparation | None:
    """What a net takes whose data layer is ours, for a net.json.

    Returns
    -------
    Preparation or None
        None for a net that sees something else than a photograph, has several tasks or no data layer.
    """
    test = training.fcn(training.phases[1])
    if data_layer(test) is None:
        return None
    source = source_of(training)
    assert source.dataset
    return of_dataset(source.dataset, list(source.tops.values()), list(source.tasks.values()))
