"""The FCN-score of generated street scenes, which pix2pix, CycleGAN and their successors report, and what it hides.

    python -m nets weights cityscapes-fcn8s
    python -m report fcn-score RESULTS --truth gtFine/val

segments the generated frames with the FCN-8s that was published for this, and compares with the labels that they were
generated from. RESULTS is a folder of pictures, or has folders of them: CITY_SHOT_FRAME_leftImg8bit.png, or any other
name that begins with CITY_SHOT_FRAME, such as that of pix2pix's own *_fake_B.png. Each is resized to its label, by
Pillow's bilinear filter as scipy.misc.imresize did. --truth takes gtFine/val, or a folder that it is in.

The first scores are those of the published script: means over 19 classes, with those that the truth lacks
as zeros. The net has a 20th output, which is none of them. The script counts in a 19 x 19 table in one row, where the
20th class of a line is the first of the next: a pixel of class i taken for it becomes one of class i + 1 taken for
road, and of the last class, bicycle, it lies beyond the table, upon which the script drops the frame without a word.

A frame of 2048x1024 pixels is segmented in tiles of 1024 x 1024, whose scores are those of the whole frame, in at most
3 GB; --tile N takes others (from 980 on they are exact), and one of 2048 the whole frame, in 5 GB.
"""
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

import cli
import files
import nets
from accel import device
from cli import BadInput
from data_layers.cityscapes import CLASSES, SCORED, Cityscapes, read_numbers
from data_layers.reading import read_rgb, to_blob
from report.frames import Frames, Size, by, check, label_files, match
from report.published import FCN_SCORE
from solvers import weights
from solvers.capacity import check_fits
from solvers.instance import instantiate, load
from solvers.metrics import ConfusionMatrix, to_json
from solvers.segmenting import Way, segment_image
from solvers.tiles import Tiling, tiling

NET = 'cityscapes-fcn8s'
TILE = 1024
SIZE = (1024, 2048)     # height and width of the labels of Cityscapes
TINY = 1e-12            # in the script's denominators
NAMED = 10              # frames, and of more only how many
METRICS = ('per_pixel_accuracy', 'per_class_accuracy', 'class_iu')

Counts = npt.NDArray[np.int64]


class Score(NamedTuple):
    """The three numbers of the FCN-score, as fractions of 1."""
    per_pixel_accuracy: float
    per_class_accuracy: float
    class_iu: float


# The definition.

def count(truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> Counts:
    """The confusions of a frame.

    Parameters
    ----------
    truth : array
        Indices into `SCORED`; others, such as 255, are left out.
    prediction : array of the same shape
        Indices into `CLASSES`.

    Returns
    -------
    array
        19 x 20, int64: pixels of true class i taken for class j.
    """
    rows, columns = len(SCORED), len(CLASSES)
    scored = truth < rows
    cells = truth[scored].astype(np.int64) * columns + prediction[scored]
    return np.bincount(cells, minlength=rows * columns).reshape(rows, columns)


def as_published(counts: Counts) -> Counts | None:
    """The table that the published script makes of a frame; None where it drops the frame.

    Parameters
    ----------
    counts : array
        19 x 20, as of `count`.

    Returns
    -------
    array or None
        19 x 19. What is taken for the 20th class of a row is counted in the first cell of the next row.
    """
    if counts[-1, -1]:
        return None
    table = counts[:, :-1].copy()
    table[1:, 0] += counts[:-1, -1]
    return table


def score(table: Counts) -> Score:
    """The FCN-score of a square table of (true, predicted) pixels; classes without any are zeros in the means."""
    right, true, predicted = np.diag(table), table.sum(1), table.sum(0)
    return Score(float(right.sum() / (table.sum() + TINY)), float(np.mean(right / (true + TINY))),
                 float(np.mean(right / (true + predicted - right + TINY))))


def total(tables: Iterable[Counts], columns: int = len(SCORED)) -> Counts:
    """The sum of tables of 19 rows; zeros where there is none."""
    return sum(tables, np.zeros((len(SCORED), columns), np.int64))


class Found(NamedTuple):
    """What the frames came to.

    Attributes
    ----------
    scores : dict of str to Score
        Which frames are counted, in words -> their FCN-score; the published script's are the first.
    matrix : ConfusionMatrix
        Of all frames, 20 x 20.
    dropped, held : list of str
        Frames that the script drops, and all that hold the 20th class.
    miscounted : int
        Pixels that the script counts for another class than their own.
    """
    scores: dict[str, Score]
    matrix: ConfusionMatrix
    dropped: list[str]
    held: list[str]
    miscounted: int


def evaluate(counts: Mapping[str, Counts]) -> Found:
    """Score frames.

    Parameters
    ----------
    counts : mapping of str to array
        Id -> 19 x 20 pixels, as of `count`.

    Returns
    -------
    Found
    """
    published = {id: as_published(frame) for id, frame in counts.items()}
    held = [id for id, frame in counts.items() if frame[:, -1].any()]
    others = counts.keys() - held
    square = np.vstack([total(counts.values(), len(CLASSES)), np.zeros((1, len(CLASSES)), np.int64)])
    scores = {
        'as the published script counts': score(total(table for table in published.values() if table is not None)),
        'without frames that hold the 20th class': score(total(counts[id][:, :-1] for id in others)),
        'all frames, means over 20 classes': score(square)}
    return Found(scores, ConfusionMatrix(CLASSES, square), [id for id, table in published.items() if table is None],
                 held, sum(int(counts[id][:-1, -1].sum()) for id in held if published[id] is not None))


# The net.

def segment(net: Any, picture: Path, size: Size, cut: Tiling | None) -> npt.NDArray[np.uint8]:
    """The class of every pixel of a generated picture.

    Parameters
    ----------
    net : caffe.Net
        With weights.
    picture : path
    size : (int, int)
        Height and width, to which it is resized first.
    cut : Tiling, optional

    Returns
    -------
    array
        Indices into `CLASSES`, of that size.
    """
    resized = Image.fromarray(read_rgb(picture)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    blob = to_blob(np.asarray(resized)[:, :, ::-1], Cityscapes.means['data'])
    return segment_image(net, {'data': blob}, Way(cut))['score'].labels


def find_weights(given: Path | None) -> Path:
    """The caffemodel: the one that is named, or the published one.

    Raises
    ------
    BadInput
        The published one is not here; says how to get it.
    """
    path = given or weights.released(NET)
    if given is None and not path.is_file():
        raise BadInput(f'{path} is missing: python -m nets weights {NET} fetches the published weights, or name other '
                       'ones with --weights')
    return path


# What is told.

def named(ids: Sequence[object]) -> str:
    """Names of frames, the first few of many."""
    more = len(ids) - NAMED
    return ', '.join(map(str, ids[:NAMED])) + (f' and {more} more' if more > 0 else '')


def hidden(found: Found, frames: Frames, sizes: Mapping[str, tuple[Size, Size]]) -> list[str]:
    """What the published definition does not say of itself, a line each.

    Parameters
    ----------
    found : Found
    frames : Frames
    sizes : mapping
        As of `check`.
    """
    lines = []
    every = len(frames.pairs)
    if found.dropped:
        lines.append(f'{len(found.dropped)} of {every} frames are dropped without a word, since bicycles in them are '
                     f'taken for the 20th class: {named(found.dropped)}')
    if found.held:
        lines.append(f'{len(found.held)} of {every} frames hold the 20th class: {named(found.held)}')
    if found.miscounted:
        lines.append(f'{found.miscounted} pixels that are taken for the 20th class, in frames that are not dropped, '
                     'count as the class after their own, taken for road')
    if absent := absent_classes(found.matrix):
        lines.append(f'{len(absent)} of {len(SCORED)} classes are absent from the truth and count as 0 in both means: '
                     f'{", ".join(absent)}')
    for size, times in resized(sizes).items():
        lines.append(f'{times} of {every} frames are resized, from {by(size)} to {by(next(iter(sizes.values()))[1])} '
                     'pixels')
    if (label := next(iter(sizes.values()))[1]) != SIZE:
        lines.append(f'labels are {by(label)} pixels, those of Cityscapes {by(SIZE)}: the published scores are of '
                     'another task')
    if frames.missing:
        lines.append(f'{len(frames.missing)} labels have no generated frame and are left out, where the published '
                     f'script fails: {named(frames.missing)}')
    if frames.strange:
        lines.append(f'{len(frames.strange)} pictures have no label and are left out: '
                     f'{named([path.name for path in frames.strange])}')
    return lines


def absent_classes(matrix: ConfusionMatrix) -> list[str]:
    """Classes of the task that the truth lacks."""
    return [name for name, pixels in zip(SCORED, matrix.counts.sum(1), strict=False) if not pixels]


def resized(sizes: Mapping[str, tuple[Size, Size]]) -> Counter[Size]:
    """Height and width of pictures that differ from those of their label -> how many there are."""
    return Counter(picture for picture, label in sizes.values() if picture != label)


def table(found: Found) -> str:
    """The scores beside the published ones, as text."""
    rows = [('', 'per-pixel acc.', 'per-class acc.', 'class IU'),
            *((what, *(f'{value:.4f}' for value in one)) for what, one in found.scores.items()),
            *((f'published: {what}', *(f'{value:.2f}?' for value in row)) for what, row in FCN_SCORE.items())]
    return cli.table(rows)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m report fcn-score', description=__doc__)
    parser.add_argument('results', type=Path, metavar='RESULTS', help='folder of the generated frames')
    parser.add_argument('--truth', type=Path, required=True, metavar='DIR', help='gtFine/val of Cityscapes')
    parser.add_argument('--weights', type=Path, metavar='FILE', help='a caffemodel (default: the published one)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write all numbers and names there')
    parser.add_argument('--tile', type=int, default=TILE, metavar='N', help='side of the tiles in pixels [%(default)s]')
    cli.add_device_arguments(parser)
    args = parser.parse_args(argv)
    if args.tile < 1:
        parser.error(f'--tile {args.tile}: give the side of a tile in pixels, such as {TILE}')
    caffemodel = find_weights(args.weights)
    if args.json:
        cli.check_output(args.json, [caffemodel], begins=b'{')
    frames = match(args.results, label_files(args.truth))
    sizes = check(frames)
    deploy = nets.load(NET).fcn('deploy')
    cut = tiling(deploy, args.tile)
    cli.show(f'computing on {device.choose(args.gpu, args.cpu)}')
    height, width = (min(side, cut.side) for side in next(iter(sizes.values()))[1])
    check_fits(deploy, {'data': (1, 3, height, width)}, f'a tile of {args.results}')
    net = load(instantiate(deploy, read=()), caffemodel)
    counts = {}
    for id, (picture, label) in cli.progress(frames.pairs.items(), desc='segment', unit='frame'):
        counts[id] = count(read_numbers(label), segment(net, picture, sizes[id][1], cut))
    found = evaluate(counts)
    said = hidden(found, frames, sizes)
    cli.show(f'FCN-score of {len(counts)} frames in {args.results}, by {caffemodel}', *table(found).split('\n'),
             *(['What the first line hides:', *(f'- {line}' for line in said)] if said else []),
             f'All frames, classes that the truth lacks left out of the means ({CLASSES[-1]}: the 20th class):',
             *str(found.matrix).split('\n'))
    if args.json:
        files.write_json(args.json, record(args, caffemodel, found, frames, sizes))


def record(args: Any, caffemodel: Path, found: Found, frames: Frames,
           sizes: Mapping[str, tuple[Size, Size]]) -> dict[str, Any]:
    """All that is known, as JSON values."""
    return {
        'results': str(args.results), 'truth': str(args.truth), 'weights': str(caffemodel),
        'sha256': files.sha256(caffemodel), 'frames': len(frames.pairs),
        **next(iter(found.scores.values()))._asdict(),
        'variants': {what: one._asdict() for what, one in found.scores.items()},
        'published': {what: dict(zip(METRICS, row, strict=True)) for what, row in FCN_SCORE.items()},
        'dropped': found.dropped, 'hold_20th_class': found.held, 'miscounted_pixels': found.miscounted,
        'absent_classes': absent_classes(found.matrix),
        'resized': {by(size): times for size, times in resized(sizes).items()},
        'without_frame': frames.missing, 'without_truth': [str(path) for path in frames.strange],
        'usual': to_json(found.matrix)}
