"""What was trained, and what is training; and folders of prototxts trained.

    python -m solvers runs [DIR]        the runs in a folder: state, step, loss, a pixel's, best mean IU and its step
    python -m solvers train DIR         any folder of prototxts, trained as the nets of nets/ are
    python -m solvers doctor RUN_OR_NET why a net does not learn
"""
import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cli
import files
from accel import ranks
from cli import BadInput
from solvers import best, monitor, options, snapshot, solve, weights
from solvers.doctor import command as doctor
from solvers.folder import INIT, RUN, read_folder
from solvers.foreign import check_training
from solvers.run import is_held, snapshots_of, weights_of

TRAIN = """Train the net of a folder of prototxts: preflight, scores, curves, snapshots, exact resume, report.

    python -m surgery convolutionalize --prototxt P --weights W --out mine --head 8 --classes 21 --data DIR
    python -m solvers train mine --iterations 4000

DIR holds solver.prototxt, of any type and lr_policy that Caffe has; the nets that it names, by train_net and test_net,
or one by net, with include rules; deploy.prototxt, which is otherwise derived from the scored net; and perhaps
init.caffemodel to start from. Data come from the layer SegmentationData of data_layers.layers. Losses are
SoftmaxWithLoss and, for classes that overlap, SigmoidCrossEntropyLoss, each by its loss_weight; of several that compare
scores with the same labels, the last one's scores count.

All is checked before the first step: shapes at every size of image, labels, weights, and a step in another process.
The run goes to another folder, with the prototxts as they were read; DIR stays as it is.
"""


def state(run: Path, ended: bool) -> str:
    """Whether a run is `running`, `finished` or `stopped`, given whether it took its last step."""
    if is_held(run):
        return 'running'
    return 'finished' if ended and weights_of(run).exists() else 'stopped'


def describe(run: Path) -> tuple[str, ...]:
    """One row: folder, net, state, step, loss of an image and of a pixel, best mean IU and its step.

    Of a damaged run, what is wrong.
    """
    try:
        return _describe(run)
    except (BadInput, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        reason = str(problem) if isinstance(problem, BadInput) else f'run.json is damaged ({type(problem).__name__})'
        return str(run), cli.printable(reason), 'damaged', *[''] * 5


def _describe(run: Path) -> tuple[str, ...]:
    known = json.loads(files.read_text(run / 'run.json'))
    lines = monitor.read(run / 'metrics.jsonl')
    losses = [line['loss'] for line in lines if 'scores' not in line]
    iteration, iterations = max((line['iteration'] for line in lines), default=0), known['recipe']['iterations']
    pixels = [line['pixel_loss'] for line in lines if 'pixel_loss' in line and 'scores' not in line]
    top = best.of_lines(lines)
    patience = known.get('options', {}).get('patience') or math.inf
    ended = iteration >= iterations or top.since >= patience
    kept = (best.read(run) or {}).get('iteration') == top.iteration
    return (str(run), str(known['net']), state(run, ended), f'{iteration}/{iterations}',
            f'{monitor.smooth(losses)[-1]:.4g}' if losses else '',
            f'{monitor.smooth(pixels)[-1]:.3g}' if pixels else '',
            f'{100 * top.mean_iu:.1f}' if top.iteration else '',
            f'{top.iteration}{f" ({best.WEIGHTS})" if kept else ""}' if top.iteration else '')


def table(folder: Path) -> str:
    """The runs below a folder, newest last."""
    runs = sorted(folder.rglob('run.json'), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise cli.BadInput(f'{folder}: no run is in there; runs are written to $FCN_RUNS or runs/ by solve.py')
    rows = [('run', 'net', 'state', 'step', 'loss', 'a pixel', 'best mIU', 'at step'),
            *(describe(path.parent) for path in runs)]
    return cli.table(rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog='python -m solvers', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    runs = commands.add_parser('runs', help='list runs')
    runs.add_argument('folder', nargs='?', type=Path, default=weights.runs_folder(), help='default: $FCN_RUNS or runs/')
    train = commands.add_parser('train', help='train the net of a folder of prototxts', description=TRAIN,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    train.add_argument('folder', type=Path, metavar='DIR', help='with solver.prototxt and the nets that it names')
    solve.add_arguments(train, 'the name of DIR')
    examine = commands.add_parser('doctor', help='find out why a net does not learn', description=doctor.DESCRIPTION,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    doctor.add_arguments(examine)
    args = parser.parse_args(argv)
    if args.command == 'doctor':
        return doctor.main(args)
    if args.command == 'train':
        train_folder(args)
    else:
        cli.show(*table(args.folder).split('\n'))
    return 0


def train_folder(args: argparse.Namespace) -> None:
    """Train the net of a folder of prototxts, as the command line asks.

    Raises
    ------
    BadInput
        A wrong call; or what is in the folder, the data or the weights do not go together.
    """
    solve.set_environment(args)
    found = read_folder(args.folder, args.weights or ())
    if args.run and args.run.resolve() == args.folder.resolve() and not (args.folder / RUN).is_file():
        raise BadInput(f'--run {args.run}: the prototxts there are read, and would be replaced; name another folder')
    run = args.run or weights.runs_folder() / found.training.net
    begun = args.resume and snapshot.list_snapshots(snapshots_of(run))
    initial = () if begun else found.initial
    if ranks.world().first:
        given = options.stated(args)
        changes = options.resumed(given, found.training, run) if begun else given
        scored = check_training(options.changed(found.training, changes), args.folder, initial)
        for note in found.notes:
            cli.say(note)
        if scored != found.training.recipe.test_iter:
            cli.say(f'all {scored} images of the scored split are scored, whatever test_iter says')
        if not initial and not begun:
            cli.say(f'{args.folder} has no {INIT}: layers start from their fillers; --weights FILE names a caffemodel')
    ranks.world().wait()        # none begins before all is checked
    args.weights = found.initial
    solve.train(found.training, args)


if __name__ == '__main__':
    sys.exit(ranks.run(main))
