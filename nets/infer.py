"""Segment images of any size with a trained net.

    python -m nets.infer --net voc-fcn8s --weights FILE IMAGE_OR_DIR ... --out DIR
    python -m nets.infer --prototxt FILE --weights FILE --mean B,G,R --classes FILE IMAGE_OR_DIR ... --out DIR

writes for each image `<name>.png`, the class of every pixel, and `<name>_overlay.jpg`, the photo under the colours of
the classes with a legend. Colours are those of your list of classes, else VOC's; what is called background or void
stays bare. `--values` gives the PNG the values of your own masks, the first where several mean one class; `--scores`
adds `<name>.npz`, the softmax probability of every class. A net of two tasks writes both, as `<name>_sem.png` and
`<name>_geo.png`. A net that sees more than the photograph finds the rest
beside its folder, as NYUDv2 has it: images/img_5001.png, depth/img_5001.png, hha/img_5001.png.

With --tile N, an image larger than N x N pixels is segmented in overlapping tiles of that size, so that the net takes
no more memory than for one of them. Once tiles overlap by all that a score sees, scores are those of the whole image:
from N = 980 on with FCN-8s (FCN-16s 964, FCN-32s 932, FCN-AlexNet 832, FCN-GoogLeNet 1552). Smaller ones overlap by
half, and some pixels beside the seams get another class. Of a large image, it computes about four times as much with
these N, and less with larger ones (FCN-8s: 1.8 times with 2048).

--flip and --scales average the probabilities, the softmax of the scores, over mirrored and resized images: each image
is resized bilinearly, and so are its scores on their way back. Both go with --tile.

Any deploy net will do whose outputs are maps of scores, in a prototxt of any age. Softmax and ArgMax at its end are
left out; maps coarser than the image are interpolated bilinearly; a single score is that of class 1 against class 0.
What its input wants may stand in net.json beside the prototxt, {"mean": [B, G, R], "scale": 1, "order": "bgr",
"multiple": 1, "classes": [...], "colours": [...], "values": [...]}; options come before it.

With --submission the images are those of VOC 2012 test, and DIR/results/VOC2012/Segmentation/comp6_test_cls/ID.png is
what the evaluation server takes; all of it is checked at the end.
"""
import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path

import cli
import nets
from accel import device, ranks
from cli import BadInput
from data_layers import open_dataset
from data_layers.pictures import image_files, write_segmentation
from data_layers.submission import Submission
from files import move, new_folder, scratch
from solvers import deploy_options
from solvers.deploy import Deploy, Room
from solvers.segmenting import Array, Segmented, Way, segment_image
from solvers.source import Source
from workers import Beside

NAMES = re.compile(r'[^\w.-]+')      # what names of blobs may hold and those of files should not


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    deploy, group = deploy_options.chosen(args, nets.load, nets.names()), ranks.world()
    way = deploy_options.way(args, deploy)
    test = open_dataset('voc2012', 'test') if args.submission else None
    files = [test.file('data', id) for id in test.ids] if test else image_files(args.images)
    cli.check_output_folder(args.out, files)
    values = own_values(deploy.source, args) if args.values else {}
    submission = Submission(test, [*deploy.source.names.values()], args.out) if test else None
    cli.show(f'computing on {device.choose(args.gpu, args.cpu)}')
    if deploy.overlaps and group.first:
        cli.say('warning: the classes of this net overlap; a picture has the strongest one of each pixel')
    if way.cut and way.cut.overlap < way.cut.enough and group.first:
        cli.say(f'tiles overlap by {way.cut.overlap} pixels: scores beside the seams are not quite those of the whole '
                f'image; from --tile {way.cut.exact} on they are')
    with new_folder(args.out):      # which goes again when no image was segmented
        with scratch(args.out) as aside, Beside(deploy.source, values, submission) as beside:
            failed = segment(deploy, way, group.share(files), len(files) > 1, args, aside, beside)
        check_failed({name: problem for part in group.gather(failed) for name, problem in part.items()}, files,
                     args.out)
    if group.first:
        cli.show(submission.check() if submission else f'{len(files)} images segmented into {args.out}')


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.Parser(prog='python -m nets.infer', description=__doc__)
    deploy_options.add_arguments(parser)
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='where the pictures go')
    parser.add_argument('--scores', action='store_true', help='also write the probability of every class')
    parser.add_argument('--values', action='store_true', help='let the PNGs have the values that stand for the classes '
                        'in the masks that the net has learnt from: numbers, or colours')
    parser.add_argument('--submission', action='store_true', help='segment VOC 2012 test for its evaluation server')
    cli.add_device_arguments(parser)
    parser.add_argument('images', nargs='*', type=Path, metavar='IMAGE_OR_DIR')
    args = parser.parse_args(argv)
    if bool(args.images) == args.submission:
        parser.error('name images or folders of images, or --submission')
    if args.values and args.submission:
        parser.error("--submission takes VOC's own numbers; leave --values out")
    return args


def own_values(source: Source, args: argparse.Namespace) -> Mapping[str, Sequence[str]]:
    """Score blob -> what stands for its classes in the user's own masks; raises BadInput where that is not known."""
    if not source.values or not all(source.values.values()):
        raise BadInput(f'--values: nothing says which values the masks of {args.net or args.prototxt} have, as '
                       'dataset.json does of your own data with numbers or colours, and the net.json of its nets; '
                       'leave --values out')
    return source.values


def segment(deploy: Deploy, way: Way, paths: Sequence[Path], warn: bool, args: argparse.Namespace, aside: Path,
            beside: Beside) -> dict[str, str]:
    """Segment photographs; while one goes through the net, the one before it is written and the next one read.

    Parameters
    ----------
    deploy, way
        The net, and how images go through it.
    paths : sequence of Path
        The photographs.
    warn : bool
        Whether to say at once which ones could not be segmented.
    args : Namespace
        Of the command line.
    aside : Path
        Folder to write to, whose files go to `args.out` as soon as they are whole.
    beside : Beside
        The process that reads and writes.

    Returns
    -------
    dict of str to str
        Names of the photographs that could not be segmented -> why.
    """
    def keep() -> None:
        for written in writing:
            written()
        writing.clear()
        move(aside, args.out)

    net, room, writing = deploy.load(), Room(deploy, way, args.scores), list[Callable[[], None]]()
    reading = ((path, beside.begin(path, read, path)) for path in paths)
    failed: dict[str, str] = {}
    try:
        for (path, images_of), _ in cli.progress(pairwise(chain(reading, [None])), total=len(paths), unit='image',
                                                 desc='segment'):
            try:
                images = images_of()
                room.check(images, str(path))
            except BadInput as problem:
                if warn:
                    cli.say(f'warning: {problem}')
                failed[path.name] = str(problem)
                continue
            found = segment_image(net, images, way, args.scores)
            keep()
            writing.append(beside.begin(path, write, aside, path, found))
    finally:
        keep()
    return failed


def read(source: Source, _values: object, _submission: object, path: Path) -> dict[str, Array]:
    """The input blobs of a photograph."""
    return source.read(path)


def write(source: Source, values: Mapping[str, Sequence[str]], submission: Submission | None, out: Path, path: Path,
          found: Mapping[str, Segmented]) -> None:
    """Write what was found in an image: into a submission, or a set of files for each task into a folder.

    Parameters
    ----------
    source : Source
        What the net reads.
    values : mapping of str to sequence of str
        As of `own_values`, or none.
    submission : Submission, optional
        Takes the place of the folder.
    out : Path
        The folder.
    path : Path
        The photograph.
    found : mapping of str to Segmented
        By score blob.
    """
    if submission:
        submission.write(path.stem, next(iter(found.values())).labels)
        return
    for name, one in found.items():
        of_task = name.removeprefix('score') if source.dataset else '_' + NAMES.sub('_', name)
        stem = out / (path.stem + of_task * (len(found) > 1 or source.dataset is not None))
        write_segmentation(stem, source.show(path), one.labels, source.classes(name), one.probabilities,
                           source.colours.get(name, ()), values.get(name, ()))


def check_failed(failed: Mapping[str, str], files: Sequence[Path], out: Path) -> None:
    """Raise what is to be said about images that were not segmented: file name -> problem."""
    if failed and len(failed) == len(files):
        raise BadInput(next(iter(failed.values())) + f' (of {len(files)} images none was segmented)' * (len(files) > 1))
    if failed:
        raise cli.Failed(f'{len(failed)} of {len(files)} images were not segmented: {", ".join(failed)}; the others '
                         f'are in {out}')


if __name__ == '__main__':
    sys.exit(ranks.run(main))
