"""What a command line changes about a training; `run.json` notes it, and a resumed run takes it from there."""
import argparse
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cli import BadInput
from solvers.run import Run
from solvers.source import facts, read_from
from solvers.training import Training

MOST = 2 ** 31      # of what Caffe counts with an int


@dataclass(frozen=True)
class Options:
    """Each is None where nothing is changed.

    Attributes
    ----------
    base_lr : float
        Learning rate.
    iter_size : int
        Passes whose gradients are averaged for one step.
    batch : int
        Images of a pass.
    max_size : int
        Pixels that the longer side of a training image may have; larger ones are shrunk with their labels.
    patience : int
        Scorings without a better mean IU after which the run ends; 0 never ends it.
    score_images : int
        Images of the scored split, spread evenly, that are scored on the way; at the end all are.
    """
    base_lr: float | None = None
    iter_size: int | None = None
    batch: int | None = None
    max_size: int | None = None
    patience: int | None = None
    score_images: int | None = None

    def known(self) -> dict[str, Any]:
        """Those that are stated, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line state the options."""
    parser.add_argument('--base-lr', type=float, metavar='RATE', help='learning rate instead of the recipe\'s')
    parser.add_argument('--iter-size', type=int, metavar='N', help='average the gradients of N passes for a step')
    parser.add_argument('--batch', type=int, metavar='N',
                        help='images of a pass, which need one size: for nets whose training images are cropped')
    parser.add_argument('--max-size', type=int, metavar='PIXELS',
                        help='shrink training images, and their labels, whose longer side has more pixels')
    parser.add_argument('--patience', type=int, metavar='N',
                        help='end after N scorings without a better mean IU (0: at the last step alone)')
    parser.add_argument('--score-images', type=int, metavar='N',
                        help='score N images on the way, spread evenly over the split, and all at the end')


def stated(args: argparse.Namespace) -> Options:
    """The options of a command line; raises `cli.BadInput` for numbers out of range."""
    if args.base_lr is not None and not (args.base_lr > 0 and math.isfinite(args.base_lr)):
        raise BadInput(f'--base-lr {args.base_lr:g}: give a rate above 0, such as 1e-10')
    for name, least in (('iter_size', 1), ('batch', 1), ('max_size', 1), ('patience', 0),
                        ('score_images', 1)):
        value = getattr(args, name)
        if value is not None and not least <= value < MOST:
            raise BadInput(f'{option(name)} {value}: give a number from {least} to below 2^31')
    return Options(args.base_lr, args.iter_size, args.batch, args.max_size, args.patience, args.score_images)


def option(name: str) -> str:
    """An option as the command line has it."""
    return '--' + name.replace('_', '-')


def changed(training: Training, options: Options) -> Training:
    """The training as the options change it.

    Raises
    ------
    BadInput
        A batch of images that may differ in size.
    """
    steps = {name: value for name, value in options.known().items() if name in ('base_lr', 'iter_size')}
    if steps:
        training = replace(training, recipe=training.recipe.changed(**steps))
    reading = {key: value for key, value in (('batch_size', options.batch), ('max_size', options.max_size))
               if value is not None}
    if not reading:
        return training
    train, fcn = training.phases[0], training.fcn
    read = facts(fcn(train)) | reading
    if read.get('batch_size', 1) > 1 and 'crop' not in read:
        raise BadInput(f'--batch {options.batch}: the images of a batch need one size, and those of {training.net} are '
                       f'not cropped; set crop in its data layer (in VARIED of nets/NAME.py for your own data), or '
                       f'give --iter-size {options.batch}')
    return replace(training, fcn=lambda split: read_from(fcn(split), **reading) if split == train else fcn(split))


def resumed(options: Options, training: Training, run: Path) -> Options:
    """What a run goes on with that was begun: the options it was begun with, but for the patience.

    Parameters
    ----------
    options : Options
        Of the command line that resumes it.
    training : Training
        As its program states it.
    run : Path
        Its folder.

    Raises
    ------
    BadInput
        An option is not what the run was begun with, or its run.json is damaged.
    """
    about = Run(run).about
    known = about.get('options', {})
    recipe, read = about.get('recipe'), facts(training.fcn(training.phases[0]))
    if not isinstance(known, dict) or not isinstance(recipe, dict) or not all(
            type(value) in (int, float) and value >= 0 for value in known.values()):
        raise BadInput(f'{run / "run.json"} is damaged (its recipe or its options are none)')
    begun: dict[str, Any] = {'base_lr': recipe.get('base_lr'), 'iter_size': recipe.get('iter_size', 1),
                             'batch': read.get('batch_size', 1), 'max_size': read.get('max_size'),
                             'score_images': None} | known
    for name, value in options.known().items():
        if name != 'patience' and (begun[name] is None or not math.isclose(value, begun[name], rel_tol=1e-6)):
            before = 'without' if begun[name] is None else f'with {begun[name]:g}'
            raise BadInput(f'{option(name)} {value:g}: {run} was begun {before}; leave it out, or name another folder '
                           'with --run')
    taken = {name: known[name] for name in asdict(options) if name in known}
    return replace(Options(**taken), **options.known())
