"""A folder of prototxts as a `Training`, whoever wrote it: its nets, its solver file, the weights it starts from.

The folder holds `solver.prototxt`; the nets that it names, one for each phase or one with include rules for both;
`deploy.prototxt`, which is otherwise derived from the scored net; and perhaps `init.caffemodel`. So do those that
`python -m surgery convolutionalize --head` and `python -m nets emit` write, and the folders of runs.
"""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import files
from cli import BadInput
from data_layers import augment, dataset_type
from solvers.losses import LOSSES, losses_of
from solvers.prototxts import ELSEWHERE, check_layer, computing, feeding
from solvers.schedule import read_schedule
from solvers.source import data_layer, facts, open_source, read_from, tasks
from solvers.training import Training, transplant_known
from surgery.graph import needed
from surgery.prototxt import at_phase, read_net
from surgery.shapes import infer

INIT = 'init.caffemodel'        # the weights that surgery puts beside the prototxts
SOLVER, DEPLOY, RUN = 'solver.prototxt', 'deploy.prototxt', 'run.json'
LEAST = {'iterations': 1, 'score_every': 1, 'snapshot': 1, 'seed': 0}     # of what run.json adds to a solver file
LEFT_OUT = ('Accuracy', 'Silence')      # layers that change nothing: scores tell more, and nothing is printed
# Fields that other Caffes' layers have, for whose layers there are others here.
FIELDS = {'upsample_param': 'Upsample', 'bn_param': 'BN', 'interp_param': 'Interp',
          'dense_image_data_param': 'DenseImageData'}


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes
    ----------
    training : Training
        Named after the folder; `init` are paths.
    initial : tuple of Path
        The caffemodels it starts from.
    notes : tuple of str
        What a user should know about how it is read, a line each.
    """
    training: Training
    initial: tuple[Path, ...]
    notes: tuple[str, ...]


def read_training(folder: Path) -> Training:
    """The `Training` that a folder of prototxts stands for; exceptions are as of `read_folder`."""
    return read_folder(folder).training


def read_folder(folder: Path, given: Sequence[Path] = ()) -> Found:
    """Read a folder of prototxts.

    Parameters
    ----------
    folder : Path
    given : sequence of Path
        The caffemodels to start from; by default those that the run started from, whose folder it is, or that the
        solver file names, or `init.caffemodel`.

    Returns
    -------
    Found

    Raises
    ------
    BadInput
        A file is missing or damaged, or states what is not let in; names it, and says what to write instead.
    """
    if not (folder / SOLVER).is_file():
        raise BadInput(f'{folder} has no {SOLVER}, which says how its nets are trained')
    about = _known(folder)
    recipe, solver = read_schedule(folder / SOLVER, about['recipe'])
    notes = [f'{folder / SOLVER}: {note}' for note in recipe.notes]
    nets = {}
    for split, (path, phase, state) in _halves(folder, solver).items():
        nets[split] = _trained_or_scored(path, phase, state, folder, notes)
    train, test = nets
    nets['deploy'] = _deploy(folder, nets[test], notes)

    def fcn(split: str) -> Any:
        result = type(nets[split])()
        result.CopyFrom(nets[split])
        return result

    initial = tuple(path.resolve() for path in given or about['initial'] or _stated_weights(folder, solver))
    training = Training(about['net'], fcn, recipe, tuple(map(str, initial)), transplant_known, (train, test))
    return Found(training, initial, tuple(notes))


def _known(folder: Path) -> dict[str, Any]:
    """The net's name, and of the folder of a run what its solver file does not say."""
    result: dict[str, Any] = {'net': folder.resolve().name, 'recipe': {}, 'initial': []}
    path = folder / RUN
    if path.is_file():
        try:
            about = json.loads(files.read_text(path))
            recipe = about['recipe']
            result = {'net': str(about['net']), 'recipe': {name: recipe[name] for name in LEAST},
                      'initial': [Path(str(name)) for name in about['initial']]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise BadInput(f'{path} is damaged ({type(problem).__name__})') from None
        if not all(type(number) is int and LEAST[name] <= number < 2 ** 31
                   for name, number in result['recipe'].items()):
            raise BadInput(f'{path} is damaged (its recipe has other numbers than a run notes)')
        if Path(result['net']).name != result['net'] or result['net'] in ('', '..'):     # it names a folder, too
            raise BadInput(f'{path} is damaged (the name of its net is {result["net"]!r})')
    return result


def _halves(folder: Path, solver: Any) -> dict[str, tuple[Path, str, Any]]:
    """Split -> file, phase and state of the net that trains and of the one that scores."""
    where = folder / SOLVER
    stated = {field.name for field, _ in solver.ListFields()}
    if inline := sorted(stated & {'net_param', 'train_net_param', 'test_net_param'}):
        raise BadInput(f'{where}: {inline[0]} holds a net: write it to a file, and train_net or test_net for it')
    if bool(solver.net) == bool(solver.train_net):
        raise BadInput(f'{where} names no train_net or no test_net: write both, or net for one file with both phases')
    tested = list(solver.test_net) or ([solver.net] if solver.net else [])
    if len(tested) != 1 or len(solver.test_state) > 1:
        raise BadInput(f'{where} names {"several test nets: keep one" if tested else "no train_net or no test_net"}')
    names = [Path(name).name for name in (solver.net or solver.train_net, tested[0])]
    stems = [Path(name).stem for name in names]
    if stems[0] == stems[1] or {'deploy', 'solver'} & {*stems}:
        stems = ['train', 'val']
    state = solver.test_state[0] if solver.test_state else None
    for name in names:
        if not (folder / name).is_file():
            raise BadInput(f'{where} names the net {name}, which is not in {folder}')
    return {stems[0]: (folder / names[0], 'TRAIN', solver.train_state),
            stems[1]: (folder / names[1], 'TEST', state)}


def _read(path: Path, phase: str, state: Any = None) -> Any:
    """The layers of a net at a phase, upgraded, whatever its generation."""
    from caffe.proto import caffe_pb2
    try:
        net = read_net(path)
    except BadInput as problem:
        other = next((kind for field, kind in FIELDS.items() if f'"{field}"' in str(problem)), None)
        if not other:
            raise
        raise BadInput(f'{path}: it has a layer of the type {other!r}, which BVLC Caffe lacks: '
                       + (f'write {ELSEWHERE[other]}' if other in ELSEWHERE else feeding('train'))) from None
    if state is not None:
        net.state.MergeFrom(state)
    if net.state.HasField('phase'):
        phase = caffe_pb2.Phase.Name(net.state.phase)
    try:
        return at_phase(net, phase)
    except BadInput as problem:
        raise BadInput(f'{path}: {problem}') from None


def _trained_or_scored(path: Path, phase: str, state: Any, folder: Path, notes: list[str]) -> Any:
    """A net with data layer and losses, as the loop takes it."""
    net = _read(path, phase, state)
    if dropped := [layer.name for layer in net.layer if layer.type in LEFT_OUT]:
        notes.append(f'{path}: left out are {", ".join(dropped)}: the scores tell more')
    kept = [layer for layer in net.layer if layer.type not in LEFT_OUT]
    del net.layer[:]
    net.layer.extend(kept)
    for layer in net.layer:
        check_layer(layer, path, 'train' if phase == 'TRAIN' else 'val')
        if layer.type not in LOSSES and any(layer.loss_weight):
            raise BadInput(f'{path}: the layer {layer.name} ({layer.type}) has a loss_weight: losses here are '
                           f'{" and ".join(LOSSES)}')
    for layer in losses_of(net):
        if not layer.top:
            layer.top.append(layer.name)        # as Caffe does, under a name of its own
    if data_layer(net) is None:
        raise BadInput(f'{path} has no data layer: {feeding("train" if phase == "TRAIN" else "val")}')
    return _with_plain_facts(net, path, phase, folder, notes)


def _with_plain_facts(net: Any, path: Path, phase: str, folder: Path, notes: list[str]) -> Any:
    """The net with what its data layer leaves open stated: tops, an absolute root; scored are images one by one."""
    try:
        read = facts(net)
        changes: dict[str, Any] = {}
        if read.get('root') and not Path(read['root']).is_absolute():
            root = Path(read['root'])
            changes['root'] = str((root if root.exists() or not (folder / root).exists() else folder / root).resolve())
        if not read.get('tops'):
            changes['tops'] = list(dataset_type(read['dataset'], changes.get('root', read.get('root'))).default_tops)
        if phase == 'TEST' and read.get('batch_size', 1) > 1:
            changes['batch_size'] = 1
            notes.append(f'{path}: images are scored one by one, whatever its batch_size')
        return read_from(net, **changes) if changes else net
    except BadInput as problem:
        raise BadInput(f'{path}: {problem}') from None


def _deploy(folder: Path, test: Any, notes: list[str]) -> Any:
    """The net that segments a photograph: deploy.prototxt up to its scores, or the scored net without labels."""
    path, scores = folder / DEPLOY, [*tasks(test)]
    if path.is_file():
        net = _read(path, 'TEST')
        for layer in net.layer:
            if layer.type not in LEFT_OUT:
                check_layer(layer, path)
        missing = [name for name in scores if not any(name in layer.top for layer in net.layer)]
        if missing:
            raise BadInput(f'{path} has no blob {missing[0]}, which the scored net compares with labels: name it '
                           'so, or remove the file, and it is derived')
        return _up_to(net, scores)
    notes.append(f'{folder} has no {DEPLOY}: it is derived from the scored net')
    try:
        net = computing(test, first_size(test))
        infer(net)
    except BadInput as problem:
        raise BadInput(f'the scored net of {folder}: {problem}') from None
    layer = data_layer(test)
    dataset = dataset_type(facts(test)['dataset'], facts(test).get('root'))
    labels = {blob for blob, top in zip(layer.top, facts(test)['tops'], strict=False) if top in dataset.classes}
    result = _up_to(net, scores)
    feed = next((one for one in result.layer if one.name == layer.name), None)
    if feed is None:
        raise BadInput(f'the scored net of {folder}: its scores do not come from the data layer {layer.name}')
    if reader := next((one for one in result.layer if labels & {*one.bottom}), None):
        raise BadInput(f'{path} is missing, and cannot be derived: the layer {reader.name} reads the labels; write it')
    shapes = {name: list(shape.dim) for name, shape in zip(feed.top, feed.input_param.shape, strict=True)}
    others = [one for one in result.layer if one.name != layer.name]
    new = type(result)(name=test.name)
    for blob in (blob for blob in layer.top if blob not in labels):
        new.layer.add(name=blob, type='Input', top=[blob]).input_param.shape.add(dim=[1, *shapes[blob][1:]])
    new.layer.extend(others)
    return new


def first_size(net: Any) -> tuple[int, int]:
    """Height and width, in pixels, of the first image that a net's data layer gives; at most, where they vary."""
    read, dataset = facts(net), open_source(net)
    top = next((top for top in dataset.tops if top in dataset.means), None)
    if top is None:
        raise BadInput(f'the data layer gives no image: its tops are {", ".join(dataset.tops)}')
    height, width = dataset.read(top, dataset.ids[0]).shape[1:]
    return augment.size_of(height, width, **{key: read[key] for key in augment.OPTIONS if key in read})


def _up_to(net: Any, blobs: Sequence[str]) -> Any:
    """The net without the layers that its blobs do not depend on, those that work on them in place included."""
    result = type(net)()
    result.CopyFrom(net)
    del result.layer[:]
    result.layer.extend(layer for layer, use in zip(net.layer, needed(net.layer, blobs), strict=True) if use)
    return result


def _stated_weights(folder: Path, solver: Any) -> tuple[Path, ...]:
    """The caffemodels that a folder starts from by itself."""
    names = [name.strip() for stated in solver.weights for name in stated.split(',') if name.strip()]
    if names:
        return tuple(Path(name) if Path(name).is_file() else folder / Path(name).name for name in names)
    return (folder / INIT,) if (folder / INIT).is_file() else ()

