"""A net to export, with all that is known of it."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cli import BadInput

from ..caffemodel import Weights, read_weights
from ..classifier import prepare
from ..free_sizes import FreeSizes, free_sizes
from ..onnx_export import FIXED_SIZE
from ..preparation import Preparation
from ..prototxt import read_net
from ..shapes import Shapes
from .fillers import filled
from .named import named_net
from .preparing import PHOTOGRAPHS, check_photograph, known


class Source(NamedTuple):
    """A net to export.

    Attributes
    ----------
    name : str
        Its prototxt, or the name of a net of nets/.
    path : Path
        Its weights file.
    net : caffe_pb2.NetParameter
        Of the TEST phase, from Input layers to outputs.
    weights : dict of str to list of ndarray
        The parameters of all its layers.
    shapes : Shapes
        At the sizes that it states.
    sizes : FreeSizes
        What may change of them.
    outputs : list of str
        Blobs that no layer reads.
    takes : str
        'caffe' for what the net's input takes; 'rgb' or 'bgr' for pixels, which the exported model prepares.
    preparation : Preparation
        How that is done, as far as it is known.
    classes : dict of str to tuple of str
        Names in the order of an output's channels.
    removed : list of (str, str)
        Layers left out, each with the reason.
    """

    name: str
    path: Path
    net: Any
    weights: Weights
    shapes: Shapes
    sizes: FreeSizes
    outputs: list[str]
    takes: str
    preparation: Preparation
    classes: dict[str, tuple[str, ...]]
    removed: list[tuple[str, str]]


def open_net(prototxt: Path | None, name: str | None, weights: Path, takes: str = 'caffe',
             options: Mapping[str, Any] | None = None, size: tuple[int, int] | None = None,
             stages: Sequence[str] = ()) -> Source:
    """Read a net that is to be exported.

    Parameters
    ----------
    prototxt : Path, optional
        A deploy net, or one for training or testing, of the old form or the new one.
    name : str, optional
        Instead, that of a net of nets/.
    weights : Path
        Its caffemodel.
    takes : str
        As in `Source`.
    options : mapping of str to value, optional
        `mean`, `scale`, `order` and `classes`, where the user gives them.
    size : (int, int), optional
        Height and width of its images, where it does not say it.
    stages : sequence of str
        Stages that its include rules ask for.

    Returns
    -------
    Source

    Raises
    ------
    BadInput
        The files do not go together, or parts of them make no sense; names the file.
    """
    assert (prototxt is None) != (name is None)
    called = str(prototxt) if prototxt else str(name)
    if prototxt:
        net = stated = read_net(prototxt)
    else:
        net, stated = named_net(str(name))
    blobs = read_weights(weights)
    try:
        found = prepare(net, blobs, size, stages, images=False)
        facts = known(stated, prototxt, options or {})
        if takes in PHOTOGRAPHS:
            facts = check_photograph(found.inputs, facts)
        sizes = free_sizes(found.net, found.shapes, FIXED_SIZE)
        classes = {output: names for output in found.outputs
                   if (names := _names(found.net, output, facts.classes))
                   and len(shape := found.shapes.blobs[output]) > 1 and shape[1] == len(names)}
        return Source(called, weights, found.net, filled(found), found.shapes, sizes, found.outputs, takes,
                      facts.preparation, classes, found.removed)
    except BadInput as problem:
        text = str(problem)
        raise BadInput(text if text.startswith(called) else f'{called}: {text}') from None


def _names(net: Any, output: str, classes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The class names of an output: of itself, or of the scores that a Softmax makes it of."""
    made = next((layer.bottom[0] for layer in net.layer if layer.type in ('Softmax', 'Sigmoid')
                 and layer.top[0] == output), output)
    return classes.get(output) or classes.get(made) or classes.get('', ())
