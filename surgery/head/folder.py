"""The folder of a segmentation net: train, val, deploy and solver prototxt, and the weights to start from."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cli import printable, table

from ..caffemodel import Weights, write_weights
from ..convolutionalize import Dense
from ..prototxt import write_prototxt
from ..shapes import infer
from ..solver_parameter import solver_parameter
from .alignment import Upsampling
from .data import Data, phases
from .segmenter import segmenter
from .start import adapt_input, balance, initial_weights
from .trunk import Plan


class Segmenter(NamedTuple):
    """A segmentation net on a trunk, and what its training starts from.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        From image to `score`.
    weights : dict of str to list of ndarray
        To start from; scores start at zero and have none.
    scales : dict of str to float
        Skip blob -> constant that it is multiplied by.
    base_lr : float
        For a loss that is the mean over the pixels.
    """

    net: Any
    weights: Weights
    scales: dict[str, float]
    base_lr: float


def build(dense: Dense, trunk: Plan, classes: int, pad: int, upsamplings: list[Upsampling],
          mean_square: Mapping[str, float]) -> Segmenter:
    """The segmentation net of a planned head, with its skips in balance; parameters as of `add_head`."""
    scales, rate = balance(mean_square, trunk)
    net = segmenter(trunk, classes, pad, scales, upsamplings)
    return Segmenter(net, initial_weights(dense, net, infer(net)), scales, rate)


def add_head(dense: Dense, trunk: Plan, classes: int, pad: int, upsamplings: list[Upsampling],
             mean_square: Mapping[str, float], folder: Path, data: Data | None,
             scale: float = 1.0) -> tuple[dict[str, Any], str]:
    """Write train, val, deploy and solver prototxt and the initial weights of a segmentation net.

    Parameters
    ----------
    dense, trunk : Dense, Plan
        The net, and what of it is kept.
    classes : int
        Classes to score.
    pad, upsamplings : int, list of Upsampling
        From `smallest_pad`.
    mean_square : mapping of str to float
        As for `balance`.
    folder : Path
        Where to.
    data : Data, optional
        What the nets are fed from; Input layers without it.
    scale : float
        What the classifier multiplied pixels by.

    Returns
    -------
    (dict, str)
        What was made, for `report.json` and to read.

    Raises
    ------
    BadInput
        The data set's images are not what the classifier takes.
    """
    net, weights, scales, rate = build(dense, trunk, classes, pad, upsamplings, mean_square)
    if data is not None:
        adapt_input(net, weights, scale)
    name = f'{dense.net.name or "classifier"}-fcn{trunk.finest}s'
    for phase, message in phases(net, data, name).items():
        write_prototxt(folder / f'{phase}.prototxt', message)
    write_prototxt(folder / 'solver.prototxt', solver_parameter(
        test_iter=data.test_size if data else 1, base_lr=rate, momentum=0.9, weight_decay=0.0005, max_iter=100_000,
        snapshot=4000, snapshot_prefix='train'))
    write_weights(folder / 'init.caffemodel', weights, {layer.name: layer.type for layer in net.layer})
    facts = _facts(net, trunk, classes, pad, scales, rate, weights)
    return facts, _readable(facts)


def _facts(net: Any, trunk: Plan, classes: int, pad: int, scales: Mapping[str, float], rate: float,
           weights: Weights) -> dict[str, Any]:
    """The `head` of report.json."""
    return {'classes': classes, 'stride': trunk.finest, 'feature': trunk.feature, 'feature_stride': trunk.stride,
            'skips': [{'blob': blob, 'stride': s, 'scale': scales.get(blob, 1.0)} for s, blob in trunk.skips],
            'pad': pad, 'base_lr': rate,
            'crops': {layer.name: list(layer.crop_param.offset) for layer in net.layer if layer.type == 'Crop'},
            'fresh': [layer.name for layer, p in zip(net.layer, infer(net).params, strict=True)
                      if p and layer.name not in weights]}


def _readable(facts: Mapping[str, Any]) -> str:
    rows = [('head: scored', 'stride', 'scaled by'), (facts['feature'], str(facts['feature_stride']), '')]
    rows += [(s['blob'], str(s['stride']), f'{s["scale"]:g}') for s in facts['skips']]
    crops = ', '.join(f'{name} {"x".join(map(str, o))}' for name, o in facts['crops'].items())
    first = f'first convolution padded by {facts["pad"]} more; crop offsets: {crops}; base_lr {facts["base_lr"]:g}'
    return '\n'.join([table(rows), printable(first), printable(f'fresh: {", ".join(facts["fresh"])}')])
