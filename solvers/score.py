"""Score the weights of a net on a split of its data set: the four metrics, per class.

    python -m solvers.score --net voc-fcn8s --weights FILE --split seg11valid [--json FILE]
"""
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cli
import files
from accel import device
from solvers import weights
from solvers.evaluation import score_weights
from solvers.metrics import to_json, variants
from solvers.training import load


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m solvers.score', description=__doc__)
    parser.add_argument('--net', required=True, help='a net of nets/, such as voc-fcn8s')
    parser.add_argument('--weights', required=True, type=Path, help='its .caffemodel')
    parser.add_argument('--split', help="which split of the net's test data set; its own when not given")
    parser.add_argument('--json', type=Path, help='also write scores and confusion matrix there')
    parser.add_argument('--data', type=Path, help='folder of the data sets (default: $FCN_DATA or data/)')
    cli.add_device_arguments(parser, 'gpu')
    args = parser.parse_args(argv)
    if args.data:
        os.environ['FCN_DATA'] = str(args.data.resolve())
    if args.json:
        cli.check_output(args.json, [args.weights], begins=b'{')
    training = load(args.net, weights.ROOT / 'nets')
    cli.show(f'computing on {device.choose(args.gpu, args.cpu)}')
    found, dataset = score_weights(training, args.weights, args.split)
    loss, images = found.loss / len(dataset), len(dataset)
    for label, matrix in found.matrices.items():
        cli.show(f'{args.net}: {label}, {images} images, loss {loss:.1f}', *str(matrix).split('\n'))
        for what, scores in variants(matrix, dataset.left_out).items():
            cli.show(f'{what}: {scores}')
    if args.json:
        tasks = {label: to_json(matrix, dataset.left_out) for label, matrix in found.matrices.items()}
        files.write_json(args.json, {'net': args.net, 'weights': str(args.weights), 'images': images,
                                     'loss': loss if math.isfinite(loss) else None,
                                     'tasks': tasks})


if __name__ == '__main__':
    sys.exit(cli.run(main))
