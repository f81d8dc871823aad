"""The training loop: Caffe's SGD solver, stepped from Python, scored and snapshot at the recipe's intervals."""
import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import cli
from data_layers import DATASETS, VOID, Dataset, data_home, open_dataset
from solvers import device, monitor, snapshot, weights
from solvers.instance import instantiate, load
from solvers.recipe import Recipe
from solvers.score import ConfusionMatrix, evaluate, four, tasks
from solvers.variation import read_from
from surgery import fill_bilinear, read_weights, transplant

DEAD_AFTER = 200  # steps before a loss that has not moved is worth a warning


@dataclass(frozen=True)
class Training:
    """A net and how it is trained: what a net's `solve.py` states.

    Parameters
    ----------
    net : str
        Its name, with dashes.
    fcn : callable
        Split -> `NetParameter`.
    recipe : Recipe
        The schedule.
    init : tuple of str
        Whose weights it starts from: classifiers or nets, as `solvers.weights.find` knows them.
    initialise : callable
        (caffe.Net, weights of each in `init`) -> reports of what was copied.
    phases : tuple of str
        The splits that train and score it.
    """
    net: str
    fcn: Callable
    recipe: Recipe
    init: tuple[str, ...]
    initialise: Callable = lambda net, *sources: [transplant(net, source) for source in sources]
    phases: tuple[str, str] = ('train', 'val')

    def prototxts(self) -> dict:
        """File stem -> protobuf message: both phases, `deploy` and `solver`."""
        train, test = self.phases
        return {**{split: self.fcn(split) for split in (train, test, 'deploy')},
                'solver': self.recipe.solver(train, test)}

    def main(self, name: str) -> None:
        """Train as the command line asks and exit, when the module of this `name` is the program that was called."""
        if name == '__main__':
            sys.exit(cli.run(lambda argv: train(self, parser(self.net).parse_args(argv))))


def emit(training: Training, folder: Path) -> None:
    """Write the prototxts of a net into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, message in training.prototxts().items():
        (folder / f'{stem}.prototxt').write_text(str(message))


def facts(net_parameter) -> dict:
    """What the data layer of a net reads: data set, split, tops, perhaps root."""
    from data_layers.layers import parse_param
    return parse_param(net_parameter.layer[0].python_param.param_str)


class Source:
    """What a net reads and tells apart, known without the data set: how a user's own image becomes its input."""

    def __init__(self, training: Training) -> None:
        test = training.fcn(training.phases[1])
        self.dataset: type[Dataset] = DATASETS[facts(test)['dataset']]
        self.tasks = tasks(test)
        inputs = [layer.top[0] for layer in training.fcn('deploy').layer if layer.type == 'Input']
        self.tops = dict(zip(inputs, facts(test)['tops'], strict=False))

    def classes(self, score: str) -> tuple[str, ...]:
        """Names of the classes of a score blob."""
        return self.dataset.classes[self.tasks[score]]

    def read(self, path: Path) -> dict[str, np.ndarray]:
        """The input blobs of a photograph; other views of it lie beside its folder."""
        first, *others = self.tops
        paths = {first: path, **{name: path.parent.parent / self.tops[name] / path.name for name in others}}
        return {name: self.dataset.read_image(top, paths[name]) for name, top in self.tops.items()}


def open_source(net_parameter) -> Dataset:
    """The split that the data layer of a net reads."""
    read = facts(net_parameter)
    return open_dataset(read['dataset'], read['split'], read.get('root'), read.get('tops'))


def solve(training: Training, run: Path, initial=(), resume: bool = False, device_name: str = 'CPU') -> dict:
    """Train a net to the end of its recipe in the folder `run`.

    Parameters
    ----------
    training : Training
        Net and schedule.
    run : Path
        Gets the prototxts, `run.json`, `init.txt`, `metrics.jsonl`, plots, snapshots and `weights.caffemodel`.
    initial : sequence of Path
        The caffemodels of `training.init`.
    resume : bool
        Continue from the newest snapshot in `run`, if there is one.
    device_name : str
        Noted in `run.json`.

    Returns
    -------
    dict
        Label blob -> ConfusionMatrix of the last scoring.
    """
    newest = snapshot.newest(run / 'snapshots')
    if newest and not resume:
        raise cli.BadInput(f'{run} already holds a run: continue it with --resume, or name another folder with --run')
    recipe = training.recipe
    learnt, test = map(training.fcn, training.phases)
    scored, pairs = open_source(test), tasks(test)
    _write_down(training, run, initial, device_name)
    solver = _start(training, run, initial, newest)
    test_net = solver.test_nets[0]
    losses = _LossReader(solver.net, learnt)
    metrics = monitor.Metrics(run / 'metrics.jsonl', solver.iter)
    matrices: dict[str, ConfusionMatrix] = {}
    with cli.progress(total=recipe.iterations, initial=solver.iter, desc=training.net, unit='step') as bar:
        for iteration in range(solver.iter + 1, recipe.iterations + 1):
            _seed(recipe.seed, iteration)
            solver.step(1)
            bar.set_postfix(loss=f'{metrics.step(iteration, losses.take()):.4g}', refresh=False)
            bar.update()
            if iteration == DEAD_AFTER:
                _warn(monitor.dead(losses.per_pixel, losses.classes))
            last = iteration == recipe.iterations
            if last or iteration % recipe.score_every == 0:
                matrices = _score(test_net, pairs, scored, metrics, iteration)
            if last or iteration % recipe.snapshot == 0:
                metrics.flush()
                newest = snapshot.save(solver, run / 'snapshots')
                monitor.plot(run, training.net)
    metrics.close()
    if newest:
        _link(snapshot.weights(newest), run / 'weights.caffemodel')
    return matrices or _evaluate(test_net, pairs, scored)[0]  # the latter where the run had already ended


def _start(training, run, initial, newest):
    """The solver at the beginning of the run, or where the snapshot `newest` left it."""
    from data_layers import layers
    solver = _solver(training, run)
    if newest:
        snapshot.restore(solver, newest)
    else:
        reports = training.initialise(solver.net, *(read_weights(path) for path in initial))
        filled = f'filled with bilinear kernels: {", ".join(fill_bilinear(solver.net))}'
        (run / 'init.txt').write_text('\n\n'.join(map(str, [*reports, filled])) + '\n')
    solver.test_nets[0].share_with(solver.net)
    layers.seek(solver.iter * training.recipe.iter_size)
    return solver


def _solver(training, run):
    """The solver of the prototxts in `run`, its fresh layers filled from the recipe's seed."""
    import caffe
    caffe.set_random_seed(training.recipe.seed)
    with contextlib.chdir(run):
        os.makedirs('snapshot', exist_ok=True)  # Caffe tries the prefix before it starts
        solver = caffe.SGDSolver('solver.prototxt')
        os.rmdir('snapshot')
    return solver


def _seed(seed: int, iteration: int) -> None:
    """Make dropout's masks a pure function of (seed, iteration), so that a resumed run draws the same."""
    import caffe
    caffe.set_random_seed(int(np.random.SeedSequence((seed, iteration)).generate_state(1)[0]))


class _LossReader:
    """Adds up the losses of the forward passes of a step; `take` gives their mean over the passes."""

    def __init__(self, net, net_parameter) -> None:
        self._net, self._pairs = net, tasks(net_parameter)
        kinds = [layer.type for layer in net.layers]
        self._losses = [name for name, kind in zip(net._layer_names, kinds, strict=True) if kind == 'SoftmaxWithLoss']
        self._last = max(i for i, kind in enumerate(kinds) if kind == 'SoftmaxWithLoss')
        self._passes: list[float] = []
        score, self._label = next(iter(self._pairs.items()))
        self.classes = net.blobs[score].shape[1]
        self.per_pixel: deque[float] = deque(maxlen=monitor.SMOOTHING)
        self._normalised = any(layer.loss_param.normalize for layer in net_parameter.layer
                               if layer.type == 'SoftmaxWithLoss')
        net.after_forward(self._note)

    def _note(self, layer: int) -> None:
        if layer == self._last:
            self._passes.append(sum(float(self._net.blobs[name].data) for name in self._losses))
            pixels = 1 if self._normalised else np.count_nonzero(self._net.blobs[self._label].data != VOID)
            self.per_pixel.append(float(self._net.blobs[self._losses[0]].data) / max(pixels, 1))

    def take(self) -> float:
        mean = float(np.mean(self._passes))
        self._passes.clear()
        return mean


def _evaluate(net, pairs, dataset):
    from data_layers import layers
    layers.rewind()
    return evaluate(net, pairs, dataset.classes, len(dataset))


def _score(net, pairs, dataset, metrics, iteration):
    """Score the test split, note and print it, and warn of a net that gives every pixel one class."""
    matrices, loss = _evaluate(net, pairs, dataset)
    metrics.score(iteration, loss, {label: matrix.compute().summary() for label, matrix in matrices.items()})
    for label, matrix in matrices.items():
        cli.say(f'iteration {iteration}: {label}  {four(matrix.compute())}')
        _warn(monitor.one_class(matrix.counts))
    return matrices


def _warn(*messages) -> None:
    for message in filter(None, messages):
        cli.say(f'warning: {message}')


def _write_down(training, run, initial, device_name) -> None:
    """Write the prototxts and all that says how this run was made."""
    import caffe
    emit(training, run)
    solver = training.recipe.solver(*training.phases)
    solver.ClearField('snapshot')  # the loop takes them, whole or not at all
    (run / 'solver.prototxt').write_text(str(solver))
    commit = subprocess.run(['git', '-C', weights.ROOT, 'rev-parse', 'HEAD'], capture_output=True, text=True)
    (run / 'run.json').write_text(json.dumps({
        'net': training.net, 'recipe': asdict(training.recipe), 'initial': [str(path) for path in initial],
        'device': device_name, 'commit': commit.stdout.strip() or None,
        'versions': {'python': platform.python_version(), 'numpy': np.__version__, 'caffe': caffe.__version__},
    }, indent=1) + '\n')


def _link(target: Path, name: Path) -> None:
    """Make `name` another name of the file `target`, at once."""
    partial = name.with_suffix('.partial')
    partial.unlink(missing_ok=True)
    os.link(target, partial)
    os.replace(partial, name)


def score_weights(training: Training, path: Path, split: str | None = None):
    """Score the weights in a caffemodel on a split of the net's test data set (its own one when None).

    Returns
    -------
    matrices : dict of str to ConfusionMatrix
        By label blob.
    loss : float
        Mean over the images.
    images : int
    """
    test = training.fcn(training.phases[1])
    if split:
        test = read_from(test, split=split)
    dataset = open_source(test)
    net = load(instantiate(test), path)
    return *evaluate(net, tasks(test), dataset.classes, len(dataset)), len(dataset)


def parser(net: str) -> cli.Parser:
    """The command line that every `solve.py` has."""
    result = cli.Parser(description=f'Train {net}.')
    result.add_argument('gpu', nargs='?', type=int, metavar='GPU', help='number of the GPU to use')
    result.add_argument('--cpu', action='store_true', help='compute on the CPU (as without GPU)')
    result.add_argument('--iterations', type=int, metavar='N', help='stop after N steps instead of the recipe\'s')
    result.add_argument('--resume', action='store_true', help='continue from the newest snapshot of the run')
    result.add_argument('--run', type=Path, metavar='DIR', help=f'the run\'s folder (default: $FCN_RUNS/{net})')
    result.add_argument('--data', type=Path, metavar='DIR', help='folder of the data sets (default: $FCN_DATA)')
    result.add_argument('--weights', type=Path, action='append', metavar='FILE',
                        help='caffemodel to start from; again for each further one a net is made of')
    return result


def train(training: Training, args) -> None:
    """Train as the command line `args` of `parser` asks."""
    if args.cpu and args.gpu is not None:
        raise cli.BadInput(f'GPU {args.gpu} and --cpu exclude each other')
    if args.iterations is not None and args.iterations < 1:
        raise cli.BadInput(f'--iterations {args.iterations}: a run has at least 1')
    os.environ['FCN_DATA'] = str((args.data or data_home()).resolve())
    run = (args.run or weights.runs_folder() / training.net).resolve()
    if args.iterations:
        training = replace(training, recipe=replace(training.recipe, iterations=args.iterations))
    for split in training.phases:
        open_source(training.fcn(split))  # missing data is said before anything else is looked for
    initial = [] if args.resume and snapshot.newest(run / 'snapshots') else _initial(training, args.weights)
    matrices = solve(training, run, initial, args.resume, device.choose(args.gpu))
    for label, matrix in matrices.items():
        print(f'{training.net}: {label}\n{matrix}')
    print(f'weights, scores and curves are in {run}')


def train_chain(name: str, find: Callable[[str], Training], args) -> None:
    """Train a net; first those it starts from, as long as their weights do not exist. What was begun goes on.

    Parameters
    ----------
    name : str
        The net.
    find : callable
        Name -> Training.
    args : argparse.Namespace
        As of `parser`; what names files goes to the last net alone.
    """
    training = find(name)
    if not args.run and weights.existing(name):
        print(f'{name} is trained: {weights.existing(name)}')
        return
    for source in () if args.weights else training.init:
        if source not in weights.CLASSIFIERS:
            train_chain(source, find, argparse.Namespace(**vars(args) | dict(run=None, weights=None)))
    train(training, argparse.Namespace(**vars(args) | dict(resume=True)))


def _initial(training: Training, given) -> list[Path]:
    """The caffemodels to start from: those given, or those `training.init` names."""
    paths = given or [weights.find(name) for name in training.init]
    if len(paths) != len(training.init):
        raise cli.BadInput(f'{training.net} starts from {len(training.init)} caffemodels ({", ".join(training.init)}), '
                           f'but --weights was given {len(paths)} times')
    for path in paths:
        if not path.is_file():
            raise cli.BadInput(f'--weights {path}: no such file')
    return paths
