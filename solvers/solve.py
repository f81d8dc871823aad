"""The training loop: Caffe's SGD solver, stepped from Python, scored and snapshot at the recipe's intervals.

A run is a folder. Whatever a step depends on is either in its newest snapshot (weights, momentum) or a pure function of
seed and position (the image, dropout's mask), so a run killed at any moment continues to the same bytes.
"""
import argparse
import contextlib
import fcntl
import json
import math
import os
import platform
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import cli
from accel import device, nccl, ranks
from data_layers import VOID, data_home
from nets.edits import read_from
from solvers import monitor, preflight, snapshot, weights
from solvers.instance import instantiate, load
from solvers.recipe import Recipe
from solvers.score import ConfusionMatrix, evaluate, four, tasks
from solvers.source import facts, open_source
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
            raise SystemExit(ranks.run(lambda argv: train(self, parser(self.net).parse_args(argv))))


def emit(training: Training, folder: Path) -> None:
    """Write the prototxts of a net into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, message in training.prototxts().items():
        (folder / f'{stem}.prototxt').write_text(str(message))


def solve(training: Training, run: Path, initial=(), resume: bool = False, device_name: str = 'CPU',
          keep: int | None = None) -> dict[str, ConfusionMatrix]:
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
    keep : int, optional
        Snapshots to keep; all by default.

    Returns
    -------
    dict
        Label blob -> ConfusionMatrix of the last scoring; empty when a signal ended the run before its end.

    Raises
    ------
    Diverged
        The loss is no longer a number.
    """
    group = ranks.world()
    if not resume and snapshot.everything(run / 'snapshots'):
        raise cli.BadInput(f'{run} already holds a run: continue it with --resume, or name another folder with --run')
    with _alone(run, group), _signals() as stop:
        loop = _Loop(training, run, initial, group, keep, device_name)
        with cli.progress(total=training.recipe.iterations, initial=loop.iteration, desc=training.net, unit='step',
                          disable=not group.first) as bar:
            while loop.iteration < training.recipe.iterations:
                loop.step()
                bar.set_postfix_str(loop.describe(), refresh=False)
                bar.update()
                if group.any(bool(stop)):
                    loop.stop()
                    return {}
        return loop.finish()


class Diverged(cli.Failed):
    """The loss is no longer a finite number; the message names the last good snapshot."""


class _Loop:
    """One run while it goes on."""

    def __init__(self, training, run, initial, ranks, keep, device_name) -> None:
        self.training, self.run, self.ranks, self.keep = training, run, ranks, keep
        self.recipe = training.recipe
        learnt, test = map(training.fcn, training.phases)
        self.scored, self.pairs = open_source(test), tasks(test)
        preflight.data(open_source(learnt))
        preflight.data(self.scored)
        if ranks.first:
            _write_down(training, run, initial, device_name, ranks.size)
        ranks.wait()    # for what the first rank wrote down
        self.batch = facts(learnt).get('batch_size', 1)
        self.solver = _solver(training, run)
        passes = self._start(initial, learnt)
        self.test_net = self.solver.test_nets[0]
        self.test_net.share_with(self.solver.net)
        self.passes = _Passes(self.solver.net, learnt, self.recipe.seed, passes, ranks)
        ranks.average_gradients(self.solver, learnt, self.recipe.iter_size, device.on_gpu())
        self._seek(passes)
        self.metrics = monitor.Metrics(run / 'metrics.jsonl', self.iteration) if ranks.first else None
        self.matrices: dict[str, ConfusionMatrix] = {}
        self.loss = math.nan

    @property
    def iteration(self) -> int:
        return self.solver.iter

    def _start(self, initial, learnt) -> int:
        """Bring the solver to the beginning of the run or its newest snapshot; returns the images seen until then."""
        net = self.solver.net
        preflight.classes(net, tasks(learnt), self.scored)
        newest = snapshot.newest(self.run / 'snapshots', snapshot.shapes(net))
        if newest:
            return snapshot.restore(self.solver, newest)
        if snapshot.everything(self.run / 'snapshots'):
            raise cli.BadInput(f'{self.run}: no snapshot is whole; name another folder with --run, or remove this one')
        reports = self.training.initialise(net, *(read_weights(path) for path in initial))
        filled = f'filled with bilinear kernels: {", ".join(fill_bilinear(net))}'
        self.ranks.broadcast(net)
        if self.ranks.first:
            (self.run / 'init.txt').write_text('\n\n'.join(map(str, [*reports, filled])) + '\n')
            zero = preflight.unlearnable(net, learnt)
            kept = self.keep or -(-self.recipe.iterations // self.recipe.snapshot)
            _warn(f'no weights for {", ".join(zero)}, which stay at zero: nothing passes them (see init.txt of the run)'
                  if zero else None, preflight.rate(learnt, self.recipe.base_lr),
                  preflight.disk(net, self.run, kept), preflight.memory(net))
        return 0

    def _seek(self, passes: int) -> None:
        from data_layers import layers
        layers.set_rank(self.ranks.rank, self.ranks.size)
        layers.seek(passes * self.batch)

    def step(self) -> None:
        """One step, and what is due after it: scores, a snapshot."""
        self.solver.step(1)
        iteration, last = self.iteration, self.iteration == self.recipe.iterations
        self.loss = self.passes.take_loss()
        if not math.isfinite(self.loss):
            raise Diverged(self._last_words(f'the loss of step {iteration} is {self.loss}'))
        if self.metrics:
            self.loss = self.metrics.step(iteration, self.loss)
        if iteration == DEAD_AFTER and self.ranks.first:
            _warn(monitor.dead(self.passes.per_pixel, self.passes.classes))
        if last or iteration % self.recipe.score_every == 0:
            self.score()
        if last or iteration % self.recipe.snapshot == 0:
            self.save()

    def describe(self) -> str:
        """Smoothed loss and last scores, for the bar."""
        scores = [f'{label} mIU {100 * matrix.compute().mean_iu:.1f}' for label, matrix in self.matrices.items()]
        return ', '.join([f'loss {self.loss:.4g}', *scores])

    def evaluate(self) -> tuple[dict[str, ConfusionMatrix], float]:
        """Score the test split, each rank its part of it."""
        from data_layers import layers
        layers.rewind()
        part = len(self.ranks.share(range(len(self.scored))))
        matrices, loss = evaluate(self.test_net, self.pairs, self.scored.classes, part)
        for matrix in matrices.values():
            matrix.counts = self.ranks.sum(matrix.counts)
        return matrices, float(self.ranks.sum(np.float64(loss * part))) / len(self.scored)

    def score(self) -> None:
        """Score the test split, note and print it, and warn of a net that gives every pixel one class."""
        self.ranks.check_equal(self.solver.net)
        self.matrices, loss = self.evaluate()
        if self.metrics:
            scores = {label: matrix.compute() for label, matrix in self.matrices.items()}
            self.metrics.score(self.iteration, loss, {label: score.summary() for label, score in scores.items()})
            for label, score in scores.items():
                cli.say(f'iteration {self.iteration}: {label}  {four(score)}')
                _warn(monitor.one_class(self.matrices[label].counts))

    def save(self) -> None:
        """Take a snapshot; metrics and curves up to here are on disk before it counts."""
        if self.metrics:
            self.metrics.flush()
            try:
                snapshot.save(self.solver, self.run / 'snapshots', self.passes.seen, self.keep)
            except snapshot.DiskFull as problem:
                raise cli.BadInput(self._last_words(str(problem))) from None
            monitor.plot(self.run, self.training.net)

    def stop(self) -> None:
        """End before the end, as a signal asked."""
        self.save()
        if self.metrics:
            self.metrics.close()
            cli.say(f'stopped after step {self.iteration} of {self.recipe.iterations}; --resume goes on from there')

    def finish(self) -> dict[str, ConfusionMatrix]:
        """Give the last snapshot's weights their final name; the last scores."""
        if self.metrics:
            self.metrics.close()
            _link(snapshot.weights(snapshot.everything(self.run / 'snapshots')[-1]), self.run / 'weights.caffemodel')
        return self.matrices or self.evaluate()[0]     # the latter where the run had already ended

    def _last_words(self, problem: str) -> str:
        good = snapshot.everything(self.run / 'snapshots')
        return f'{problem}; ' + (f'the last good snapshot is {good[-1]}, --resume goes on from it' if good else
                                 'there is no snapshot yet')


class _Passes:
    """Follows the forward passes of the training net: makes each pure, adds up its loss.

    Dropout's masks are drawn anew for each pass from (seed, images seen before), so a resumed run or another rank gets
    the very masks that one undisturbed process would have drawn.
    """

    def __init__(self, net, net_parameter, seed: int, seen: int, ranks) -> None:
        import caffe
        # Blobs, not the net: the net keeps these callbacks, and the two would keep each other alive for ever.
        self._seed, self._ranks, self._caffe = seed, ranks, caffe
        self.seen = seen
        losses = [layer for layer in net_parameter.layer if layer.type == 'SoftmaxWithLoss']
        self._losses = [net.blobs[layer.top[0]] for layer in losses]
        self._label = net.blobs[losses[0].bottom[1]]
        self._normalised = losses[0].loss_param.normalize
        self._last = list(net._layer_names).index(losses[-1].name)
        self.classes = net.blobs[losses[0].bottom[0]].shape[1]
        self.per_pixel: deque[float] = deque(maxlen=monitor.SMOOTHING)
        self._of_step: list[float] = []
        net.before_forward(self._begin)
        net.after_forward(self._end)

    def _begin(self, layer: int) -> None:
        if layer == 0:
            position = self.seen + self._ranks.rank
            self._caffe.set_random_seed(int(np.random.SeedSequence((self._seed, position)).generate_state(1)[0]))
            self.seen += self._ranks.size

    def _end(self, layer: int) -> None:
        if layer == self._last:
            losses = [float(blob.data) for blob in self._losses]
            labelled = 1 if self._normalised else np.count_nonzero(self._label.data != VOID)
            self.per_pixel.append(losses[0] / max(labelled, 1))
            self._of_step.append(sum(losses))

    def take_loss(self) -> float:
        """Mean loss over the passes since the last call, and over the ranks."""
        mean = float(self._ranks.sum(np.float64(np.mean(self._of_step)))) / self._ranks.size
        self._of_step.clear()
        return mean


def _solver(training, run):
    """The solver of the prototxts in `run`, its fresh layers filled from the recipe's seed."""
    import caffe
    caffe.set_random_seed(training.recipe.seed)
    with contextlib.chdir(run):
        return caffe.get_solver('solver.prototxt')


@contextlib.contextmanager
def _alone(run: Path, ranks):
    """Hold the run folder: no second process trains in it meanwhile."""
    run.mkdir(parents=True, exist_ok=True)
    if not ranks.first:
        yield
        return
    with (run / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise cli.BadInput(f'{run}: another process is training there; name another folder with --run') from None
        yield


@contextlib.contextmanager
def _signals():
    """A list that SIGINT and SIGTERM fill, so that a step is finished before the loop looks; a second one kills."""
    stop: list[int] = []

    def note(number, _frame):
        stop.append(number)
        signal.signal(number, signal.SIG_DFL)
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warn(*messages) -> None:
    for message in filter(None, messages):
        cli.say(f'warning: {message}')


def _write_down(training, run, initial, device_name, ranks) -> None:
    """Write the prototxts and all that says how this run was made."""
    import caffe
    emit(training, run)
    solver = training.recipe.solver(*training.phases)
    solver.ClearField('snapshot')  # the loop takes them, whole or not at all
    solver.snapshot_prefix = snapshot.PREFIX
    if ranks > 1 and not nccl.layer_wise(training.fcn(training.phases[0]), solver.iter_size):
        solver.layer_wise_reduce = False
    (run / 'solver.prototxt').write_text(str(solver))
    commit = subprocess.run(['git', '-C', weights.ROOT, 'rev-parse', 'HEAD'], capture_output=True, text=True)
    (run / 'run.json').write_text(json.dumps({
        'net': training.net, 'recipe': asdict(training.recipe), 'initial': [str(path) for path in initial],
        'device': device_name, 'ranks': ranks, 'commit': commit.stdout.strip() or None,
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
    cli.add_device_arguments(result, 'gpu')
    result.add_argument('--iterations', type=int, metavar='N', help='stop after N steps instead of the recipe\'s')
    result.add_argument('--resume', action='store_true', help='continue from the newest snapshot of the run')
    result.add_argument('--workers', type=int, metavar='N', help='processes that read images ahead (default: 2)')
    result.add_argument('--keep', type=int, metavar='N', help='keep the N newest snapshots (default: all)')
    result.add_argument('--run', type=Path, metavar='DIR', help=f'the run\'s folder (default: $FCN_RUNS/{net})')
    result.add_argument('--data', type=Path, metavar='DIR', help='folder of the data sets (default: $FCN_DATA)')
    result.add_argument('--weights', type=Path, action='append', metavar='FILE',
                        help='caffemodel to start from; again for each further one a net is made of')
    return result


def train(training: Training, args) -> None:
    """Train as the command line `args` of `parser` asks."""
    number, why = device.pick(args.gpu, args.cpu)
    if args.iterations is not None and args.iterations < 1:
        raise cli.BadInput(f'--iterations {args.iterations}: a run has at least 1')
    if args.workers is not None:
        if args.workers < 0:
            raise cli.BadInput(f'--workers {args.workers}: 0 reads in the training process, more read ahead')
        os.environ['FCN_WORKERS'] = str(args.workers)
    if args.keep is not None and args.keep < 1:
        raise cli.BadInput(f'--keep {args.keep}: at least 1 snapshot must stay')
    os.environ['FCN_DATA'] = str((args.data or data_home()).resolve())
    run = (args.run or weights.runs_folder() / training.net).resolve()
    if args.iterations:
        training = replace(training, recipe=replace(training.recipe, iterations=args.iterations))
    for split in training.phases:
        open_source(training.fcn(split))  # missing data is said before anything else is looked for
    initial = [] if args.resume and snapshot.everything(run / 'snapshots') else _initial(training, args.weights)
    processor = device.use(number, why)
    if ranks.world().first:
        print(f'computing on {processor}', flush=True)
    matrices = solve(training, run, initial, args.resume, processor, args.keep)
    if matrices and ranks.world().first:
        for label, matrix in matrices.items():
            print(f'{training.net}: {label}\n{matrix}')
        print(f'weights, scores and curves are in {run}')
        _report(run, number)


def _report(run: Path, gpu: int | None) -> None:
    """Write `report.html` of a finished run: by a program of its own, whose trouble cannot harm the run."""
    command = [sys.executable, '-m', 'report', str(run), *(['--cpu'] if gpu is None else ['--gpu', str(gpu)])]
    if subprocess.run(command, cwd=weights.ROOT, env=ranks.child_environment()).returncode:
        _warn(f'no report was made; try again with python -m report {run}')


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
            if not weights.existing(source):    # a signal ended it
                return
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
