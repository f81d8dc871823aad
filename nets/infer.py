"""Segment images of any size with a trained net.

    python -m nets.infer --net voc-fcn8s --weights FILE IMAGE_OR_DIR ... --out DIR

writes for each image `<name>.png`, the class of every pixel with the VOC palette, and `<name>_overlay.jpg`, the photo
under those colours with a legend; `--scores` adds `<name>.npz`, the softmax probability of every class. A net of two
tasks writes both, as `<name>_sem.png` and `<name>_geo.png`. A net that sees more than the photograph finds the rest
beside its folder, as NYUDv2 has it: images/img_5001.png, depth/img_5001.png, hha/img_5001.png.

With --tile N, an image larger than N x N pixels is segmented in overlapping tiles of that size, so that the net takes
no more memory than for one of them. Once tiles overlap by all that a score sees, scores are those of the whole image:
from N = 980 on with FCN-8s (FCN-16s 964, FCN-32s 932, FCN-AlexNet 832, FCN-GoogLeNet 1552). Smaller ones overlap by
half, and some pixels beside the seams get another class. Of a large image, it computes about four times as much with
these N, and less with larger ones (FCN-8s: 1.8 times with 2048).

With --submission the images are those of VOC 2012 test, and DIR/results/VOC2012/Segmentation/comp6_test_cls/ID.png is
what the evaluation server takes; all of it is checked at the end.
"""
import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import nets
from accel import device, ranks
from cli import BadInput
from data_layers import open_dataset
from data_layers.pictures import image_files, write_segmentation
from data_layers.submission import Submission
from files import move, new_folder, scratch
from solvers.capacity import available, check_fits
from solvers.instance import instantiate, load
from solvers.source import Source
from solvers.tiles import Segmented, Tiling, segment_in_tiles, tiling


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    training = nets.load(args.net)
    source, group = Source(training), ranks.world()
    test = open_dataset('voc2012', 'test') if args.submission else None
    files = [test.file('data', id) for id in test.ids] if test else image_files(args.images)
    cli.check_output_folder(args.out, files)
    submission = Submission(test, source.dataset, args.out) if test else None
    deploy = training.fcn('deploy')
    cut = tiling(deploy, args.tile) if args.tile else None
    cli.show(f'computing on {device.choose(args.gpu, args.cpu)}')
    if cut and cut.overlap < cut.enough and group.first:
        cli.say(f'tiles overlap by {cut.overlap} pixels: scores beside the seams are not quite those of the whole '
                f'image; from --tile {cut.exact} on they are')
    net = load(instantiate(deploy), args.weights)
    failed: dict[str, str] = {}
    held = 0
    with new_folder(args.out):      # which goes again when no image was segmented
        with scratch(args.out) as aside:
            for path in cli.progress(group.share(files), unit='image', desc='segment'):
                try:
                    images = source.read(path)
                    held = check_room(deploy, images, path, cut, held)
                    if args.scores:
                        check_probabilities(source, images, path)
                except BadInput as problem:
                    if len(files) > 1:
                        cli.say(f'warning: {problem}')
                    failed[path.name] = str(problem)
                    continue
                found = segment_in_tiles(net, images, cut, args.scores)
                if submission:
                    submission.write(path.stem, found['score'].labels)
                else:
                    write(aside, path, source, found)
                move(aside, args.out)
        check_failed({name: problem for part in group.gather(failed) for name, problem in part.items()}, files,
                     args.out)
    if group.first:
        cli.show(submission.check() if submission else f'{len(files)} images segmented into {args.out}')


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.Parser(prog='python -m nets.infer', description=__doc__)
    parser.add_argument('--net', required=True, help='a net of nets/, such as voc-fcn8s')
    parser.add_argument('--weights', required=True, type=Path, metavar='FILE', help='its caffemodel')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='where the pictures go')
    parser.add_argument('--tile', type=int, metavar='N', help='segment larger images in tiles of N x N pixels')
    parser.add_argument('--scores', action='store_true', help='also write the probability of every class')
    parser.add_argument('--submission', action='store_true', help='segment VOC 2012 test for its evaluation server')
    cli.add_device_arguments(parser)
    parser.add_argument('images', nargs='*', type=Path, metavar='IMAGE_OR_DIR')
    args = parser.parse_args(argv)
    if bool(args.images) == args.submission:
        parser.error('name images or folders of images, or --submission')
    if args.tile is not None and args.tile < 1:
        parser.error(f'--tile {args.tile}: give the side of a tile in pixels, such as 1024')
    return args


def check_room(deploy: Any, images: Mapping[str, Any], path: Path, cut: Tiling | None, held: int) -> int:
    """Refuse an image, or a tile of it, that does not fit; `held` and the result are as of `check_fits`."""
    *_, height, width = next(iter(images.values())).shape
    if cut:
        height, width = min(height, cut.side), min(width, cut.side)
    shapes = {name: (1, len(image), height, width) for name, image in images.items()}
    return check_fits(deploy, shapes, f'a tile of {path}' if cut else str(path), held,
                      lambda side: f'give --tile {side} or less, which segments it in tiles of so many pixels a side')


def check_probabilities(source: Source, images: Mapping[str, Any], path: Path) -> None:
    """Refuse an image whose probabilities, which are kept whole, do not fit into memory."""
    *_, height, width = next(iter(images.values())).shape
    need, free = 4 * height * width * sum(len(source.classes(score)) for score in source.tasks), available()
    if need > free:
        raise BadInput(f'{path} is {width}x{height} pixels, whose probabilities take {need / 1e9:.1f} GB, and '
                       f'{free / 1e9:.1f} GB are free: leave --scores out, or cut it into several images')


def write(out: Path, path: Path, source: Source, found: Mapping[str, Segmented]) -> None:
    """Write what was found in an image, a set of files for each task."""
    for name, one in found.items():
        stem = out / (path.stem + name.removeprefix('score'))
        write_segmentation(stem, path, one.labels, source.classes(name), one.probabilities)


def check_failed(failed: Mapping[str, str], files: Sequence[Path], out: Path) -> None:
    """Raise what is to be said about images that were not segmented: file name -> problem."""
    if failed and len(failed) == len(files):
        raise BadInput(next(iter(failed.values())) + f' (of {len(files)} images none was segmented)' * (len(files) > 1))
    if failed:
        raise cli.Failed(f'{len(failed)} of {len(files)} images were not segmented: {", ".join(failed)}; the others '
                         f'are in {out}')


if __name__ == '__main__':
    sys.exit(ranks.run(main))
