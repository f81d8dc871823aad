"""What of any net turns an image into scores: one image in, maps of scores out, at the image sizes that go through it.

A deploy net as its author left it, or a net for training, is cut to that. What only follows from the scores, such as
Softmax and ArgMax, is left out: whoever has the scores makes it of them.
"""
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from cli import BadInput
from data_layers import VOID

from .caffemodel import Weights, by
from .classifier import Trimmed, trim
from .coordinates import fields
from .graph import last_writer, prune
from .layers import Alias, DenseBlob, Fields, Shape, layer_type
from .shapes import infer

FOLLOWS = ('Softmax', 'ArgMax', 'Sigmoid')      # what an output may be of scores
FLATTENS = ('Reshape', 'Flatten')               # and what may come before that
SIDE = 512              # pixels of the images that a net is tried with, and so many more
MORE = 32
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)


class Scoring(NamedTuple):
    """A net from an image to its scores.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        A deploy net whose outputs are the scores.
    input : str
        Its input blob.
    channels : int
        Of the input.
    scores : dict of str to int
        Score blob -> how many scores a pixel has.
    multiple : int
        Heights and widths that go through it are multiples of so many pixels; 0 where its own size alone does.
    coarse : dict of str to (Field, Field) or None
        What the positions of those scores see that do not lie on the pixels of the image; None where it is not known.
    """

    net: Any
    input: str
    channels: int
    scores: dict[str, int]
    multiple: int
    coarse: dict[str, Fields | None]


def scoring(net: Any, weights: Weights, score: str | None = None) -> Scoring:
    """Cut a net down to what turns an image into scores.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Upgraded, as `read_net` gives it.
    weights : dict of str to list of ndarray
        As for `trim`.
    score : str, optional
        The blob of scores; by default all outputs that have scores for the pixels.

    Returns
    -------
    Scoring

    Raises
    ------
    BadInput
        The net does not fit together, or is not one from an image to maps of scores; names the layer or blob.
    """
    trimmed = _trim(net, weights)
    net = trimmed.net
    inputs = {name: trimmed.shapes.blobs[name] for layer in net.layer if layer.type == 'Input' for name in layer.top}
    if len(inputs) != 1:
        raise BadInput(f'the net sees {" and ".join(inputs)}; here it has one image')
    (image, shape), = inputs.items()
    if score is not None and score not in trimmed.shapes.blobs:
        raise BadInput(f'--score {score}: the net has no such blob; its outputs are {", ".join(trimmed.outputs)}')
    ends = [score] if score is not None else trimmed.outputs
    net = prune(net, *ends)
    outputs = dict.fromkeys([_scores(net, name) for name in ends])
    net = prune(net, *outputs)
    blobs = infer(net).blobs
    maps = [name for name in outputs if len(blobs[name]) == 4 and blobs[name][2:] != (1, 1)]
    if not maps:
        one = next(iter(outputs))
        raise BadInput(f'its output {one} is {by(blobs[one])}, no map of scores; python -m surgery convolutionalize '
                       'makes a classifier a net of maps')
    multiple, on_pixels = _sizes(net, image, maps)
    chosen = {name: blobs[name][1] for name in on_pixels or maps}
    net = prune(net, *chosen)
    if most := [name for name, count in chosen.items() if count > VOID]:
        raise BadInput(f'its output {most[0]} scores {chosen[most[0]]} classes, at most {VOID} are possible here')
    return Scoring(net, image, shape[1], chosen, multiple, {} if on_pixels else _coarse(net, chosen))


def _trim(net: Any, weights: Weights) -> Trimmed:
    try:
        return trim(net, weights)
    except BadInput:        # its sizes may be placeholders, or those that its data layer leaves open
        return trim(net, weights, (SIDE, SIDE))


def _scores(net: Any, blob: str) -> str:
    """The scores that an output follows from; the layers between are taken out of the net."""
    while True:
        at = last_writer(net, blob)
        layer = net.layer[at]
        if layer.type not in FOLLOWS + FLATTENS:
            return blob
        if layer.type in FLATTENS and len(infer(net).blobs[layer.bottom[0]]) != 4:
            return blob
        blob = layer.bottom[0]
        del net.layer[at]


def _sizes(net: Any, image: str, maps: Sequence[str]) -> tuple[int, list[str]]:
    """Of what heights and widths are multiples, and which maps then lie on the pixels of the image."""
    known = infer(net)
    own, params = known.blobs[image], known.params
    fallback = 0
    for multiple in MULTIPLES:
        on_pixels = list(maps)
        for height, width in _trials(multiple):
            try:
                shapes = infer(net, {image: (*own[:2], height, width)})
            except BadInput:
                break
            if shapes.params != params:         # of an inner product over the whole map
                break
            on_pixels = [name for name in on_pixels if shapes.blobs[name][2:] == (height, width)]
        else:
            if on_pixels:
                return multiple, on_pixels
            fallback = fallback or multiple
    if fallback:
        return fallback, []
    return 0, [name for name in maps if known.blobs[name][2:] == own[2:]]


def _trials(multiple: int) -> Iterator[tuple[int, int]]:
    first = -(-SIDE // multiple)
    for i in range(first, first + max(MORE // multiple, 4)):
        yield multiple * i, multiple * (i + 3)


def _coarse(net: Any, scores: Iterable[str]) -> dict[str, Fields | None]:
    try:
        known = fields(net, infer(net))
    except BadInput:        # a layer without coordinates: its scores are spread over the image
        return dict.fromkeys(scores)
    return {name: known[name] for name in scores}


def whole_image(net: Any, inputs: dict[str, Shape]) -> str | None:
    """The first layer of a net in which a position sees all of the image, or knows where on it it is; in words.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Of maps.
    inputs : dict of str to shape
        Sizes for its inputs, larger than its windows.

    Returns
    -------
    str or None
        Names the layer, with the reason; None for a net of windows that slide.
    """
    shapes = infer(net, inputs)
    for layer, bottoms, tops in zip(net.layer, shapes.bottoms, shapes.tops, strict=True):
        record, copy = layer_type(layer.type), type(layer).FromString(layer.SerializeToString())
        what = f'layer {layer.name} ({layer.type})'
        if record.dense is None:
            return f'{what}: it {record.refused or "is of a type that is not known here"}'
        try:
            found = record.dense(copy, [DenseBlob(name, shape, shape) for name, shape in
                                        zip(layer.bottom, bottoms, strict=True)], list(tops))
        except BadInput as problem:
            return f'{what}: {problem}'
        if layer.type == 'Split':
            continue
        if isinstance(found, Alias) or found.change or any(len(shape) != 4 for shape in tops):
            return f'{what}: it looks at the whole image, so every score depends on all of it'
    return None
