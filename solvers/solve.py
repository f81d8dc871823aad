"""The command line of every net's `solve.py`, of `python -m nets train` and of `python -m solvers train`."""
import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cli
import workers
from accel import device, ranks
from data_layers import data_home
from solvers import best, options, snapshot, weights
from solvers.loop import solve, warn
from solvers.run import initial_of, snapshots_of
from solvers.schedule import check_length
from solvers.source import open_source
from solvers.training import Training, checked

MOST = 2 ** 31      # iterations: Caffe counts them with an int
AFTER = 'after_training.py'     # a package with such a program is told of every finished run


def main(training: Training) -> None:
    """Train as the command line asks, and exit with its status: the whole of a `solve.py` that is run as a program.

    Parameters
    ----------
    training : Training
        What the program states.
    """
    def command(argv: Sequence[str] | None) -> None:
        train(checked(training, sys.argv[0]), parser(training.net).parse_args(argv))

    raise SystemExit(ranks.run(command))


def parser(net: str) -> cli.Parser:
    """The command line that every `solve.py` has."""
    result = cli.Parser(description=f'Train {net}.')
    add_arguments(result, net)
    return result


def add_arguments(result: argparse.ArgumentParser, net: str) -> None:
    """Let a command line say how a net is trained."""
    cli.add_device_arguments(result, 'gpu')
    result.add_argument('--iterations', type=int, metavar='N', help='stop after N steps instead of the recipe\'s')
    result.add_argument('--resume', action='store_true', help='continue from the newest snapshot of the run')
    options.add_arguments(result)
    result.add_argument('--workers', type=int, metavar='N', help='processes that read images ahead (default: 2)')
    result.add_argument('--keep', type=int, metavar='N', help='keep the N newest snapshots (default: all)')
    result.add_argument('--run', type=Path, metavar='DIR', help=f'the run\'s folder (default: $FCN_RUNS/{net})')
    result.add_argument('--data', type=Path, metavar='DIR', help='folder of the data sets (default: $FCN_DATA)')
    result.add_argument('--weights', type=Path, action='append', metavar='FILE',
                        help='caffemodel to start from; again for each further one a net is made of')


def train(training: Training, args: argparse.Namespace) -> None:
    """Train as the command line `args` of `parser` asks.

    Raises
    ------
    BadInput
        A wrong call, or data or weights are missing or do not fit.
    """
    number, why = device.pick(args.gpu, args.cpu)
    set_environment(args)
    run = (args.run or weights.runs_folder() / training.net).resolve()
    if args.iterations:
        training = replace(training, recipe=replace(training.recipe, iterations=args.iterations))
    begun = args.resume and snapshot.list_snapshots(snapshots_of(run))
    changes = options.resumed(options.stated(args), training, run) if begun else options.stated(args)
    training = options.changed(training, changes)
    check_length(training.recipe)
    for split in training.phases:
        open_source(training.fcn(split))  # missing data is said before anything else is looked for
    initial = initial_of(run) if begun else initial_weights(training, args.weights)
    processor = device.use(number, why)
    first = ranks.world().first
    if first:
        cli.show(f'computing on {processor}')
    matrices = solve(training, run, initial, args.resume, processor, args.keep, changes)
    if matrices and first:
        for label, matrix in matrices.items():
            cli.show(f'{training.net}: {label}', *str(matrix).split('\n'))
        if known := best.read(run):
            cli.show(f'{run / best.WEIGHTS}: the best mean IU, {100 * known["mean_iu"]:.1f}, after step '
                     f'{known["iteration"]}')
        cli.show(f'weights, scores and curves are in {run}')
        tell_finished(run, number)


def set_environment(args: argparse.Namespace) -> None:
    """Let all that reads data know what the command line says of it; raises `cli.BadInput` for numbers out of range."""
    check_call(args)
    if args.workers is not None:
        os.environ['FCN_WORKERS'] = str(args.workers)
    os.environ['FCN_DATA'] = str((args.data or data_home()).resolve())


def check_call(args: argparse.Namespace) -> None:
    """Refuse numbers out of range."""
    if args.iterations is not None and not 1 <= args.iterations < MOST:
        raise cli.BadInput(f'--iterations {args.iterations}: a run has at least 1, and fewer than 2^31')
    if args.workers is not None and args.workers < 0:
        raise cli.BadInput(f'--workers {args.workers}: 0 reads in the training process, more read ahead')
    if args.keep is not None and args.keep < 1:
        raise cli.BadInput(f'--keep {args.keep}: at least 1 snapshot must stay')
    options.stated(args)


def tell_finished(run: Path, gpu: int | None) -> None:
    """Call the program `after_training.py` of every package that has one: RUN and the device, as their command line.

    Parameters
    ----------
    run : Path
        The folder of a finished run.
    gpu : int or None
        The GPU it was trained on; None is the CPU.

    Notes
    -----
    Packages that stand on this one, such as `report`, do their part so, in a process of their own, whose failure
    cannot harm the run; training works without them.
    """
    on = ['--cpu'] if gpu is None else ['--gpu', str(gpu)]
    for program in sorted(weights.ROOT.glob(f'*/{AFTER}')):
        module = f'{program.parent.name}.{program.stem}'
        command = [sys.executable, '-m', module, str(run), *on]
        if workers.call(command, cwd=weights.ROOT, env=ranks.child_environment()).returncode:
            warn(f'python -m {module} {run} failed: try that again; the run itself is whole')


def train_chain(name: str, find: Callable[[str], Training], args: argparse.Namespace) -> None:
    """Train a net; first those it starts from, as long as their weights do not exist. What was begun goes on.

    Parameters
    ----------
    name : str
        The net.
    find : callable
        Name -> Training.
    args : argparse.Namespace
        As of `parser`; what names files goes to the last net alone, and so does a rate.
    """
    training = find(name)
    if not args.run and weights.existing(name):
        cli.show(f'{name} is trained: {weights.existing(name)}')
        return
    for source in () if args.weights else training.init:
        if isinstance(source, str) and source not in weights.CLASSIFIERS:
            train_chain(source, find, argparse.Namespace(**vars(args) | dict(run=None, weights=None, base_lr=None)))
            if not weights.existing(source):    # a signal ended it
                return
    train(training, argparse.Namespace(**vars(args) | dict(resume=True)))


def initial_weights(training: Training, given: Sequence[Path] | None) -> Sequence[Path]:
    """The caffemodels to start from: those given, or those `training.init` names.

    Raises
    ------
    BadInput
        A file is missing, or not as many are given as the net starts from.
    """
    paths = given or [weights.find(name) for name in training.init]
    if len(paths) != len(training.init):
        names = ', '.join(map(str, training.init))
        raise cli.BadInput(f'{training.net} starts from {len(training.init)} caffemodels ({names}), '
                           f'but --weights was given {len(paths)} times')
    for path in paths:
        if not path.is_file():
            raise cli.BadInput(f'--weights {path}: no such file')
    return paths
