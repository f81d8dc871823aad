"""The design choices of the papers, trained and scored here: make study, make study QUICK=1

Data are slices of one brain, see experiments/brain.py: every user of Debian can have them, and 20 of them, in blocks of
their own, are held out. The nets are those of nets/ with changes: the classes are the brain's, fc6 and fc7 are 512 wide
and start at random because the classifier's own are not at hand, conv1 to conv3 stay as they are, and rates and steps
are for small pictures and a CPU. Scores say how the choices compare on this data; it is one person's head.

Writes runs/study/study.json, tables, pictures and a report. A training that is finished is not repeated, one that was
stopped is resumed.
"""
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import cli
import files
from accel import device
from data_layers import open_dataset
from data_layers.palette import colorize, save
from data_layers.reading import read_indices
from experiments import brain
from experiments.brain import CLASSES, NAME
from experiments.fetch import vgg16_convolutions
from experiments.training import UPSAMPLING, run_folder, seeded, train_once
from nets import blocks
from nets.blocks import crop, loss, score, upsample
from nets.edits import freeze, learn_upsampling, normalise
from nets.vgg16 import vgg16
from nets.voc_fcn8s.net import fcn as fcn8s
from nets.voc_fcn8s_atonce.net import fcn as atonce
from nets.voc_fcn16s.net import fcn as fcn16s
from nets.voc_fcn32s.net import fcn as fcn32s
from report import page, study_tables
from report.pictures import sheet
from report.study_tables import tables
from report.upper_bound import upper_bound
from solvers import weights
from solvers.evaluation import evaluate_run
from solvers.recipe import Recipe
from solvers.run import Run
from solvers.training import Training
from surgery.graph import prune

SEEDS = 1, 2, 3
PIXELS = 181 * 217                      # of a slice
RATES = {32: 2e-9, 16: 3e-11, 8: 1e-12}
SNAPSHOTS = 100                         # steps between two
data = SimpleNamespace(NUM_CLASSES=len(CLASSES), feed=lambda split: blocks.feed(NAME, split, {'data': 'data'}))


@dataclass(frozen=True)
class Row:
    """One net of the study and how it is trained.

    Parameters
    ----------
    name : str
        What tables call it.
    fcn : callable
        Split -> `NetParameter`.
    base_lr : float
        Learning rate.
    steps : int
        Iterations of a full study.
    start : str, optional
        The row whose weights it starts from; by default the convolutions of VGG-16.
    """
    name: str
    fcn: Callable[[str], Any]
    base_lr: float
    steps: int
    start: str = ''


def single_layer(pool: str, stride: int) -> Callable[[str], Any]:
    """A net that scores a single pooling layer, without fc6 and fc7 and without skips.

    Parameters
    ----------
    pool : str
        Such as 'pool4'.
    stride : int
        Of that layer, in pixels of the image.

    Returns
    -------
    callable
        Split -> `NetParameter`.
    """
    def fcn(split: str) -> Any:
        n = data.feed(split)                                # data, label
        vgg16(n)
        n[f'score_{pool}'] = score(n[pool], data.NUM_CLASSES)
        n.upscore = upsample(n[f'score_{pool}'], stride)    # stride 1
        n.score = crop(n.upscore, n.data)
        loss(n)
        return prune(n.to_proto(), 'loss' if 'loss' in n.tops else 'score')
    return fcn


ROWS: tuple[Row, ...] = (
    Row('FCN-32s', lambda split: fcn32s(split, data), RATES[32], 2000),
    Row('FCN-16s', lambda split: fcn16s(split, data), RATES[16], 1000, start='FCN-32s'),
    Row('FCN-8s', lambda split: fcn8s(split, data), RATES[8], 1000, start='FCN-16s'),
    Row('FCN-32s, as long as 8s', lambda split: fcn32s(split, data), RATES[32], 2000, start='FCN-32s'),
    Row('FCN-32s-fixed', lambda split: freeze(fcn32s(split, data), ('conv', 'fc')), RATES[32], 2000),
    Row('FCN-8s at once', lambda split: atonce(split, data), RATES[32], 4000),
    Row('pool5 only', single_layer('pool5', 32), RATES[32], 2000),
    Row('pool4 only', single_layer('pool4', 16), RATES[16], 2000),
    Row('pool3 only', single_layer('pool3', 8), RATES[8], 2000),
    Row('FCN-8s, upsampling learned', lambda split: learn_upsampling(fcn8s(split, data), UPSAMPLING), RATES[8], 1000,
        'FCN-16s'),
    Row('FCN-32s, loss normalised', lambda split: normalise(fcn32s(split, data)), RATES[32] * PIXELS, 2000),
)
QUICK = 4                               # times fewer steps, and
QUICK_ROWS = 6                          # only so many rows, the first


def training(row: Row, seed: int) -> Training:
    """The net of a row and how one seed trains it."""
    images = len(open_dataset(NAME, 'val'))
    recipe = Recipe(row.base_lr, row.steps, score_every=-(-row.steps // 4), snapshot=SNAPSHOTS, test_iter=images,
                    seed=seed)
    return Training(row.name, seeded(row.fcn, seed, study_tables.WIDTH), recipe, init=())


def study(rows: Sequence[Row], seeds: Sequence[int], convolutions: Path, runs: Path, out: Path,
          **facts: Any) -> dict[str, Any]:
    """Train every row with every seed, and keep what is known so far in study.json.

    Parameters
    ----------
    rows : sequence of Row
        A row comes after the one it starts from.
    seeds : sequence of int
    convolutions : Path
        The caffemodel that the first rows start from.
    runs : Path
        Gets a folder for each run.
    out : Path
        The folder of study.json.
    **facts
        Go into study.json as they are.

    Returns
    -------
    dict
        What is in study.json: the `facts`, `data` as of `describe_data`, and `rows`: by name `base_lr`, `steps`,
        `start`, and by seed `scores` (the metrics as fractions of 1) and `seconds` (None for a training that was
        resumed).
    """
    result: dict[str, Any] = {**facts, 'data': describe_data(), 'rows': {}}
    for seed in seeds:
        for row in rows:
            cli.say(f'{row.name}, seed {seed}')
            initial = run_folder(runs, row.start, seed) / 'weights.caffemodel' if row.start else convolutions
            one = train_once(training(row, seed), run_folder(runs, row.name, seed), initial, 'study')
            entry = result['rows'].setdefault(row.name, {
                'base_lr': row.base_lr, 'steps': row.steps, 'start': row.start or "VGG-16's convolutions",
                'scores': {}, 'seconds': {}})
            entry['scores'][str(seed)], entry['seconds'][str(seed)] = one['scores'], one['seconds']
            files.write_json(out / 'study.json', result)
    return result


def describe_data() -> dict[str, Any]:
    """What the nets are trained and scored on.

    Returns
    -------
    dict
        `train` and `val`, the numbers of their slices; `classes`; `upper_bound`, factor -> mean IU, as a fraction of 1,
        of the labels of `val` made coarse.
    """
    splits = {split: open_dataset(NAME, split) for split in ('train', 'val')}
    bound = upper_bound(splits['val'], workers=1)['label']
    return {**{split: len(dataset) for split, dataset in splits.items()}, 'classes': list(CLASSES),
            'upper_bound': {str(factor): value for factor, value in bound.items()}}


def show(names: Sequence[str], runs: Path, seed: int, out: Path) -> None:
    """Write a sheet of held-out slices, one of each block, and the HTML report of some rows.

    Parameters
    ----------
    names : sequence of str
        Of trained rows.
    runs : Path
        Where their runs are.
    seed : int
        The seed they were trained with.
    out : Path
        Gets study.png and report.html.
    """
    dataset, chosen = open_dataset(NAME, 'val'), [run_folder(runs, name, seed) for name in names]
    for run in chosen:
        evaluate_run(Run(run))
    slices = dataset.ids[1::4]
    masks = {id: [dataset.read('label', id)[0],
                  *(read_indices(run / f'evaluation/label/{id}.png') for run in chosen)] for id in slices}
    grid = [[dataset.image(id), *map(colorize, masks[id])] for id in slices]
    save(out / 'study.png', sheet(grid, ['slice', 'truth', *names], np.unique(np.stack([*masks.values()])), CLASSES),
         'PNG')
    page.write(chosen, out / 'report.html')


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m experiments.study', description=__doc__)
    parser.add_argument('--quick', action='store_true',
                        help=f'the table of skips alone, {QUICK} times fewer steps, one seed')
    parser.add_argument('--all', action='store_true', help='with --quick: every row, in half an hour')
    parser.add_argument('--out', type=Path, default=weights.runs_folder() / 'study', help='folder of the results')
    args = parser.parse_args(argv)
    out, runs = args.out.resolve(), args.out.resolve() / ('quick' if args.quick else 'full')
    processor = device.choose()
    cli.show(f'computing on {processor}')
    brain.prepare()
    rows = ROWS
    if args.quick:
        rows = tuple(replace(row, steps=row.steps // QUICK) for row in ROWS[:None if args.all else QUICK_ROWS])
    seeds = SEEDS[:1] if args.quick else SEEDS
    runs.mkdir(parents=True, exist_ok=True)
    result = study(rows, seeds, vgg16_convolutions().resolve(), runs, out, quick=args.quick, processor=processor)
    text = '\n\n'.join(f'{title}\n\n{cli.table(lines)}' for title, lines in tables(result))
    files.write(out / 'tables.txt', f'{text}\n')
    show(['FCN-32s', 'FCN-16s', 'FCN-8s'], runs, seeds[0], out)
    cli.show(*text.split('\n'), '')
    cli.show(f'These are scores on {result["data"]["val"]} held-out slices of one brain, not VOC.')
    cli.show(f'Look at {out / "study.png"} and {out / "report.html"}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
