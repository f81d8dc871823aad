"""A net to segment with: one of nets/, of a run's folder, or any deploy prototxt with its caffemodel."""
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cli
from accel import device
from cli import BadInput
from solvers.capacity import available, check_fits, free
from solvers.foreign import instantiate_foreign
from solvers.instance import instantiate, load
from solvers.losses import overlap
from solvers.run import Run
from solvers.segmenting import Way, scaled
from solvers.source import Source, source_of, source_of_photographs
from solvers.training import Training
from surgery.caffemodel import by, read_weights
from surgery.layers import Fields
from surgery.preparation import Preparation
from surgery.prototxt import read_net
from surgery.scoring import Scoring, scoring
from surgery.shapes import TooLarge, infer


@dataclass(frozen=True)
class Deploy:
    """A net to segment with.

    Attributes
    ----------
    name : str
        What people call it.
    parameter : caffe_pb2.NetParameter
        Its deploy net.
    source : Source
        What it sees and tells apart.
    weights : Path
        Its caffemodel.
    foreign : str
        What a complaint calls the prototxt of a net that is not the project's own; else empty.
    multiple : int
        Images are enlarged to multiples of so many pixels; 0 where images of the net's own size alone go through it.
    coarse : mapping of str to (Field, Field) or None
        As of `surgery.scoring.Scoring`.
    training : Training or Run, optional
        Where its data layer comes from, of a net of nets/ or of a run.
    """
    name: str
    parameter: Any
    source: Source
    weights: Path
    foreign: str
    multiple: int
    coarse: Mapping[str, Fields | None]
    training: Training | Run | None = None

    @property
    def overlaps(self) -> bool:
        """Whether a pixel may be of several classes, as far as is known; a picture then shows the strongest one."""
        return self.training is not None and overlap(self.training.fcn(self.training.phases[0]))

    def load(self) -> Any:
        """The caffe.Net with its weights; raises BadInput where one of the two does not fit."""
        net = (instantiate_foreign(self.parameter, self.foreign, read=()) if self.foreign
               else instantiate(self.parameter, read=()))
        return load(net, self.weights)

    def check_size(self, images: Mapping[str, Any], what: str, way: Way) -> None:
        """Refuse an image of a size at which layers do not meet, or parameters would have other shapes.

        Parameters
        ----------
        images, what
            As of `Room.check`.
        way : Way
            How it goes through the net.

        Raises
        ------
        BadInput
            Names the layer.
        """
        if not self.foreign:
            return
        *_, height, width = next(iter(images.values())).shape
        known = infer(self.parameter)
        own = next(by(known.blobs[name][2:]) for name in images)
        for size in way.sizes(height, width):
            try:
                found = infer(self.parameter, {name: (1, len(image), *size) for name, image in images.items()})
                layer = next((layer for layer, mine, theirs in zip(
                    self.parameter.layer, known.params, found.params, strict=True) if mine != theirs), None)
                reason = layer and f'layer {layer.name} ({layer.type})'
            except TooLarge:        # which `check_fits` tells
                continue
            except BadInput as problem:
                reason = str(problem)
            if reason:
                raise BadInput(f'{what} is {width}x{height} pixels, a size that this net does not take ({reason}); it '
                               + (f'takes multiples of {self.multiple}' if self.multiple > 1 else
                                  f'was made for {own}, height by width'))


class Room:
    """Whether images fit into memory on their way through a net, one after the other.

    Parameters
    ----------
    deploy : Deploy
        The net.
    way : Way
        How they go through it.
    probabilities : bool
        Whether those of all pixels are kept.
    """

    def __init__(self, deploy: Deploy, way: Way, probabilities: bool = False) -> None:
        self.deploy, self.way, self.probabilities = deploy, way, probabilities
        self._held = 0      # bytes, as of `check_fits`
        self._taken: dict[tuple[int, int], int] = {}    # height and width of an image that fitted -> the same for it

    def check(self, images: Mapping[str, Any], what: str) -> None:
        """Refuse an image that the net does not take, or that does not fit; it is to go through the net next.

        Parameters
        ----------
        images : mapping of str to array
            Input blob -> C x H x W.
        what : str
            The image, as a complaint calls it.

        Raises
        ------
        BadInput
            Says what to do.
        """
        *_, height, width = next(iter(images.values())).shape
        if (height, width) not in self._taken:
            self.deploy.check_size(images, what, self.way)
        self._check_probabilities((height, width), what)
        if self._taken.get((height, width), math.inf) > free() + self._held:
            held = self._held
            for size in self.way.sizes(height, width):
                held = check_fits(
                    self.deploy.parameter, {name: (1, len(image), *size) for name, image in images.items()},
                    f'a tile of {what}' if self.way.cut else what, held,
                    lambda side: f'give --tile {side} or less, which segments it in tiles of so many pixels a side')
            self._taken[height, width] = held
            if device.on_gpu() or not self.way.cut:     # in tiles on the host, blobs are given back
                self._held = held

    def _check_probabilities(self, size: tuple[int, int], what: str) -> None:
        """Refuse an image whose probabilities, which are kept whole, do not fit into memory."""
        way = self.way
        areas = [math.prod(size)] * (self.probabilities or way.averages)
        areas += [max(math.prod(scaled(*size, scale)) for scale in way.scales)] * way.averages
        need, left = 4 * sum(areas) * sum(map(len, self.deploy.source.names.values())), available()
        if need > left:
            raise BadInput(f'{what} is {size[1]}x{size[0]} pixels, whose probabilities take {need / 1e9:.1f} GB, and '
                           f'{left / 1e9:.1f} GB are free: leave --scores, --flip and --scales out, or cut it into '
                           'several images')


def of_training(training: Training | Run, weights: Path, foreign: str = '') -> Deploy:
    """The deploy net of a training or a run, which sees what its data layer gives.

    Parameters
    ----------
    training : Training or Run
    weights : Path
        Its caffemodel.
    foreign : str
        As of `Deploy`.
    """
    return Deploy(training.net, training.fcn('deploy'), source_of(training), weights, foreign, 1, {}, training)


def open_deploy(prototxt: Path, weights: Path, takes: Preparation, score: str | None = None) -> Deploy:
    """Any deploy net.

    Parameters
    ----------
    prototxt, weights : Path
        The net and its caffemodel.
    takes : Preparation
        What its input wants.
    score : str, optional
        Its blob of scores, as of `surgery.scoring.scoring`.

    Returns
    -------
    Deploy

    Raises
    ------
    BadInput
        A file is missing or damaged, or the net is not one from a photograph to maps of scores.
    """
    net = read_net(prototxt)
    fed_by_hand = all(layer.type == 'Input' for layer in net.layer if not layer.bottom)
    stored = {} if fed_by_hand else read_weights(weights)       # which know how many channels a data layer gives
    try:
        found = scoring(net, stored, score)
        takes = _for_channels(takes, found)
        source = source_of_photographs(takes, found.input, found.scores)
    except BadInput as problem:
        text = str(problem)
        raise BadInput(text if text.startswith('--') else f'{prototxt}: {text}') from None
    multiple = found.multiple if takes.multiple == 1 else takes.multiple
    if multiple > 1 and takes.multiple == 1:
        cli.say(f'{prototxt}: images are padded to multiples of {multiple} pixels, which this net takes')
    for name in found.coarse:
        cli.say(f'{prototxt}: {name} has fewer scores than an image has pixels: they are interpolated bilinearly')
    return Deploy(found.net.name or prototxt.stem, found.net, source, weights, str(prototxt), multiple, found.coarse)


def _for_channels(takes: Preparation, found: Scoring) -> Preparation:
    """What the input wants, of as many channels as it has."""
    if found.channels == 1 and takes.order == 'bgr' and not takes.pictures:
        return replace(takes, order='grey')
    if takes.channels != found.channels:
        raise BadInput(f'its input {found.input} has {found.channels} channels, and '
                       f'{", ".join(takes.pictures.channels) if takes.pictures else takes.order} has {takes.channels}')
    return takes
