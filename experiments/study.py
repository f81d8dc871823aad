"""The design choices of the papers, trained and scored here: make study, make study QUICK=1

Data are slices of one brain, see experiments/brain.py: every user of Debian can have them, and 20 of them, in blocks of
their own, are held out. The nets are those of nets/ with four changes: the classes are the brain's, fc6 and fc7 are 512
wide and start at random because the classifier's own are not at hand, conv1 to conv3 stay as they are, and rates and
steps are for small pictures and a CPU. Scores say how the choices compare on this data; it is one person's head.

Writes runs/study/study.json, tables, pictures and a report. A training that is finished is not repeated, one that was
broken off goes on.
"""
import hashlib
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import cli
import files
from accel import device
from data_layers import open_dataset
from data_layers.dataset import read_indices
from data_layers.palette import colorize
from experiments.brain import CLASSES, NAME, brain
from experiments.fetch import vgg16_convolutions
from nets import blocks
from nets.blocks import crop, loss, score, upsample
from nets.edits import freeze, learn_upsampling, narrow, normalise
from nets.vgg16 import vgg16
from nets.voc_fcn8s.net import fcn as fcn8s
from nets.voc_fcn8s_atonce.net import fcn as atonce
from nets.voc_fcn16s.net import fcn as fcn16s
from nets.voc_fcn32s.net import fcn as fcn32s
from report import page, published
from report.pictures import sheet
from report.upper_bound import upper_bound
from solvers import snapshot, weights
from solvers.evaluation import evaluate_run
from solvers.loop import solve
from solvers.metrics import METRICS
from solvers.recipe import Recipe
from solvers.run import Run
from solvers.source import read_from
from solvers.training import Training
from surgery.graph import prune

WIDTH = 512                             # of fc6 and fc7
HELD = ('conv1', 'conv2', 'conv3')
SEEDS = 1, 2, 3
PIXELS = 181 * 217                      # of a slice
RATES = {32: 2e-9, 16: 3e-11, 8: 1e-12}
UPSAMPLING = 1e4                        # times that rate, or kernels would move by a millionth
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
        The row whose weights it starts from; the convolutions of VGG-16 when none.
    """
    name: str
    fcn: Callable
    base_lr: float
    steps: int
    start: str = ''


def only(pool: str, stride: int) -> Callable:
    """The net that scores a single pool, without fc6 and fc7 and without skips."""
    def fcn(split):
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
    Row('pool5 only', only('pool5', 32), RATES[32], 2000),
    Row('pool4 only', only('pool4', 16), RATES[16], 2000),
    Row('pool3 only', only('pool3', 8), RATES[8], 2000),
    Row('FCN-8s, upsampling learned', lambda split: learn_upsampling(fcn8s(split, data), UPSAMPLING), RATES[8], 1000,
        'FCN-16s'),
    Row('FCN-32s, loss normalised', lambda split: normalise(fcn32s(split, data)), RATES[32] * PIXELS, 2000),
)
QUICK = 4                               # times fewer steps, and only
QUICK_ROWS = 6                          # the first of them


def training(row: Row, seed: int) -> Training:
    """The net of a row and how one seed trains it."""
    def fcn(split):
        net = freeze(narrow(row.fcn(split), WIDTH), HELD)
        return read_from(net, seed=seed) if split == 'train' else net

    heights = open_dataset(NAME, 'val')
    return Training(row.name, fcn, Recipe(row.base_lr, row.steps, score_every=-(-row.steps // 4), snapshot=SNAPSHOTS,
                                          test_iter=len(heights), seed=seed), init=())


def train(row: Row, seed: int, initial: Path, run: Path) -> dict:
    """Train a row with one seed, unless just that was done before; its scores.

    What a training is, its net, its recipe and the weights it starts from, is written down before it begins. A run
    folder that holds another training is refused.
    """
    plan = training(row, seed)
    about = {'net': hashlib.sha256(str(plan.fcn('train')).encode()).hexdigest(), 'recipe': asdict(plan.recipe),
             'initial': files.sha256(initial)}
    record = run / 'training.json'
    known = json.loads(record.read_text()) if record.exists() else {'about': about}
    if known['about'] != about:
        raise cli.BadInput(f'{run} holds another training than this study asks for; remove it, or give another --out')
    if 'scores' in known:
        return known
    run.mkdir(parents=True, exist_ok=True)
    files.write_json(record, known)
    begun, begin = snapshot.list_snapshots(run / 'snapshots'), time.perf_counter()
    matrices = solve(plan, run, [initial], resume=True, keep=1)
    if not matrices:
        raise cli.Failed('the study was stopped; the same command goes on with it')
    known |= {'scores': matrices['label'].compute().summary(),
              'seconds': None if begun else round(time.perf_counter() - begin)}    # not known of one broken off
    files.write_json(record, known)
    shutil.rmtree(run / 'snapshots')    # weights.caffemodel is the last of them
    return known


def study(rows: Sequence[Row], seeds: Sequence[int], convolutions: Path, runs: Path, out: Path, **facts) -> dict:
    """Train every row with every seed below `runs`, and keep what is known so far in `out`/study.json.

    Returns
    -------
    dict
        What is in study.json: the `facts`, what is known of the data, and for each row `base_lr`, `steps`, `start`, and
        by seed `scores` (the four metrics as fractions of 1) and `seconds` (None for a training broken off between).
    """
    result: dict = {**facts, 'data': about_data(), 'rows': {}}
    for seed in seeds:
        for row in rows:
            cli.say(f'{row.name}, seed {seed}')
            initial = folder(runs, row.start, seed) / 'weights.caffemodel' if row.start else convolutions
            one = train(row, seed, initial, folder(runs, row.name, seed))
            entry = result['rows'].setdefault(row.name, {
                'base_lr': row.base_lr, 'steps': row.steps, 'start': row.start or "VGG-16's convolutions",
                'scores': {}, 'seconds': {}})
            entry['scores'][str(seed)], entry['seconds'][str(seed)] = one['scores'], one['seconds']
            files.write_json(out / 'study.json', result)
    return result


def about_data() -> dict:
    """Pictures in the splits, and the mean IU that labels have when they are made coarse."""
    learnt, held = open_dataset(NAME, 'train'), open_dataset(NAME, 'val')
    bound = upper_bound(held, workers=1)['label']
    return {'train': len(learnt), 'val': len(held), 'classes': list(CLASSES),
            'upper_bound': {str(factor): value for factor, value in bound.items()}}


def folder(runs: Path, name: str, seed: int) -> Path:
    """The run of a row and a seed."""
    return runs / f'seed-{seed}' / name.lower().replace(',', '').replace(' ', '-')


# What comes out.

HEADING = ('', 'pixel acc', 'mean acc', 'mean IU', 'f.w. IU', 'published, on VOC')      # in the order of METRICS
TABLES = {'Skips (CVPR 2015, Table 2)': ('FCN-32s-fixed', 'FCN-32s', 'FCN-32s, as long as 8s', 'FCN-16s', 'FCN-8s',
                                         'FCN-8s at once'),
          'One layer at a time': ('pool5 only', 'pool4 only', 'pool3 only'),
          'Upsampling': ('FCN-8s', 'FCN-8s, upsampling learned'),
          'Loss': ('FCN-32s', 'FCN-32s, loss normalised')}
PUBLISHED = {
    **{name: published.in_percent(published.SCORES[net]['label'][published.PAPER]) for name, net in (
        ('FCN-32s-fixed', 'voc-fcn32s-fixed'), ('FCN-32s', 'voc-fcn32s'), ('FCN-16s', 'voc-fcn16s'),
        ('FCN-8s', 'voc-fcn8s'))},
    'FCN-8s at once': published.in_percent(published.SCORES['voc-fcn8s-atonce']['label'][published.RELEASED])
    + ' (released weights)',
    **{name: published.in_percent(row, confirmed=False) for name, row in published.ONE_LAYER.items()}}


def row_of(name: str, entry: dict) -> tuple[str, ...]:
    """A line of a table: mean over the seeds in percent, and their standard deviation where there are several."""
    values = [[100 * scores[metric] for scores in entry['scores'].values()] for metric in METRICS]
    return name, *(f'{statistics.fmean(v):.1f}' + (f' ± {statistics.stdev(v):.1f}' if len(v) > 1 else '')
                   for v in values), PUBLISHED.get(name, '')


def tables(result: dict) -> list[tuple[str, list[tuple[str, ...]]]]:
    """The tables of the study: title and lines, the first of which is the heading; only of what has been trained."""
    made = []
    for title, names in TABLES.items():
        lines = [row_of(name, result['rows'][name]) for name in names if name in result['rows']]
        if len(lines) > 1:      # something to compare
            made.append((title, [HEADING, *lines]))
    return made


def show(names: Sequence[str], runs: Path, seed: int, out: Path) -> None:
    """Write pictures of held-out slices, one of each block, and the HTML report of these rows."""
    dataset, chosen = open_dataset(NAME, 'val'), [folder(runs, name, seed) for name in names]
    for run in chosen:
        evaluate_run(Run(run))
    heights = dataset.ids[1::4]
    masks = {id: [dataset.read('label', id)[0],
                  *(read_indices(run / f'evaluation/label/{id}.png') for run in chosen)] for id in heights}
    grid = [[dataset.image(id), *map(colorize, masks[id])] for id in heights]
    sheet(grid, ['slice', 'truth', *names], np.unique(np.stack([*masks.values()])), CLASSES).save(out / 'study.png')
    page.write(chosen, out / 'report.html')


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m experiments.study', description=__doc__)
    parser.add_argument('--quick', action='store_true',
                        help=f'the table of skips alone, {QUICK} times fewer steps, one seed')
    parser.add_argument('--all', action='store_true', help='with --quick: every row, in half an hour')
    parser.add_argument('--out', type=Path, default=weights.runs_folder() / 'study', help='folder of the results')
    args = parser.parse_args(argv)
    out, runs = args.out.resolve(), args.out.resolve() / ('quick' if args.quick else 'full')
    processor = device.choose()
    print(f'computing on {processor}', flush=True)
    brain()
    rows = ROWS
    if args.quick:
        rows = tuple(replace(row, steps=row.steps // QUICK) for row in ROWS[:None if args.all else QUICK_ROWS])
    seeds = SEEDS[:1] if args.quick else SEEDS
    runs.mkdir(parents=True, exist_ok=True)
    result = study(rows, seeds, vgg16_convolutions().resolve(), runs, out, quick=args.quick, processor=processor)
    text = '\n\n'.join(f'{title}\n\n{cli.table(lines)}' for title, lines in tables(result))
    (out / 'tables.txt').write_text(f'{text}\n')
    show(['FCN-32s', 'FCN-16s', 'FCN-8s'], runs, seeds[0], out)
    print(f'{text}\n\nThese are scores on {result["data"]["val"]} held-out slices of one brain, not VOC.')
    print(f'Look at {out / "study.png"} and {out / "report.html"}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
