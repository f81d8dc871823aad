"""Which net a command line names, and how it lets images go through: shared by all commands that segment."""
import argparse
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cli
from cli import BadInput
from solvers.deploy import Deploy, of_training, open_deploy
from solvers.prototxts import read_net, read_phases
from solvers.run import Run, is_run, weights_of
from solvers.segmenting import Way
from solvers.source import data_layer, preparation_of
from solvers.tiles import tiling
from solvers.training import Training
from surgery import preparation
from surgery.preparation import ORDERS, Preparation

PROTOTXT = 'deploy.prototxt'
OF_INPUT = ('mean', 'scale', 'order', 'multiple', 'classes', 'score')   # options about a net that states none of it
SCALES = (1 / 16, 16.0)


def add_arguments(parser: argparse.ArgumentParser, ways: bool = True) -> None:
    """Let a command line name a net to segment with.

    Parameters
    ----------
    parser : ArgumentParser
        Gets the arguments.
    ways : bool
        Whether it also says how images go through: in tiles, averaged.
    """
    net = parser.add_argument_group('the net')
    net.add_argument('--net', help='a net of nets/, such as voc-fcn8s; the folder of a run; or a folder with '
                     f'{PROTOTXT} and net.json')
    net.add_argument('--prototxt', type=Path, metavar='FILE', help='in place of --net: any deploy net, old or new')
    net.add_argument('--weights', type=Path, metavar='FILE', help='its caffemodel [that of the folder]')
    net.add_argument('--mean', type=cli.numbers, metavar='B,G,R', help='to subtract from pixels, 0 to 255 [of net.json '
                     'beside the prototxt, or 0]')
    net.add_argument('--scale', type=float, metavar='S', help='to multiply them by, after that [net.json, or 1]')
    net.add_argument('--order', choices=[*ORDERS], help='of the input\'s channels [net.json, or bgr]')
    net.add_argument('--multiple', type=int, metavar='N', help='of the height and width that the net takes; images are '
                     'padded with zeros at the right and below [net.json, or found out]')
    net.add_argument('--classes', type=Path, metavar='FILE', help='names, one a line, in the order of the scores '
                     '[net.json, or numbers]')
    net.add_argument('--score', metavar='BLOB', help='its blob of scores [all outputs of the image\'s size]')
    if ways:
        many = parser.add_argument_group('how images go through it')
        many.add_argument('--tile', type=int, metavar='N', help='larger images in tiles of N x N pixels')
        many.add_argument('--flip', action='store_true', help='average with the image whose left and right are '
                          'swapped')
        many.add_argument('--scales', type=cli.numbers, metavar='S,S,...', help='average over the image resized by '
                          'these factors, such as 0.75,1,1.25')


def chosen(args: argparse.Namespace, load: Callable[[str], Training], names: Collection[str]) -> Deploy:
    """The net that a command line names.

    Parameters
    ----------
    args : Namespace
        With the arguments of `add_arguments`.
    load : callable
        Name of a net of nets/ -> its Training.
    names : collection of str
        The nets there are, which come before folders.

    Returns
    -------
    Deploy

    Raises
    ------
    BadInput
        Neither or both of --net and --prototxt are given, files are missing or damaged, or do not go together.
    """
    if args.net is None and args.prototxt is None:
        raise BadInput('name a net with --net, or with --prototxt and --weights')
    if args.net is not None and args.prototxt is not None:
        raise BadInput('--net and --prototxt are two nets; give one of them')
    folder = Path(args.net) if args.net is not None and args.net not in names and Path(args.net).is_dir() else None
    if args.net is None or folder and not is_run(folder):
        return _foreign(args, folder)
    if given := [option for option in OF_INPUT if getattr(args, option) is not None]:
        raise BadInput(f'--{given[0]} is for --prototxt: {args.net} takes images as it was trained')
    training = Run(folder) if folder else load(args.net)
    weights = args.weights or (weights_of(folder) if folder else None)
    if weights is None:
        raise BadInput(f'--weights FILE is missing: the caffemodel of {args.net}')
    try:
        return of_training(training, weights, f'{folder / PROTOTXT}' if folder else '')
    except BadInput:
        if folder is None or not (folder / preparation.NAME).is_file():
            raise
        return _foreign(args, folder)       # which knows from net.json what a data set that is not here would tell


def _foreign(args: argparse.Namespace, folder: Path | None) -> Deploy:
    """A deploy net by its prototxt, or that of a folder of prototxts, whose data layer may know what it takes."""
    prototxt = args.prototxt or (folder or Path()) / PROTOTXT
    weights = args.weights or (weights_of(folder) if folder else None)
    if weights is None:
        raise BadInput(f'--weights FILE is missing: the caffemodel of {prototxt}')
    return open_deploy(prototxt, weights, read_preparation(args, prototxt), args.score)


class Described(NamedTuple):
    """A folder of prototxts; like a Training it has `fcn` and `phases`."""
    net: str
    fcn: Callable[[str], Any]
    phases: tuple[str, str]


def read_described(folder: Path) -> Described:
    """What trains and scores in a folder of prototxts, as its solver names it; exceptions are as of `read_phases`."""
    return Described(folder.resolve().name, partial(read_net, folder), read_phases(folder))


def described(folder: Path) -> Described | None:
    """What trains and scores in a folder of prototxts, as `nets emit` writes; None for one with a deploy net alone.

    Raises
    ------
    BadInput
        As of `solvers.prototxts.read_net`.
    """
    if not (folder / 'solver.prototxt').is_file():
        return None
    found = read_described(folder)
    return found if data_layer(found.fcn(found.phases[1])) is not None else None


def read_preparation(args: argparse.Namespace, prototxt: Path) -> Preparation:
    """What the input wants: the options, else net.json beside the prototxt, else what the data layer gives, else 0.

    Raises
    ------
    BadInput
        One is wrong; names it.
    """
    beside = prototxt.parent / preparation.NAME
    if beside.exists():
        takes = preparation.read(beside)
    else:
        known = described(prototxt.parent) if args.prototxt is None else None
        takes = known and preparation_of(known) or Preparation()
    for option in ('mean', 'scale', 'order', 'multiple'):
        if (value := getattr(args, option)) is not None:
            takes = preparation.checked(f'--{option}', **takes.facts() | {option: value})
    if args.classes is None:
        return takes
    return preparation.with_class_list(takes, args.classes)


def way(args: argparse.Namespace, deploy: Deploy) -> Way:
    """How a command line lets images go through a net.

    Raises
    ------
    BadInput
        An option makes no sense, or the net cannot be tiled; says why.
    """
    scales = args.scales or (1.0,)
    if not all(SCALES[0] <= scale <= SCALES[1] for scale in scales) or len({*scales}) != len(scales):
        raise BadInput(f'--scales {",".join(f"{scale:g}" for scale in scales)}: give different factors from '
                       f'{SCALES[0]:g} to {SCALES[1]:g}, such as 0.75,1,1.25')
    if args.tile is not None and args.tile < 1:
        raise BadInput(f'--tile {args.tile}: give the side of a tile in pixels, such as 1024')
    if args.tile is not None and deploy.multiple == 0:
        raise BadInput('--tile: this net takes images of its own size alone')
    cut = tiling(deploy.parameter, args.tile, deploy.multiple) if args.tile is not None else None
    return Way(cut, tuple(scales), args.flip, max(deploy.multiple, 1), deploy.coarse)
