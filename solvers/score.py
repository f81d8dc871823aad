"""Score segmentations: the four metrics, per class.

    python -m solvers.score --net voc-fcn8s --weights FILE --split seg11valid [--json FILE]
    python -m solvers.score --prototxt FILE --weights FILE --mean B,G,R --dataset voc --split val
    python -m solvers.score --predictions DIR --truth DIR --classes FILE

The first scores the weights of a net on a split of its data set, the second any deploy net on a split of any data set
of the same classes, the third pictures that anything has made. --tile, --flip and --scales let images go through a net
as they do in python -m nets.infer; there is no loss then.

Of pictures, those belong together that have the same path below the two folders but for the suffix. Pixels are numbers
of classes (palette or grey, 8 or 16 bits), or colours where the list of classes has them: a line is `road`, `7 road` or
`128 64 128 road`. 255 is void in a truth, and what the list calls void. A prediction that is no class is an error.
"""
import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cli
import files
from accel import device
from cli import BadInput
from data_layers import VOID, Dataset, open_dataset
from data_layers.own.folder import CARD, Folder
from solvers import deploy_options, predictions, weights
from solvers.deploy import Deploy
from solvers.deploy_scores import label_tops, score_images
from solvers.evaluation import Evaluation, score_weights
from solvers.metrics import to_json, variants
from solvers.segmenting import ONCE
from solvers.source import open_source, read_from
from solvers.training import load
from surgery.programs import net_folders


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    if args.data:
        os.environ['FCN_DATA'] = str(args.data.resolve())
    if args.json:
        inputs = [path for path in (args.weights, args.prototxt, args.classes, args.ids) if path]
        cli.check_output(args.json, inputs, begins=b'{')
    if args.predictions:
        found, facts, left_out = score_predictions(args)
    else:
        found, facts, left_out = score_net(args)
    name, images = facts.get('net', facts.get('predictions')), facts['images']
    loss = f', loss {facts["loss"]:.1f}' if facts.get('loss') is not None else ''
    for label, matrix in found.matrices.items():
        cli.show(f'{name}: {label}, {images} images{loss}', *str(matrix).split('\n'))
        for what, scores in variants(matrix, left_out).items():
            cli.show(f'{what}: {scores}')
    if args.json:
        tasks = {label: to_json(matrix, left_out) for label, matrix in found.matrices.items()}
        files.write_json(args.json, {**facts, 'tasks': tasks, 'per_image': found.images})


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.Parser(prog='python -m solvers.score', description=__doc__)
    deploy_options.add_arguments(parser)
    data = parser.add_argument_group('the data set')
    data.add_argument('--dataset', metavar='NAME', help='voc, ... or your own by its name or folder [the net\'s]')
    data.add_argument('--split', help='which split of it [that which the net is scored on]')
    data.add_argument('--data', type=Path, metavar='DIR', help='folder of the data sets [$FCN_DATA or data/]')
    data.add_argument('--root', type=Path, metavar='DIR', help='folder of this data set, where it lies elsewhere')
    pictures = parser.add_argument_group('pictures')
    pictures.add_argument('--predictions', type=Path, metavar='DIR', help='score these, in place of a net')
    pictures.add_argument('--truth', type=Path, metavar='DIR', help='against these')
    pictures.add_argument('--void', type=int, metavar='N', help=f'void in a truth [{VOID}]')
    pictures.add_argument('--ids', type=Path, metavar='FILE', help='score those that it lists, one a line [all truths]')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write scores and confusion matrix there; '
                        'python -m report FILE shows them')
    cli.add_device_arguments(parser, 'gpu')
    args = parser.parse_args(argv)
    if (args.predictions is None) != (args.truth is None):
        parser.error('--predictions and --truth go together')
    if args.predictions and (args.net or args.prototxt or args.classes is None):
        parser.error('--predictions and --truth go with --classes, and without a net')
    if args.dataset is None and (args.root or args.prototxt):
        parser.error('--dataset NAME is missing: what the net is scored on')
    return args


def score_predictions(args: argparse.Namespace) -> tuple[Evaluation, dict[str, Any], str | None]:
    """What pictures came to, what the JSON says of them, and a class that some publications leave out."""
    classes = predictions.read_classes(args.classes, args.void)
    pictures = predictions.pairs(args.predictions, args.truth, args.ids)
    found = predictions.score_pictures(pictures, classes)
    matrix = found.matrices[predictions.LABEL]
    if len(matrix.classes) > len(classes.names):
        cli.say(f'warning: {matrix.counts[:, -1].sum()} labelled pixels have predictions that are no class: counted as '
                'errors')
    return found, {'predictions': str(args.predictions), 'truth': str(args.truth), 'classes': str(args.classes),
                   'images': len(pictures)}, None


def score_net(args: argparse.Namespace) -> tuple[Evaluation, dict[str, Any], str | None]:
    """The same of a net."""
    nets = weights.ROOT / 'nets'
    deploy = deploy_options.chosen(args, lambda name: load(name, nets), net_folders(nets))
    way = deploy_options.way(args, deploy)
    with_loss = deploy.training is not None and way == ONCE and args.dataset is None
    dataset = None if with_loss else dataset_of(args, deploy)
    if dataset is not None:
        if deploy.overlaps:
            raise BadInput(f'the classes of {args.net} overlap: it is scored on its own data set, without --tile, '
                           '--flip and --scales')
        label_tops(deploy, dataset)     # before a net is made
    cli.show(f'computing on {device.choose(args.gpu, args.cpu)}')
    if dataset is None:
        found, dataset = score_weights(deploy.training, deploy.weights, args.split)     # type: ignore[arg-type]
    else:
        found = score_images(deploy, deploy.load(), dataset, way)
    loss = found.loss / len(dataset)
    return found, {'net': args.net or str(args.prototxt), 'weights': str(deploy.weights), 'dataset': dataset.name,
                   'split': dataset.split, 'title': dataset.title, 'images': len(dataset),
                   'loss': loss if math.isfinite(loss) else None}, dataset.left_out


def dataset_of(args: argparse.Namespace, deploy: Deploy) -> Dataset:
    """The split that a net is scored on: as the command line says, else its own."""
    if args.dataset is None:
        training = deploy.training or deploy_options.described(Path(args.net))
        if training is None:
            raise BadInput(f'--dataset NAME is missing: what {args.net} is scored on')
        test = training.fcn(training.phases[1])
        return open_source(read_from(test, split=args.split) if args.split else test)
    name, root = args.dataset, args.root
    if root is None and (Path(name) / CARD).is_file():
        name, root = Folder.name, Path(name)
    if args.split is None:
        raise BadInput(f'--split NAME is missing: which split of {args.dataset}')
    return open_dataset(name, args.split, root)


if __name__ == '__main__':
    sys.exit(cli.run(main))
