"""Surgery on Caffe nets: make classifiers fully convolutional, import and export nets, move their parameters."""
import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cli
import files
from cli import BadInput
from data_layers import VOID

from . import report
from .caffemodel import BEGINS, LARGEST, by, read_layers, read_weights, summary, write_weights
from .classifier import Classifier, Transform, prepare
from .convolutionalize import Dense, convolutionalize
from .expand import expand_score
from .export import FORMATS, export, open_net
from .export.exporting import check_out, report_path
from .export.preparing import PHOTOGRAPHS
from .head import Data, Plan, Upsampling, add_head, open_data, plan, smallest_pad
from .importers import import_model
from .net_input import RANGES
from .pictures import load
from .preparation import ORDERS, Preparation, class_names
from .proof import MEAN_SQUARE, Mismatch, prove
from .prototxt import read_net, write_prototxt
from .transplant import transplant
from .untrusted import shortened

EXAMPLES = """examples:
  python -m surgery convolutionalize --prototxt deploy.prototxt --weights caffenet.caffemodel --out dense
  python -m surgery convolutionalize --prototxt vgg.prototxt --weights vgg.caffemodel --out fcn --head 8 --classes 21
  python -m surgery import vgg16.safetensors --out vgg16
  python -m surgery export --net voc-fcn8s --weights fcn8s.caffemodel --input rgb --to onnx --out fcn8s.onnx
  python -m surgery transplant --from vgg16.caffemodel --to rgbd.caffemodel --suffix _depth --out start.caffemodel
  python -m surgery expand --weights fcn.caffemodel --layer score_fr --classes 34 --out more.caffemodel
  python -m surgery show fcn.caffemodel
"""


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; its exit status."""
    args = _parser().parse_args(argv)
    try:
        return args.do(args) or 0
    except BadInput as problem:         # names in a file may hold anything, line breaks too
        raise BadInput(' '.join(cli.printable(shortened(str(problem))).split())) from None


def _parser() -> cli.Parser:
    parser = cli.Parser(prog='python -m surgery', description=__doc__, epilog=EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    c = commands.add_parser('convolutionalize', help='a classifier as a net for images of any size, proved equal',
                            description='Writes deploy.prototxt, weights.caffemodel, report.json and, where known, '
                            'net.json, what its input wants; nothing if the classifier cannot be converted.')
    c.add_argument('--prototxt', required=True, metavar='P', help='the classifier: deploy or training, old or new form')
    c.add_argument('--weights', required=True, metavar='W', help='its binary caffemodel')
    c.add_argument('--out', required=True, type=Path, metavar='DIR')
    c.add_argument('--size', type=_size, metavar='HxW', help='image size, where the net does not say it')
    c.add_argument('--stage', action='append', default=[], help='stage for its include rules')
    c.add_argument('--image', action='append', default=[], metavar='FILE', help='also compare on this picture')
    c.add_argument('--mean', type=cli.numbers, metavar='B,G,R',
                   help='to subtract from pictures [the data layer\'s, or 0]')
    c.add_argument('--scale', type=float, help='to multiply pictures by, after that [the data layer\'s, or 1]')
    c.add_argument('--grid', type=_grid, default=10, metavar='N', help='time an N x N grid; 0: no timing [10]')
    c.add_argument('--head', type=int, metavar='STRIDE', help='add an FCN head that predicts at this stride: 32, 16, 8')
    c.add_argument('--classes', type=int, metavar='N', help='classes of the head')
    c.add_argument('--data', type=Path, metavar='DIR', help='the data set that the head is trained on')
    c.add_argument('--dataset', metavar='NAME', help='which data set that is [voc, or your own if DIR describes it]')
    c.add_argument('--skip', action='append', default=[], metavar='BLOB', help='where to skip from, in place of the '
                   'deepest layer at each stride')
    cli.add_device_arguments(c)
    c.set_defaults(do=_convolutionalize)

    c = commands.add_parser('import', help='a torch or ONNX classifier as prototxt and caffemodel')
    c.add_argument('model', metavar='MODEL', help='.onnx; .safetensors, .pth, .pt or .bin with a state dict')
    c.add_argument('--out', required=True, type=Path, metavar='DIR')
    c.add_argument('--size', type=_size, metavar='HxW', help='image size, where the model does not say it')
    c.add_argument('--input', choices=tuple(RANGES), help='what the model takes: pixels less ImageNet\'s mean '
                   'over its deviation, 0 to 1, -1 to 1, (pixels-127)/128 as EfficientNet-lite does, 0 to 255 '
                   '[as a state dict\'s architecture does, raw for ONNX]')
    c.add_argument('--order', choices=('rgb', 'bgr'), default='rgb', help='the channels of the model\'s input [rgb]')
    cli.add_device_arguments(c)
    c.set_defaults(do=_import)

    c = commands.add_parser('export', help='a net for another engine, proved equal to Caffe',
                            description='Writes the export and its report; nothing if it differs from Caffe. '
                            'Height, width and batch stay free wherever the net allows it.')
    which = c.add_mutually_exclusive_group(required=True)
    which.add_argument('--prototxt', type=Path, metavar='P', help='the net: deploy or training, old or new form')
    which.add_argument('--net', metavar='NET', help='or a net of nets/, such as voc-fcn8s')
    c.add_argument('--weights', required=True, type=Path, metavar='W', help='its binary caffemodel')
    c.add_argument('--to', choices=list(FORMATS), default='onnx', help='the format [onnx]')
    c.add_argument('--out', required=True, type=Path, metavar='FILE_OR_DIR', help='a file; of torch, a folder')
    c.add_argument('--input', choices=('caffe', *PHOTOGRAPHS), default='caffe', help='what the model takes: prepared '
                   'images, as Caffe does, or pixels from 0 to 255 in this order, which it prepares itself [caffe]')
    c.add_argument('--mean', type=cli.numbers, metavar='B,G,R', help='to subtract from pixels [net.json beside the '
                   'prototxt, or the data layer]')
    c.add_argument('--scale', type=float, help='to multiply pixels by, after that [likewise]')
    c.add_argument('--order', choices=list(ORDERS), help='the channels of the net\'s own input [likewise, or bgr]')
    c.add_argument('--classes', type=Path, metavar='FILE', help='names of the classes, one a line [likewise]')
    c.add_argument('--size', type=_size, metavar='HxW', help='image size, where the net does not say it')
    c.add_argument('--stage', action='append', default=[], help='stage for its include rules')
    c.set_defaults(do=_export)

    c = commands.add_parser('transplant', help='copy parameters by layer name from one net to another')
    c.add_argument('--from', required=True, dest='source', metavar='W', help='caffemodel to copy from')
    c.add_argument('--to', required=True, metavar='W', help='caffemodel whose layers and shapes are kept')
    c.add_argument('--out', required=True, metavar='FILE')
    c.add_argument('--suffix', default='', help='layer conv1 goes to conv1SUFFIX')
    c.add_argument('--map', action='append', default=[], metavar='OLD=NEW', help='a layer with another name there')
    c.add_argument('--skip', action='append', default=[], metavar='LAYER', help='a layer of the first that is not '
                   'copied, such as the scores of other classes; may be given several times')
    c.set_defaults(do=_transplant)

    c = commands.add_parser('expand', help='grow a score layer to more classes; the new ones start at zero')
    c.add_argument('--weights', required=True, metavar='W')
    c.add_argument('--layer', required=True, action='append', help='score layer; may be given several times')
    c.add_argument('--classes', required=True, type=int, metavar='N')
    c.add_argument('--out', required=True, metavar='FILE')
    c.set_defaults(do=_expand)

    c = commands.add_parser('show', help='layers, shapes and statistics of a caffemodel')
    c.add_argument('weights', metavar='W')
    c.set_defaults(do=_show)
    return parser


def _gpu(args: argparse.Namespace) -> int | None:
    """The GPU that nets are compared on, or None for the CPU; says so where there is no card."""
    from accel import device
    gpu, why = device.pick(args.gpu, args.cpu)
    if why:
        cli.show(f'computing on the CPU; {why}')
    return gpu


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition('x')
    if not height.isdigit() or not (width or height).isdigit() or not int(height) or not int(width or height):
        raise argparse.ArgumentTypeError(f'{text!r} is not a size (expected HxW, e.g. 224x224)')
    return int(height), int(width or height)


def _grid(text: str) -> int:
    if not text.isdigit() or int(text) > 100:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 0 to 100')
    return int(text)


def _convolutionalize(args: argparse.Namespace) -> int:
    _check_head_arguments(args)
    cli.check_output_folder(args.out, map(Path, (args.prototxt, args.weights, *args.image)))
    gpu = _gpu(args)
    classifier, dense, head = _convert(args)
    data = open_data(args.dataset, args.data.resolve(), args.classes) if head and args.data else None
    images = _images(args, classifier)
    try:
        with files.whole_folder(args.out) as folder:
            _write_dense(folder, args, classifier, dense)
            proof = _prove(folder, args, classifier, dense, images, head, gpu)
            text = _account(folder, args, classifier, dense, proof, head, data)
    except Mismatch as problem:
        cli.say(shortened(f'{args.prototxt}: {problem}; nothing was written'))
        return 1
    cli.show(*text.split('\n'), '', f'written to {args.out}')
    return 0


class _HeadPlan(NamedTuple):
    """What is known of a head before it is built."""

    trunk: Plan
    upsamplings: list[Upsampling]
    pad: int


def _check_head_arguments(args: argparse.Namespace) -> None:
    if (args.head is None) != (args.classes is None) or args.head is None and (args.data or args.skip):
        raise BadInput('--head and --classes go together, and --data and --skip with them')
    # VOID is the label of pixels that are not scored, so there can be no more classes.
    if args.head is not None and (args.head < 1 or not 2 <= args.classes <= VOID):
        raise BadInput(f'--head {args.head} --classes {args.classes}: a stride from 1, and 2 to {VOID} classes')


def _convert(args: argparse.Namespace) -> tuple[Classifier, Dense, _HeadPlan | None]:
    """The classifier, its dense net, and where a head goes."""
    net, weights = read_net(args.prototxt), read_weights(args.weights)
    try:
        classifier = prepare(net, weights, args.size, args.stage)
        dense = convolutionalize(classifier)
        return classifier, dense, _plan_head(args, dense) if args.head is not None else None
    except BadInput as problem:
        raise BadInput(f'{args.prototxt}: {problem}') from None


def _plan_head(args: argparse.Namespace, dense: Dense) -> _HeadPlan:
    trunk = plan(dense, args.head, args.skip)
    upsamplings: list[Upsampling] = []
    pad = smallest_pad(trunk, args.classes, upsamplings)
    return _HeadPlan(trunk, upsamplings, pad)


def _scale(args: argparse.Namespace, classifier: Classifier) -> float:
    """What pixels are multiplied by: as the command line says, else as the data layer did."""
    return float(classifier.transform.scale if args.scale is None else args.scale)


def _takes(args: argparse.Namespace, classifier: Classifier, data: Data | None) -> Preparation | None:
    """What the new net takes, by the data set, the command line or the classifier's data layer; None for unknown."""
    if data is not None:
        return data.takes
    stated, scale = classifier.transform, _scale(args, classifier)
    mean = stated.mean if args.mean is None else args.mean
    order = {1: 'grey', 3: 'bgr'}.get(next(iter(classifier.inputs.values()))[1])
    known = args.mean is not None or not stated.mean_file and (args.scale is not None or stated != Transform())
    if order is None or not known or len(mean) not in (0, 1, 3) or not scale or not all(
            map(math.isfinite, (*mean, scale))):
        return None
    return Preparation(tuple(map(float, mean)) or (0.0,), scale, order)


def _images(args: argparse.Namespace, classifier: Classifier) -> dict[str, np.ndarray[Any, Any]]:
    """The pictures to compare on, by path, as the classifier takes them."""
    channels = next(iter(classifier.inputs.values()))[1]
    mean = classifier.transform.mean if args.mean is None else args.mean
    return {str(path): load(path, channels, mean, _scale(args, classifier)) for path in args.image}


def _write_dense(folder: Path, args: argparse.Namespace, classifier: Classifier, dense: Dense) -> None:
    write_prototxt(folder / 'classifier.prototxt', classifier.net)
    write_prototxt(folder / 'deploy.prototxt', dense.net, f'Fully convolutional, from {Path(args.prototxt).name}')
    write_weights(folder / 'weights.caffemodel', dense.weights, {layer.name: layer.type for layer in dense.net.layer})


def _prove(folder: Path, args: argparse.Namespace, classifier: Classifier, dense: Dense,
           images: dict[str, np.ndarray[Any, Any]], head: _HeadPlan | None, gpu: int | None) -> dict[str, Any]:
    """Run the written net beside the classifier, whose prototxt then goes from the folder."""
    prototxt = folder / 'classifier.prototxt'
    try:
        proof = prove(classifier, dense, (prototxt, Path(args.weights)),
                      (folder / 'deploy.prototxt', folder / 'weights.caffemodel'), images, args.grid,
                      measure=head.trunk.measured if head else (), gpu=gpu)
    except BadInput as problem:
        raise BadInput(str(problem).replace(str(prototxt), str(args.prototxt))) from None
    prototxt.unlink()
    return proof


def _account(folder: Path, args: argparse.Namespace, classifier: Classifier, dense: Dense, proof: dict[str, Any],
             head: _HeadPlan | None, data: Data | None) -> str:
    """Write report.json and net.json, and first the head if one is wanted; the report to read."""
    facts = report.account(classifier, dense, proof)
    text = report.readable(facts)
    if head:
        (folder / 'deploy.prototxt').rename(folder / 'dense.prototxt')
        facts['head'], more = add_head(dense, head.trunk, args.classes, head.pad, head.upsamplings, proof[MEAN_SQUARE],
                                       folder, data, _scale(args, classifier))
        text += '\n\n' + more
    if (takes := _takes(args, classifier, data)) is not None:
        takes.write(folder)
    (folder / 'report.json').write_text(json.dumps(facts, indent=1) + '\n')
    return text


def _import(args: argparse.Namespace) -> int:
    cli.check_output_folder(args.out, [Path(args.model)])
    try:
        with files.whole_folder(args.out) as folder:
            text = import_model(args.model, folder, args.size, args.input, args.order, _gpu(args))
    except Mismatch as problem:
        cli.say(shortened(f'{problem}; nothing was written'))
        return 1
    cli.show(*text.split('\n'), '', f'written to {args.out}')
    return 0


def _export(args: argparse.Namespace) -> int:
    inputs = [path for path in (args.prototxt, args.weights, args.classes) if path]
    check_out(args.to, args.out, inputs)
    options = {'mean': args.mean, 'scale': args.scale, 'order': args.order,
               'classes': class_names(args.classes) if args.classes else None}
    source = open_net(args.prototxt, args.net, args.weights, args.input, options, args.size, args.stage)
    try:
        text = export(source, args.to, args.out)
    except Mismatch as problem:
        cli.say(shortened(f'{problem}; nothing was written'))
        return 1
    cli.show(*text.split('\n'), '', f'written to {args.out}, the report to {report_path(args.to, args.out)}')
    return 0


def _transplant(args: argparse.Namespace) -> int:
    rename = {}
    for pair in args.map:
        old, equals, new = pair.partition('=')
        if not (old and equals and new):
            raise BadInput(f'--map {pair}: give it as OLD=NEW')
        rename[old] = new
    cli.check_output(Path(args.out), [Path(args.source), Path(args.to)], BEGINS)
    target = read_weights(args.to)
    moved = transplant(target, read_weights(args.source), args.suffix, rename, args.skip)
    if not moved.copied and not moved.coerced:
        raise BadInput(f'{args.source}: none of its layers is in {args.to}; the names may differ by a --suffix or '
                       'a --map')
    write_weights(args.out, target, {layer.name: layer.type for layer in read_layers(args.to) if layer.type})
    cli.show(*str(moved).split('\n'))
    return 0


def _expand(args: argparse.Namespace) -> int:
    cli.check_output(Path(args.out), [Path(args.weights)], BEGINS)
    layers = read_layers(args.weights)
    weights = {layer.name: layer.blobs for layer in layers if layer.blobs}
    for name in args.layer:
        if name not in weights:
            raise BadInput(f'{args.weights}: no layer {name!r} with parameters; it has '
                           f'{", ".join(weights)}')
        old = weights[name]
        k = old[1].size if len(old) > 1 else old[0].shape[0] if old[0].ndim else 0
        numbers = sum(blob.size for blob in old) // max(k, 1) * args.classes
        if args.classes < 1 or not k or old[0].size % k or 4 * numbers > LARGEST:
            raise BadInput(f'{args.weights}: layer {name}, {by(old[0].shape)}, cannot have {args.classes} classes')
        shapes = [_widened(blob, k, args.classes) for blob in old]
        new = {name: [np.zeros(shape, np.float32) for shape in shapes]}
        cli.show(*str(expand_score(new, name, weights, name)).split('\n'))
        weights |= new
    write_weights(args.out, weights, {layer.name: layer.type for layer in layers if layer.type})
    return 0


def _widened(blob: np.ndarray, k: int, classes: int) -> list[int]:
    """The blob's shape with its axis of k classes made longer; legacy blobs have ones before it."""
    shape = list(blob.shape)
    axis = next((i for i, d in enumerate(shape) if d == k and all(e == 1 for e in shape[:i])), None)
    if axis is None:
        raise BadInput(f'a {by(shape)} blob has no axis for its {k} classes')
    shape[axis] = classes
    return shape


def _show(args: argparse.Namespace) -> int:
    cli.show(*summary(read_layers(args.weights)).split('\n'))
    return 0


if __name__ == '__main__':
    sys.exit(cli.run(main))
