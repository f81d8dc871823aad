"""Nets and trainings that may come from anybody: checked, and tried in a process of their own, which Caffe may end."""
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cli
import files
from accel import ranks
from cli import BadInput
from data_layers import Dataset, augment, is_training, param_str
from solvers import preflight
from solvers.capacity import training_bytes, validating_bytes
from solvers.folder import first_size
from solvers.instance import instantiate
from solvers.losses import SIGMOID, losses_of, weight_of
from solvers.prototxts import check_losses, check_net, computing
from solvers.run import write_nets
from solvers.source import facts, open_source, tasks
from solvers.training import Training, transplant_known
from solvers.weights import ROOT
from surgery import read_weights
from surgery.caffemodel import by
from surgery.shapes import Shapes, infer

FATAL = re.compile(r'^F\d+ .*?\] (.+)$', re.MULTILINE)     # a line of Caffe's log before it ends the process
COMPLAINT = re.compile('^error: (.+)$', re.MULTILINE)       # what `cli.run` says of bad input
STRIDE = 64     # pixels: nets that take so many sizes in a row take them all


def instantiate_foreign(net_parameter: Any, what: str, read: Iterable[str] | None = None) -> Any:
    """Make a net that is not the project's own.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
        A test or deploy net, as of `solvers.prototxts.read_net`.
    what : str
        What to call it in a complaint.
    read : iterable of str, optional
        As of `instantiate`.

    Returns
    -------
    caffe.Net

    Raises
    ------
    BadInput
        As of `check_net` and `rehearse`.
    """
    check_net(net_parameter, what)
    rehearse(net_parameter, what)
    return instantiate(net_parameter, read=read)


def rehearse(net_parameter: Any, what: str) -> None:
    """Make a net in a fresh process: one that was forked would share the locks of this one's threads.

    Parameters
    ----------
    net_parameter, what
        As of `instantiate_foreign`.

    Raises
    ------
    BadInput
        The process was ended by a signal; says which of Caffe's checks failed. Other failures are met again in making
        the net here.
    """
    with files.scratch() as folder:
        path = Path(folder, 'net.prototxt')
        path.write_text(str(net_parameter))
        _in_child(what, 'this net', path)


def _in_child(what: str, subject: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run this module as a program; BadInput where a signal ends it."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    done = subprocess.run([sys.executable, '-P', '-m', __name__, *map(str, arguments)], capture_output=True, text=True,
                          errors='replace', stdin=subprocess.DEVNULL,
                          env=ranks.child_environment() | {'PYTHONPATH': paths, 'FCN_WORKERS': '0'})
    if done.returncode < 0:
        said = FATAL.findall(done.stderr)
        reason = said[-1].strip() if said else f'it ends with {signal.Signals(-done.returncode).name}'
        raise BadInput(f'{what}: Caffe cannot make {subject} ({reason}); correct it')
    return done


# ------------------------------------------------------------------------------------------------------- trainings

def check_training(training: Training, folder: Path, initial: Sequence[Path]) -> int:
    """Refuse a training on which Caffe would end the process, now or at an image to come.

    Parameters
    ----------
    training : Training
        As of `solvers.folder`.
    folder : Path
        Where it comes from, for complaints.
    initial : sequence of Path
        The caffemodels it starts from.

    Returns
    -------
    int
        Images that are scored.

    Raises
    ------
    BadInput
        The data set is missing; or nets, data, labels and weights do not go together; names the file or the layer.
    """
    shapes = {}
    for split, trains in zip(training.phases, (True, False), strict=True):
        where = f'the {split} net of {folder}'
        try:
            shapes[split] = check_phase(training.fcn(split), trains)
        except BadInput as problem:
            raise BadInput(f'{where}: {problem}') from None
    train, test = training.phases
    deploy = training.fcn('deploy')
    check_net(deploy, f'the deploy net of {folder}')
    for name, net, found in ((test, training.fcn(test), shapes[test]), ('deploy', deploy, infer(deploy))):
        check_same_parameters(training.fcn(train), shapes[train], net, found, f'the {name} net of {folder}')
    for path in initial:
        if not path.is_file():
            raise BadInput(f'{path}: no such caffemodel')
    scored = open_source(training.fcn(test))
    scoring = preflight.sizes(training.fcn(test), scored, validating_bytes)
    preflight.sizes(training.fcn(train), open_source(training.fcn(train)),
                    partial(training_bytes, type=str(training.recipe.solver(train, test).type)), scoring)
    with files.scratch() as aside:
        write_nets(training, aside)
        done = _in_child(str(folder), 'its solver or take a step with it', aside,
                         *(path.resolve() for path in initial))
    if done.returncode == 2 and (said := COMPLAINT.findall(done.stderr)):
        raise BadInput(said[-1])
    return len(scored)


def check_phase(net: Any, trains: bool) -> Shapes:
    """The shapes of a net with data layer and losses, at its first image, once all is seen to go together.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    trains : bool
        Whether it is the one that trains.

    Raises
    ------
    BadInput
        As of `check_training`, without the net's name.
    """
    read, dataset, losses = facts(net), open_source(net), losses_of(net)
    if is_training(dataset.split) != trains:
        raise BadInput(f'its split {dataset.split} is {"read in order" if trains else "drawn at random"}: one that '
                       f'trains has a name with the word train, one that is scored has not')
    if fed := [layer.name for layer in net.layer if layer.type == 'Input']:
        raise BadInput(f'nothing feeds its Input layer {fed[0]}: the data layer has several tops, name the blobs there')
    if not losses or trains and not any(map(weight_of, losses)):
        raise BadInput('it has no loss that counts: write a layer SoftmaxWithLoss of its scores and labels, with '
                       'loss_param { ignore_label: 255 }')
    check_losses_of_split(net, dataset, read)
    shapes = infer(computing(net, first_size(net)))
    check_losses(net, shapes.blobs)
    for score, label in tasks(net).items():
        count, names = shapes.blobs[score][1], dataset.classes[label]
        if count != len(names):
            raise BadInput(f'blob {score} scores {count} classes, but {dataset.name} has {len(names)} in {label}: one '
                           'of them must change')
    check_sizes(net, dataset, read)
    return shapes


def check_losses_of_split(net: Any, dataset: Dataset, read: dict[str, Any]) -> None:
    """Refuse losses of labels that are not those of the data set, in the form that the loss takes."""
    feed = next(layer for layer in net.layer if layer.python_param.layer == param_str.DATA_LAYER)
    if [*feed.top] != [*dataset.tops]:
        raise BadInput(f'its data layer {feed.name} gives {", ".join(dataset.tops)} as {", ".join(feed.top)}: call its '
                       'tops as the data set does')
    planes = bool(read.get('planes')) or dataset.overlapping
    scores: dict[str, str] = {}
    for loss in losses_of(net):
        where = f'layer {loss.name} ({loss.type})'
        if len(loss.bottom) != 2 or loss.bottom[1] not in dataset.classes or loss.bottom[1] not in dataset.tops:
            raise BadInput(f'{where}: its bottoms {", ".join(loss.bottom)} are not a score and one of the labels, '
                           f'{", ".join(top for top in dataset.tops if top in dataset.classes) or "which it lacks"}')
        if (loss.type == SIGMOID) != planes:
            raise BadInput(f"{where}: " + (
                "write 'planes': True into the param_str of the data layer, which makes a plane of each class"
                if not planes else f'its labels are planes, one a class, as {SIGMOID} takes them'))
        if scores.setdefault(loss.bottom[0], loss.bottom[1]) != loss.bottom[1]:
            raise BadInput(f'{where}: {loss.bottom[0]} is compared with other labels before: a score has one task')
        if len(loss.top) > 2 or len(loss.loss_weight) not in (0, len(loss.top)) or any(loss.loss_weight[1:]):
            raise BadInput(f'{where}: write one top, and one loss_weight')
    for layer in net.layer:
        if planes and layer.python_param.layer == param_str.WEIGHTS_LAYER:
            raise BadInput(f'layer {layer.name}: {param_str.WEIGHTS_LAYER} weighs classes of which a pixel has one; '
                           'leave it out')


def check_sizes(net: Any, dataset: Dataset, read: dict[str, Any]) -> None:
    """Refuse a net that does not take every size that its images come in: Caffe would find out at that image.

    Where images are scaled by a factor that is drawn, all sizes within `STRIDE` pixels below the largest are tried.
    """
    options = {key: read[key] for key in augment.OPTIONS if key in read}
    top = next(top for top in dataset.tops if top in dataset.means)
    sizes: dict[tuple[int, int], str] = {}
    for id in dict.fromkeys(dataset.ids):
        size = dataset.size_of(top, dataset.file(top, id)) or dataset.read(top, id).shape[1:]
        height, width = augment.size_of(*size, **options)
        for less in range(STRIDE if 'scale' in options and 'crop' not in options else 1):
            sizes.setdefault((max(height - less, 1), max(width - less, 1)), id)
    computed = computing(net)
    feed = next(layer for layer in computed.layer if layer.type == 'Input')
    for (height, width), id in sizes.items():
        inputs = {name: (*shape.dim[:2], height, width) for name, shape in zip(feed.top, feed.input_param.shape,
                                                                               strict=True)}
        try:
            check_losses(net, infer(computed, inputs).blobs)
        except BadInput as problem:
            raise BadInput(f'it does not take {dataset.file(top, id)}, which it gets as {width}x{height} pixels '
                           f'({problem}); put a Crop layer there, or set crop in the data layer in training') from None


def check_same_parameters(trained: Any, learnt: Shapes, net: Any, shapes: Shapes, what: str) -> None:
    """Refuse a net with parameters that training does not give it, which Caffe would leave as they are.

    Parameters
    ----------
    trained, learnt : caffe_pb2.NetParameter, Shapes
        The net that trains.
    net, shapes : caffe_pb2.NetParameter, Shapes
        The other.
    what : str
        What to call it.
    """
    given = dict(zip((layer.name for layer in computing(trained).layer), learnt.params, strict=True))
    for layer, params in zip(computing(net).layer, shapes.params, strict=True):
        if params and given.get(layer.name) != params:
            has = ' and '.join(map(by, given.get(layer.name, []))) or 'none'
            raise BadInput(f'{what}: layer {layer.name} has the parameters {" and ".join(map(by, params))}, the net '
                           f'that trains has {has} of that name')


# ------------------------------------------------------------------------------------------------- in the child

def main(argv: Sequence[str]) -> None:
    """Make the net whose prototxt is named; of a folder, make the solver, give it its weights, take a step, score."""
    path, *initial = map(Path, argv)
    import caffe
    if path.is_file():
        caffe.Net(str(path), caffe.TEST)
        return
    os.chdir(path)
    solver = caffe.get_solver('solver.prototxt')
    transplant_known(solver.net, *(read_weights(name) for name in initial))
    solver.test_nets[0].share_with(solver.net)
    solver.test_nets[0].forward()
    solver.step(1)


if __name__ == '__main__':
    sys.exit(cli.run(main, sys.argv[1:]))
