"""Nets for other classes than those that a trained net tells apart.

Everything but the scores is copied, of the scores the rows of classes with the same name; all others start at zero.
"""
import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import cli
import nets
from cli import BadInput
from data_layers.bands import COLOURS
from data_layers.own.survey import Survey
from nets import blocks
from nets.edits import narrow, slow
from nets.starts import INIT, NORMALIZE, Content, Names, initialise, net_files, plain, solve_files, title
from nets.starts.classifier import chain, paper_net, recipe
from nets.starts.rates import NEW, Rates, rates
from solvers import best
from solvers import weights as places
from solvers.deploy_options import read_described
from solvers.foreign import rehearse
from solvers.prototxts import check_net, read_net, read_solver
from solvers.recipe import Recipe
from solvers.run import Run, weights_of
from solvers.source import facts, preparation_of, source_of
from surgery import preparation, read_weights, transplant, write_weights
from surgery.caffemodel import Weights
from surgery.classes import class_layers, same_names, with_classes
from surgery.graph import input_layer, prune
from surgery.head import adapt_input, phases
from surgery.layers import layer_type
from surgery.preparation import Preparation
from surgery.prototxt import upgrade, write_prototxt
from surgery.shapes import infer
from surgery.widen import can_widen, widen_input

PAPER = ('fcn32s', 'fcn16s', 'fcn8s', 'fcn8s-atonce', 'fcn-alexnet', 'fcn-googlenet')
# Skips learn at the rates of the stages that brought them, while new scores of the last feature learn as in FCN-32s.
SLOWER = {'fcn16s': {'score_pool4': 1e-2}, 'fcn8s': {'score_pool4': 1e-2, 'score_pool3': 1e-4}}
ODD = (97, 130)             # height and width of an image that a fully convolutional net takes too
OTHERWISE = Recipe(base_lr=1e-4, iterations=1, score_every=1, snapshot=1, test_iter=1, momentum=0.9)
USUAL = Recipe(base_lr=1, iterations=1, score_every=1, snapshot=1, test_iter=1)
FIRST = 'fcn32s'            # whose rate new scores of the last feature learn at
FULL = 4096                 # outputs of fc6 and fc7
KEPT = '''
# Number of a class -> its number in {source}; the scores of all others start at zero.
KEPT = {{
{rows}}}
'''
NONE_KEPT = '''
KEPT: dict[int, int] = {}       # all scores start at zero
'''
SHOWN = 8                   # classes that a warning names


class Net(NamedTuple):
    """A trained net, as it was found.

    Attributes
    ----------
    name : str
        What messages call it.
    kind : str
        What its own kind of net is called, such as 'fcn8s'.
    deploy : caffe_pb2.NetParameter
        From one image to one blob of scores.
    classes : tuple of str
        Names in the order of the scores' channels; empty where they are not known.
    normalize : bool
        Whether its loss is the mean over the pixels.
    recipe : Recipe
        What it was trained by, as far as it is known.
    weights : dict of str to list of ndarray
        Its parameters, for images as the data layers give them.
    known : bool
        Whether `solvers.weights` finds them by the name; else they are put beside the new net.
    channels : tuple of str
        Names of those of its input.
    """

    name: str
    kind: str
    deploy: Any
    classes: tuple[str, ...]
    normalize: bool
    recipe: Recipe
    weights: Weights
    known: bool
    channels: tuple[str, ...] = COLOURS

    @property
    def short(self) -> str:
        """The name in a sentence of what is written."""
        return plain(self.name if self.known else Path(self.name).resolve().name)


class Trained:
    """The start from a trained net: the same net over other classes, and finer ones that start from that.

    Parameters
    ----------
    source : Net
    stride : int, optional
        Of the finest net; by default that of the source.
    width : int, optional
        Outputs of fc6 and fc7 that are asked for; they are those of the source.

    Raises
    ------
    BadInput
        The source has another width, or there is no net of that stride on it.
    """

    def __init__(self, source: Net, stride: int | None = None, width: int | None = None) -> None:
        self.source = source
        self.layers = class_layers(source.deploy)
        self.width = width_of(source.deploy)
        if width is not None and width != self.width:
            raise BadInput(f'--width {width}: {source.name} has ' + (
                f'{self.width} outputs in fc6 and fc7, and a net that starts from it has as many; leave --width out'
                if self.width else 'no layers fc6 and fc7; leave --width out'))
        self.paper = recognised(source.deploy, source.normalize, self.width)
        own = int(self.paper[3:-1]) if self.paper in chain(32, 8) else 0
        if stride is not None and (not own or stride > own):
            raise BadInput(f'--head {stride}: {source.name} is ' + (
                f'a net of stride {own}; leave --head out, or take a finer one' if own else
                'a net for which no others are known; leave --head out'))
        self.kinds: Sequence[str] = chain(own, stride or own) if own else [self.paper or source.kind]

    def files(self, names: Names, found: Survey, balanced: bool) -> dict[Path, Content]:
        first, result = self.kinds[0], dict[Path, Content]()
        if self.paper:
            result |= paper_net(names, first, found, balanced, self.narrow, SLOWER.get(first))
        else:
            result |= self._net_beside(names, first, found, balanced)
        known = rates(found, self.narrow, self._seeing(found.card.channels)) if self.paper in NEW else None
        result |= self._solve(names, first, found, known)
        for before, kind in zip(self.kinds, self.kinds[1:], strict=False):
            assert known
            result |= paper_net(names, kind, found, balanced, self.narrow)
            result |= solve_files(names, kind, f'Train {title(kind)} on {names.data} from {title(before)}.',
                                  known.written(kind), f"init=('{names.net(before)}',)", constants=known.reason(kind))
        return result

    def account(self, found: Survey) -> list[str]:
        new, old = found.card.classes, self.source.classes
        kept = same_names(new, old)
        if not old:
            cli.say(f'warning: the classes of {self.source.name} are not known, so all scores start at zero; list them '
                    f'as "classes" in a {preparation.NAME} beside it to keep those of the same name')
        elif not kept:
            more = ', ...' if len(old) > SHOWN else ''
            cli.say(f'warning: none of the {len(new)} classes is one of {self.source.name} '
                    f'({", ".join(old[:SHOWN])}{more}), so all scores start at zero')
        rows = [(name, f'kept, of {old[kept[number]]}' if number in kept else 'new, from zero')
                for number, name in enumerate(new)]
        return ['', *cli.table([('class', f'scores of {self.source.name}'), *rows]).split('\n'), '']

    @property
    def narrow(self) -> int | None:
        """What fc6 and fc7 must be narrowed to."""
        return None if self.width == FULL else self.width

    def _seeing(self, channels: Sequence[str]) -> Weights:
        """The weights over the channels of the data."""
        same = self.source.channels == channels
        return self.source.weights if same else widen_input(self.source.deploy, self.source.weights, channels)

    def _net_beside(self, names: Names, kind: str, found: Survey, balanced: bool) -> dict[Path, Content]:
        """A net whose deploy.prototxt lies beside it."""
        classes = len(found.card.classes)
        deploy = with_classes(self.source.deploy, self.layers, classes)
        if self.source.channels != found.card.channels:
            see(deploy, len(found.card.channels), f'--from {self.source.name}')
        about = (f'{title(kind)} for {names.data}: the net of {self.source.short} over {classes} classes, in '
                 'deploy.prototxt beside this file.')
        return beside(names, kind, about, deploy, self.source.normalize, balanced)

    def _solve(self, names: Names, kind: str, found: Survey, known: Rates | None) -> dict[Path, Content]:
        source, folder = self.source, names.folder(kind)
        kept = same_names(found.card.classes, source.classes)
        rows = ''.join(f'    {f"{number}: {old},":<12}{comment(found.card.classes[number])}'.rstrip() + '\n'
                       for number, old in kept.items())
        constants = KEPT.format(source=source.short, rows=rows) if kept else NONE_KEPT
        init = repr(source.name) if source.known else f"Path(__file__).with_name('{INIT}')"
        steps = (known.written(FIRST) if known else recipe(kind, found.pixels) if self.paper else
                 stated(source.recipe))
        constants += known.reason(FIRST) if known else ''
        start = initialise(names, found, 'keep_classes', 'partial(keep_classes, fcn, KEPT)', source.channels)
        result = solve_files(
            names, kind, f'Train {title(kind)} on {names.data} from {source.short}.', steps,
            f'init=({init},){start.text}', [*start.imports, *([] if source.known else ['from pathlib import Path'])],
            constants)
        if not source.known:
            kinds = {layer.name: layer.type for layer in source.deploy.layer}
            result[folder / INIT] = partial(write_weights, weights=source.weights, types=kinds)
        return result


def see(deploy: Any, channels: int, what: str) -> None:
    """Let a deploy net that sees colours see so many channels; raises BadInput, which begins with `what`."""
    if not can_widen(deploy):
        raise BadInput(f'{what}: what reads its input is no convolution over all channels, so it cannot see {channels} '
                       'channels in place of 3; take another')
    input_layer(deploy).input_param.shape[0].dim[1] = channels


def comment(name: str) -> str:
    """A comment that names a class, if its name is made of words alone: what is in the data does not become code."""
    return f'# {name}' if all(c.isalnum() or c in ' -_' for c in name) else ''


def beside(names: Names, kind: str, about: str, deploy: Any, normalize: bool, balanced: bool) -> dict[Path, Content]:
    """`net.py` and the deploy.prototxt beside it."""
    folder = names.folder(kind)
    expression = f"trained_on({names.module}, split, read_net(Path(__file__).parent, 'deploy'), {NORMALIZE[normalize]})"
    return net_files(names, kind, about, ['from pathlib import Path', 'from nets.edits import trained_on',
                                          'from solvers.prototxts import read_net'], expression, balanced) | {
        folder / 'deploy.prototxt': partial(write_prototxt, message=phases(deploy, None, names.net(kind))['deploy'])}


def stated(recipe: Recipe) -> str:
    """The rate of a recipe, and what else a step depends on, as arguments of a data module's `recipe`."""
    other = ''.join(f', {name}={value:g}' for name, value in (
        ('momentum', recipe.momentum), ('weight_decay', recipe.weight_decay), ('iter_size', recipe.iter_size))
        if not math.isclose(value, getattr(USUAL, name), rel_tol=1e-6))    # float32 in a solver's file
    return f'{recipe.base_lr:g}{other}'


# ------------------------------------------------------------------------------------------------ finding the source

def open_trained(text: str) -> Net:
    """Find a trained net.

    Parameters
    ----------
    text : str
        A net of nets/, or a folder: that of a run, or one with a deploy.prototxt and a caffemodel.

    Returns
    -------
    Net

    Raises
    ------
    BadInput
        There is none, it has several tasks or sees other things than photographs, or net and weights do not fit.
    """
    if text in nets.names():
        found = _net_of_nets(text)
    elif Path(text).is_dir():
        found = _net_of_folder(Path(text))
    else:
        raise BadInput(f'--from {text}: neither a folder nor a net; the nets are {", ".join(nets.names())}')
    check_source(found, text)
    if not found.known:
        rehearse(found.deploy, text)
    return found


def _net_of_nets(name: str) -> Net:
    training = nets.load(name)
    score, dataset, classes = _task(training, name, ())
    deploy = training.fcn('deploy')
    path = places.find(name)
    return Net(name, _kind(name, dataset), deploy, classes, _normalized(training), training.recipe,
               _fitting(deploy, read_weights(path), path), True, _channels(preparation_of(training)))


def _channels(takes: Preparation | None) -> tuple[str, ...]:
    return takes.pictures.channels if takes and takes.pictures else COLOURS


def _net_of_folder(folder: Path) -> Net:
    takes = preparation.read(folder / preparation.NAME) if (folder / preparation.NAME).exists() else None
    deploy, name, dataset = _deploy_of(folder), folder.resolve().name, ''
    classes, normalize, recipe = takes.classes if takes else (), True, OTHERWISE
    if (folder / 'solver.prototxt').exists():
        training = read_described(folder)
        takes = takes or preparation_of(training)
        score, dataset, classes = _task(training, str(folder), classes)
        normalize, recipe = _normalized(training), _recipe(folder)
        _take_rates(deploy, training.fcn(training.phases[0]))
        name = Run(folder).net if (folder / 'run.json').exists() else name
    else:
        score = _score_of(deploy, folder)
    deploy, path = prune(deploy, score), _weights_file(folder)
    found = _fitting(deploy, read_weights(path), path)
    if takes and takes.pictures and takes.scale != 1:
        raise BadInput(f'--from {folder}: its {preparation.NAME} has a scale beside its "pictures"; put it into the '
                       'window')
    if takes and not takes.pictures:
        adapt_input(deploy, found, takes.scale, takes.order)
    return Net(str(folder), _kind(name, dataset), deploy, classes, normalize, recipe, found, False, _channels(takes))


def _deploy_of(folder: Path) -> Any:
    """The deploy net of a folder, of any generation, once it is seen to fit together."""
    path = folder / 'deploy.prototxt'
    deploy = read_net(folder, 'deploy')
    try:
        upgrade(deploy)
    except BadInput as problem:
        raise BadInput(f'{path}: {problem}') from None
    check_net(deploy, str(path))
    return deploy


def _take_rates(deploy: Any, train: Any) -> None:
    """Let the layers of a deploy net learn as those of the training net do."""
    known = {layer.name: layer for layer in train.layer}
    for layer in deploy.layer:
        if layer.name in known:
            del layer.param[:]
            layer.param.extend(known[layer.name].param)


def _recipe(folder: Path) -> Recipe:
    """What the solver of a folder says about a step; something usual where it is not one of SGD at a fixed rate."""
    solver = read_solver(folder)
    if solver.lr_policy != 'fixed' or solver.type not in ('', 'SGD') or not 0 < solver.base_lr < 1:
        return OTHERWISE
    return replace(OTHERWISE, base_lr=solver.base_lr, momentum=solver.momentum, weight_decay=solver.weight_decay,
                   iter_size=solver.iter_size)


def _task(training: Any, name: str, classes: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """The blob of scores of a net with one task on photographs, its data set, and its classes if they are not known."""
    test = training.fcn(training.phases[1])
    read = facts(test)
    scores = [layer.bottom[0] for layer in test.layer if layer.type == 'SoftmaxWithLoss']
    if len(scores) != 1:
        raise BadInput(f'--from {name}: it has {len(scores)} tasks with a softmax loss, {", ".join(scores)}; take a '
                       'net that has one')
    tops = list(read.get('tops') or ('data', 'label'))[:-1]
    if tops not in (['data'], ['color']):
        raise BadInput(f'--from {name}: it sees {" and ".join(tops)}; take a net that sees photographs')
    return scores[0], str(read['dataset']), classes or source_of(training).classes(scores[0])


def _normalized(training: Any) -> bool:
    return any(layer.loss_param.normalize for layer in training.fcn(training.phases[0]).layer
               if layer.type == 'SoftmaxWithLoss')


def _kind(name: str, dataset: str) -> str:
    """What follows the name of the data set in the name of a net."""
    return plain(name.removeprefix(f'{dataset}-'))


def _score_of(deploy: Any, folder: Path) -> str:
    """The last blob of a deploy net before what turns scores into probabilities or labels."""
    layers = list(deploy.layer)
    while len(layers) > 1 and len(layers[-1].bottom) == 1 and (
            layers[-1].type == 'ArgMax' or layer_type(layers[-1].type).follows_scores):
        layers.pop()
    if not layers or len(layers[-1].top) != 1:
        raise BadInput(f'{folder / "deploy.prototxt"}: its last layer does not give one blob of scores')
    return str(layers[-1].top[0])


def _weights_file(folder: Path) -> Path:
    """The caffemodel of a folder: that of a run, or the only one but for what its training started from."""
    path = weights_of(folder)
    if path.exists():
        return path
    found = sorted(path for path in folder.glob('*.caffemodel') if path.name not in (INIT, best.WEIGHTS))
    if len(found) != 1:
        raise BadInput(f'{folder} has ' + (
            f'{len(found)} caffemodels; call the one to start from weights.caffemodel' if found else
            'no weights.caffemodel; if it is a run, go on with --resume to its end, else put the weights there'))
    return found[0]


def _fitting(deploy: Any, found: Weights, path: Path) -> Weights:
    """The parameters that a net has, in its shapes, from a file that fits it."""
    shapes = {layer.name: params for layer, params in zip(deploy.layer, infer(deploy).params, strict=True) if params}
    target = {name: [np.zeros(shape, np.float32) for shape in params] for name, params in shapes.items()}
    try:
        report = transplant(target, found)
    except BadInput as problem:
        raise BadInput(f'{path}: {problem}; is it of another net?') from None
    kinds = {layer.name: layer.type for layer in deploy.layer}
    bare = dict.fromkeys(str(entry.target) for entry in report.untouched)
    if strange := [name for name in bare if kinds[name] != 'Deconvolution']:
        raise BadInput(f'{path} holds no weights for {", ".join(strange)}; take the caffemodel of the trained net')
    return {name: blobs for name, blobs in target.items() if name not in bare}


def check_source(found: Net, text: str) -> None:
    """Refuse a net that does not score every pixel of images of any size, or one whose names are in the way."""
    inputs = [layer for layer in found.deploy.layer if layer.type == 'Input']
    if len(inputs) != 1 or len(inputs[0].top) != 1 or found.deploy.layer[0].type != 'Input':
        raise BadInput(f'--from {text}: a net with one input is wanted, as its first layer')
    score, n = found.deploy.layer[-1].top[0], len(inputs[0].input_param.shape)
    if n != 1 or len(inputs[0].input_param.shape[0].dim) != 4 or inputs[0].input_param.shape[0].dim[1] != len(
            found.channels):
        raise BadInput(f'--from {text}: its input is not an image of {len(found.channels)} channels')
    try:
        shape = infer(found.deploy, {inputs[0].top[0]: (1, len(found.channels), *ODD)}).blobs[score]
    except BadInput as problem:
        raise BadInput(f'--from {text}: it takes no image of {ODD[1]}x{ODD[0]} pixels ({problem}); take a net for '
                       'images of any size') from None
    if len(shape) != 4 or shape[2:] != ODD:
        raise BadInput(f'--from {text}: for an image of {ODD[1]}x{ODD[0]} pixels its scores are '
                       f'{"x".join(map(str, shape))}; take a net that scores every pixel')
    if found.classes and len(found.classes) != shape[1]:
        raise BadInput(f'--from {text}: {len(found.classes)} classes are named, and its scores are {shape[1]}')
    check_free_names(found.deploy, f'--from {text}')


def check_free_names(deploy: Any, what: str) -> None:
    """Refuse a net in which the names of label or loss are taken."""
    taken = {layer.name for layer in deploy.layer} | {top for layer in deploy.layer for top in layer.top}
    if both := sorted(taken & {'label', 'loss'}):
        raise BadInput(f'{what}: it has something called {both[0]}, like the label or the loss of training; rename it')


# -------------------------------------------------------------------------------------------------- nets of the papers

def width_of(deploy: Any) -> int | None:
    """Outputs of fc6, or None where there is no such layer."""
    return next((int(layer.convolution_param.num_output) for layer in deploy.layer if layer.name == 'fc6'), None)


def recognised(deploy: Any, normalize: bool, width: int | None) -> str:
    """Which of VOC's nets this one is but for its classes and the width of fc6 and fc7: its kind, or ''."""
    score = class_layers(deploy)
    classes = next(layer.convolution_param.num_output for layer in deploy.layer if layer.name in score)
    data = SimpleNamespace(NUM_CLASSES=classes, feed=partial(blocks.feed, 'voc', images={'data': 'data'}))
    for kind in PAPER:
        fcn = importlib.import_module(f'nets.voc_{kind.replace("-", "_")}.net').fcn
        train, own = fcn('train', data=data), fcn('deploy', data=data)
        if width not in (None, FULL):
            own = narrow(own, width)
        same = any(list(layers)[1:] == list(deploy.layer)[1:] for layers in (
            own.layer, slow(own, **SLOWER.get(kind, {})).layer)) and deploy.layer[0].top[0] == 'data'
        if same and normalize == any(layer.loss_param.normalize for layer in train.layer):
            return kind
    return ''
