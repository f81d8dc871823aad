"""Segment images of any size with a trained net.

    python -m nets.infer --net voc-fcn8s --weights FILE IMAGE_OR_DIR ... --out DIR

writes for each image `<name>.png`, the class of every pixel with the VOC palette, and `<name>_overlay.jpg`, the photo
under those colours with a legend; `--scores` adds `<name>.npz`, the softmax probability of every class. A net of two
tasks writes both, as `<name>_sem.png` and `<name>_geo.png`. A net that sees more than the photograph finds the rest
beside its folder, as NYUDv2 has it: images/img_5001.png, depth/img_5001.png, hha/img_5001.png.

With --submission the images are those of VOC 2012 test, and DIR/results/VOC2012/Segmentation/comp6_test_cls/ID.png is
what the evaluation server takes; all of it is checked at the end.
"""
import sys
from collections.abc import Sequence
from pathlib import Path

import cli
import nets
from accel import device, ranks
from cli import BadInput
from data_layers import open_dataset
from data_layers.pictures import image_files, write_segmentation
from data_layers.submission import Submission
from files import move, new_folder, scratch
from solvers.capacity import check_fits
from solvers.instance import instantiate, load, segment
from solvers.source import Source


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m nets.infer', description=__doc__)
    parser.add_argument('--net', required=True, help='a net of nets/, such as voc-fcn8s')
    parser.add_argument('--weights', required=True, type=Path, metavar='FILE', help='its caffemodel')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='where the pictures go')
    parser.add_argument('--scores', action='store_true', help='also write the probability of every class')
    parser.add_argument('--submission', action='store_true', help='segment VOC 2012 test for its evaluation server')
    cli.add_device_arguments(parser)
    parser.add_argument('images', nargs='*', type=Path, metavar='IMAGE_OR_DIR')
    args = parser.parse_args(argv)
    if bool(args.images) == args.submission:
        parser.error('name images or folders of images, or --submission')
    training = nets.load(args.net)
    source = Source(training)
    submission = Submission(open_dataset('voc2012', 'test'), source.dataset, args.out) if args.submission else None
    files = submission.images() if submission else image_files(args.images)
    cli.check_output_folder(args.out, files)
    cli.show(f'computing on {device.choose(args.gpu, args.cpu)}')
    deploy = training.fcn('deploy')
    net = load(instantiate(deploy), args.weights)
    group = ranks.world()
    failed: dict[str, str] = {}
    held = 0
    with new_folder(args.out):      # which goes again when no image was segmented
        with scratch(args.out) as aside:
            for path in cli.progress(group.share(files), unit='image', desc='segment'):
                try:
                    images = source.read(path)
                    shapes = {name: (1, *image.shape) for name, image in images.items()}
                    held = check_fits(deploy, shapes, str(path), held)
                except BadInput as problem:
                    if len(files) > 1:
                        cli.say(f'warning: {problem}')
                    failed[path.name] = str(problem)
                    continue
                for name, scores in segment(net, images).items():
                    if submission:
                        submission.write(path.stem, scores)
                    else:
                        stem = aside / (path.stem + name.removeprefix('score'))
                        write_segmentation(stem, path, scores, source.classes(name), args.scores)
                move(aside, args.out)
        failed = {name: problem for part in group.gather(failed) for name, problem in part.items()}
        if failed and len(failed) == len(files):
            raise BadInput(next(iter(failed.values())) +
                           f' (of {len(files)} images none was segmented)' * (len(files) > 1))
    if failed:
        raise cli.Failed(f'{len(failed)} of {len(files)} images were not segmented: {", ".join(failed)}; the others '
                         f'are in {args.out}')
    if group.first:
        cli.show(submission.check() if submission else f'{len(files)} images segmented into {args.out}')


if __name__ == '__main__':
    sys.exit(ranks.run(main))
