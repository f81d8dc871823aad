"""Train and score nets on real photographs: make photographs

Photographs are those of VOC 2012 and SBD in $FCN_DATA whose ids this project lists, chosen for their animals: 1,112 to
learn from, as many as VOC 2011 train has, and 445 that are held out; or those of any folder in the layout of VOC. The
nets are FCN-32s, 16s, 8s and 8s at once on VGG-16, with fc6 and fc7 512 wide and fresh unless VGG-16's caffemodel is in
the folder of weights, and FCN-8s on EfficientNet-lite0; then the papers' studies at half the size.

Writes photographs.json, photographs.png and report.html into runs/photographs. It takes many hours on a CPU; what is
finished is not repeated, and what was stopped is resumed by the same command.
"""
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cli
import files
from accel import device
from data_layers import open_dataset
from data_layers.palette import save
from data_layers.voc import VOC2012
from experiments.fetch import vgg16_convolutions
from experiments.photographs import material, pictures, rows, scores
from experiments.photographs.rows import Chain, Row
from experiments.rates import WIDTH
from experiments.training import run_folder, slug, train_once
from report import page, photographs
from report.photographs import AT_ONCE, BORDERS, CHAIN, LITE, LOWERED, SIZES, STAGES
from solvers import weights
from solvers.loop import Diverged
from solvers.options import Options
from solvers.source import read_from

STEPS = {CHAIN: 3000, 'FCN-16s': 1500, 'FCN-8s': 1500, AT_ONCE: 3000, LITE: 5000, LOWERED: 2000}
STUDY = {CHAIN: 1000, 'FCN-16s': 400, 'FCN-8s': 400, AT_ONCE: 1800}
QUICK = 100             # times fewer steps, at least
FEWEST, FEWEST_FACTORS = 4, 2      # steps, and rates of a search, of a smoke test
SEEDS = 1, 2, 3
SEARCH = 200            # steps at each rate of the search
FACTORS: dict[str, tuple[float, ...]] = {CHAIN: (1, 3, 10), LITE: (1, 10, 100)}
SHOWN = 'report.html', 'photographs.png', 'curves.png'      # of the nets at full size
PARTS = 'efficientnet', 'chain', 'studies', 'at-once'


class Experiment:
    """All that is trained, and what is known of it so far.

    Parameters
    ----------
    out : Path
        Folder of the results.
    root : Path, optional
        As of `material.gather`.
    quick : bool
        A smoke test.
    """

    def __init__(self, out: Path, root: Path | None, quick: bool) -> None:
        self.out, self.quick = out, quick
        self.full = material.gather(out / 'data', root, quick)
        self.half = material.gather(out / 'data-half', root, quick, 0.5)
        self.val = open_dataset(VOC2012.name, 'val', self.full)
        self.names = self.val.classes['label']
        convolutions = vgg16_convolutions().resolve()
        self.initial, self.own = rows.start_of_chain(convolutions)
        self.lite = rows.efficientnet(self.full, out / 'efficientnet-lite0')
        self.lite_half = rows.efficientnet(self.half, out / 'efficientnet-lite0-half')
        self.record = out / 'photographs.json'
        known = json.loads(files.read_text(self.record)) if self.record.exists() else {}
        about = known.get('data') or material.describe(self.full)
        least = min(scores.LEAST, 1 + len(self.val) // 4)
        self.classes = scores.common(about['val']['with class'], least)
        self.result: dict[str, Any] = {'rates': {}, 'search': {}, **{size: {} for size in SIZES}} | known | {
            'quick': quick, 'processor': device.choose(), 'data': about, 'common classes': self.classes, 'least': least,
            'width': None if self.own else WIDTH}

    def steps(self, number: int) -> int:
        """How many steps a training has that takes so many in earnest."""
        return max(FEWEST, number // QUICK) if self.quick else number

    def chain(self, half: bool, factor: float) -> Chain:
        """The nets on VGG-16, at rates that the features' magnitude gives, times a factor."""
        root, size = self.half if half else self.full, SIZES[half]
        if size not in self.result['rates']:
            self.result['rates'][size] = rows.measured_rates(root, self.initial)
        rates = self.result['rates'][size]['rates']
        return Chain(root, self.initial, {kind: rate * factor for kind, rate in rates.items()}, self.own)

    def search(self) -> dict[str, float]:
        """The factor on the default rate after which held-out photographs are understood best, of each kind of net."""
        best: dict[str, float] = {}
        steps = self.steps(SEARCH)
        for name, factors in FACTORS.items():
            losses = self.result['search'].setdefault(name, {})
            factors = factors[:FEWEST_FACTORS] if self.quick else factors
            for factor in factors:
                row = (self.chain(True, factor).stages(dict.fromkeys(STAGES, steps))[0] if name == CHAIN else
                       rows.efficientnet_row(self.lite_half, factor, steps, name))
                losses[f'{factor:g}'] = self.loss_of(row, self.out / 'search' / f'{slug(name)}-{factor:g}')
                self.write()
            finite = [(loss, factor) for factor in factors if (loss := losses[f'{factor:g}']) is not None]
            best[name] = min(finite)[1]
        return best

    def loss_of(self, row: Row, run: Path) -> float | None:
        """The held-out loss a pixel after a short training; None where its loss was not finite."""
        diverged = run / 'diverged'
        if diverged.exists():
            return None
        training = row.training(SEEDS[0])
        once = replace(training.recipe, score_every=training.recipe.iterations, snapshot=training.recipe.iterations)

        def fcn(split: str) -> Any:
            net = training.fcn(split)
            return read_from(net, split=material.FEW) if split == 'val' else net
        try:
            train_once(replace(training, fcn=fcn, recipe=once), run, self.start_of(row, run), 'search')
        except Diverged:
            diverged.touch()
            return None
        return scores.curve(run, self.names, self.classes)[-1]['pixel_loss']

    def start_of(self, row: Row, run: Path) -> Path:
        """The caffemodel that a row starts from, which another one may have made beside its run."""
        return run.with_name(slug(row.start)) / 'weights.caffemodel' if row.start else row.initial

    def train(self, chosen: Sequence[Row], seeds: Sequence[int], half: bool) -> None:
        """Train rows, each after the one it starts from, and note what came out."""
        size = SIZES[half]
        dataset = open_dataset(VOC2012.name, 'val', self.half) if half else self.val
        for seed in seeds:
            for row in chosen:
                cli.say(f'{row.name}, {size}, seed {seed}')
                training, run = row.training(seed), self.run(row.name, seed, half)
                start, recipe = self.start_of(row, run), training.recipe
                one = train_once(training, run, start, 'experiment', Options(score_images=material.SCORED))
                entry = self.result[size].setdefault(row.name, {
                    'base_lr': recipe.base_lr, 'momentum': recipe.momentum, 'iter_size': recipe.iter_size,
                    'steps': recipe.iterations, 'start': row.start or start.name, 'seeds': {}})
                counts = scores.count(dataset, run / 'evaluation/label')
                found = {name: scores.summary(matrix, self.classes) for name, matrix in counts.items()}
                entry['seeds'][str(seed)] = {'seconds': one['seconds'], **found,
                                             'curve': scores.curve(run, self.names, self.classes)}
                self.write()
                cli.say(f'{row.name}: mean IU over the common classes {100 * found[BORDERS[0]]["common_iu"]:.1f}')
        if not half:
            self.show()

    def run(self, name: str, seed: int, half: bool) -> Path:
        """The folder of a run."""
        return run_folder(self.out / ('half' if half else 'full'), name, seed)

    def write(self) -> None:
        """Keep what is known so far."""
        files.write_json(self.record, self.result)

    def show(self) -> None:
        """Write the report of the nets at full size, the sheet of held-out photographs, and curves."""
        names = [name for name in STEPS if name in self.result[SIZES[0]]]
        runs = [self.run(name, SEEDS[0], False) for name in names]
        report, drawn, curves = (self.out / name for name in SHOWN)
        page.write(runs, report)
        save(drawn, pictures.masks(self.val, names, runs), 'PNG')
        save(curves, pictures.curves(self.result), 'PNG')


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m experiments.photographs', description=__doc__)
    parser.add_argument('--root', type=Path, metavar='DIR', help='photographs in the layout of VOC, with the lists '
                        'train and val in ImageSets/Segmentation (default: VOC 2012 and SBD in $FCN_DATA)')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS, help='leave other parts out')
    parser.add_argument('--quick', action='store_true', help='40 photographs and few steps: a smoke test, in minutes')
    parser.add_argument('--out', type=Path, help='folder of the results (default: runs/photographs, -quick)')
    args = parser.parse_args(argv)
    out = args.out or weights.runs_folder() / ('photographs-quick' if args.quick else 'photographs')
    cli.show(f'computing on {device.choose()}')
    experiment = Experiment(out.resolve(), args.root and args.root.resolve(), args.quick)
    factors = experiment.search()
    full, half = ({name: experiment.steps(count) for name, count in table.items()} for table in (STEPS, STUDY))
    if 'efficientnet' in args.only:
        experiment.train(rows.efficientnet_stages(experiment.lite, factors[LITE], full), SEEDS[:1], False)
    if 'chain' in args.only:
        experiment.train(experiment.chain(False, factors[CHAIN]).stages(full), SEEDS[:1], False)
    small = experiment.chain(True, factors[CHAIN])
    if 'studies' in args.only:
        experiment.train(small.stages(half), SEEDS[:1] if args.quick else SEEDS, True)
        experiment.train([small.at_once(half[AT_ONCE]), *small.studies(half)], SEEDS[:1], True)
    if 'at-once' in args.only:
        experiment.train([experiment.chain(False, factors[CHAIN]).at_once(full[AT_ONCE])], SEEDS[:1], False)
    for title, lines in photographs.tables(experiment.result):
        cli.show(title, '', *cli.table(lines).split('\n'), '')
    if shown := [str(path) for name in SHOWN if (path := experiment.out / name).exists()]:
        cli.show(f'Look at {", ".join(shown)}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
