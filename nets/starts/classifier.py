"""The papers' nets over your own classes, started from a classifier."""
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_layers.bands import COLOURS
from data_layers.own.survey import Survey
from nets.starts import Content, Names, initialise, module_of, net_files, solve_files, title
from nets.starts.rates import PIXELS, PUBLISHED, rates

STRIDES = (32, 16, 8)
CLASSIFIERS = {'vgg16': ('vgg16', 'VGG-16'), 'alexnet': ('caffenet', 'CaffeNet'),
               'googlenet': ('googlenet', 'GoogLeNet')}     # trunk -> whose weights, what they are called


class Classifier:
    """The start from a classifier: FCN-32s, then 16s and 8s, or the one net that there is on another trunk.

    Parameters
    ----------
    trunk : str
        One of `CLASSIFIERS`.
    stride : int, optional
        Of the finest net, 8 by default.
    width : int, optional
        Outputs of fc6 and fc7, where it is not 4096.
    """

    def __init__(self, trunk: str, stride: int | None = None, width: int | None = None) -> None:
        self.trunk, self.width = trunk, width
        self.kinds: Sequence[str] = chain(32, stride or 8) if trunk == 'vgg16' else [f'fcn-{trunk}']

    def files(self, names: Names, found: Survey, balanced: bool) -> dict[Path, Content]:
        before, called = CLASSIFIERS[self.trunk]
        origin, result = f'the {called} classifier', dict[Path, Content]()
        sees: Sequence[str] = COLOURS
        known = rates(found, self.width) if self.trunk == 'vgg16' else None
        for kind in self.kinds:
            result |= paper_net(names, kind, found, balanced, self.width)
            start = initialise(names, found, sees=sees)
            result |= solve_files(names, kind, f'Train {title(kind)} on {names.data} from {origin}.',
                                  known.written(kind) if known else recipe(kind, found.pixels),
                                  f"init=('{before}',){start.text}", start.imports,
                                  known.reason(kind) if known else '')
            before, origin, sees = names.net(kind), title(kind), found.card.channels
        return result

    def account(self, found: Survey) -> list[str]:
        return []


def chain(first: int, last: int) -> list[str]:
    """The nets from one stride to another."""
    return [f'fcn{stride}s' for stride in STRIDES if first >= stride >= last]


def paper_net(names: Names, kind: str, found: Survey, balanced: bool, width: int | None,
              rates: Mapping[str, float] | None = None) -> dict[Path, Content]:
    """`net.py` of a net that is one of VOC's but for the classes.

    Parameters
    ----------
    names, kind : Names, str
        What it is called; `kind` is what VOC's is called too.
    found : Survey
        Of the data.
    balanced : bool
        Whether its loss weighs the classes.
    width : int, optional
        Outputs of fc6 and fc7, where it is not 4096.
    rates : mapping of str to float, optional
        Layers that learn slower, as for `nets.edits.slow`.
    """
    net, edits = f'net.fcn(split, data={names.module})', []
    if width:
        net, edits = f'narrow({net}, {width})', ['narrow']
    if rates:
        net, edits = f'slow({net}, {", ".join(f"{layer}={rate:g}" for layer, rate in rates.items())})', [*edits, 'slow']
    about = f'{title(kind)} for {names.data}: the net of voc-{kind} over {len(found.card.classes)} classes.'
    imports = [f'from nets.voc_{module_of(kind)} import net',
               *([f'from nets.edits import {", ".join(edits)}'] if edits else [])]
    return net_files(names, kind, about, imports, net, balanced)


def recipe(kind: str, pixels: int) -> str:
    """The published rate of a net on another trunk, and what else AlexNet's recipe has.

    A loss summed over the pixels has gradients that grow with their number, so the rate shrinks with it.
    """
    if kind == 'fcn-alexnet':       # its loss is the mean over the pixels
        return '1e-4, momentum=0.9, iter_size=20'
    return f'{PUBLISHED["fcn32s"] * PIXELS / pixels:.0e}'.replace('e-0', 'e-')
