"""Where the default rates of new nets come from, measured: python -m experiments.rates [--steps 4000 4000 4000]

On the demo's photographs and on slices of a brain, from the convolutions of VGG-16, with fc6 and fc7 512 wide as
docs/own-data.md advises on a CPU: the squared length of what each stage scores, the rate that follows from it, the
published one scaled to the pixels, and how far the first step at either moves a score. With --steps the stages are
trained one after the other as `python -m nets new` has them by default, and --published trains FCN-8s from the same
FCN-16s at the published rate too. What is trained is kept, and continued by the same command.
"""
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cli
import files
from data_layers import draw
from experiments import brain
from experiments.fetch import photographs, vgg16_convolutions
from experiments.study import data as slices
from experiments.training import data_in, train
from nets.edits import narrow
from nets.starts.rates import NEW, PIXELS, PUBLISHED, Rates, measure
from solvers import weights
from solvers.instance import instantiate, load, segment
from solvers.loop import solve
from solvers.recipe import Recipe
from solvers.source import open_source
from solvers.training import Training
from surgery import fill_bilinear, read_weights, transplant

WIDTH = 512         # of fc6 and fc7
SCALE = 0.5         # of the demo's photographs
SCORED = 25         # times in a run, as those of new nets are
MEASURED = 4        # photographs


class Material(NamedTuple):
    """A data set of the measurement.

    Attributes
    ----------
    name : str
    data : module
        As of `nets.data`, with the splits train and val.
    """
    name: str
    data: Any

    def fcn(self, kind: str, split: str) -> Any:
        """A net of the papers for it, as `python -m nets new --width 512` writes it."""
        net = importlib.import_module(f'nets.voc_{kind}.net')
        return narrow(net.fcn(split, data=self.data), WIDTH)

    def training(self, kind: str, rate: float, steps: int) -> Training:
        """A net of the papers at a rate."""
        every = max(1, steps // SCORED)
        recipe = Recipe(rate, steps, score_every=every, snapshot=every, test_iter=len(self.split('val')))
        return Training(f'{self.name}-{kind}', lambda split: self.fcn(kind, split), recipe, init=())

    def split(self, split: str) -> Any:
        """One of its splits."""
        return open_source(self.fcn('fcn32s', split))

    def rates(self, convolutions: Path) -> Rates:
        """What its rates follow from."""
        dataset = self.split('train')
        sizes = [np.prod(dataset.load(id)[0].shape[1:]) for id in dataset.ids]
        ids = dataset.ids[::max(1, len(dataset) // MEASURED)][:MEASURED]
        squares = measure(read_weights(convolutions), WIDTH, [dataset.load(id)[0] for id in ids])
        return Rates(int(np.median(sizes)), squares, len(ids))


def materials() -> list[Material]:
    """The demo's photographs, which are scored too, and the slices of a brain, some of which are held out."""
    demo = data_in('voc', photographs(SCALE).resolve())
    brain.prepare()
    return [Material('demo', demo), Material('brain', slices)]


def first_step(material: Material, kind: str, rate: float, initial: Path) -> float:
    """The largest change of a score, of any class at any pixel, that the first step at a rate brings on its image."""
    training = material.training(kind, rate, 1)
    dataset = material.split('train')
    image = dataset.load(dataset.ids[draw(1337, 0, len(dataset))])[0]
    before = instantiate(training.fcn('deploy'))
    transplant(before, read_weights(initial))
    fill_bilinear(before)
    with files.scratch() as folder:
        solve(training, folder / 'run', [initial])
        after = load(instantiate(training.fcn('deploy')), folder / 'run/weights.caffemodel')
    scores = [segment(net, {'data': image})['score'].copy() for net in (before, after)]
    return float(np.abs(scores[1] - scores[0]).max())


def table(material: Material, known: Rates, initial: Path) -> list[dict[str, Any]]:
    """A row for each stage: lengths, rates, and what a first step does from scores that start at zero."""
    rows = []
    for kind, feature in NEW.items():
        published = PUBLISHED[kind] * PIXELS / known.pixels
        rows.append({'data': material.name, 'net': kind, 'pixels': known.pixels, 'feature': feature,
                     'square': known.squares[feature], 'rate': known.of(kind), 'published': published,
                     'moves': first_step(material, kind, known.of(kind), initial),
                     'published moves': first_step(material, kind, published, initial)})
    return rows


def train_stages(material: Material, known: Rates, initial: Path, steps: Sequence[int], published: bool,
                 out: Path) -> list[dict[str, Any]]:
    """Train the stages at the default rates; of each the net, steps, rate and metrics."""
    results, before = [], initial
    plan = [(kind, kind, known.of(kind), count) for kind, count in zip(NEW, steps, strict=True)]
    if published:
        plan.append(('fcn8s', 'fcn8s-published', PUBLISHED['fcn8s'] * PIXELS / known.pixels, steps[-1]))
    for kind, name, rate, count in plan:
        run, start = out / f'{material.name}-{name}', before
        if name == 'fcn8s-published':
            start = out / f'{material.name}-fcn16s/weights.caffemodel'
        scores, _ = train(material.training(kind, rate, count), run, start, 'measurement', keep=1)
        results.append({'data': material.name, 'net': name, 'rate': rate, 'steps': count, **scores})
        before = run / 'weights.caffemodel'
    return results


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m experiments.rates', description=__doc__)
    parser.add_argument('--data', choices=('demo', 'brain'), help='one of the two (default: both)')
    parser.add_argument('--steps', type=int, nargs=3, metavar='N', help='train 32s, 16s and 8s for so many steps')
    parser.add_argument('--published', action='store_true', help='with --steps: FCN-8s at the published rate too')
    parser.add_argument('--out', type=Path, default=weights.runs_folder() / 'rates', help='folder of the results')
    args = parser.parse_args(argv)
    out, initial = args.out.resolve(), vgg16_convolutions().resolve()
    out.mkdir(parents=True, exist_ok=True)
    first: list[dict[str, Any]] = []
    trained: list[dict[str, Any]] = []
    for material in materials():
        if args.data in (None, material.name):
            known = material.rates(initial)
            first += table(material, known, initial)
            cli.show(*cli.table([[*first[0]], *([form(value) for value in row.values()] for row in first)]).split('\n'))
            if args.steps:
                trained += train_stages(material, known, initial, args.steps, args.published, out)
            files.write_json(out / 'rates.json', {'first step': first, 'trained': trained})
    if trained:
        cli.show('', *cli.table([[*trained[0]], *([form(value) for value in row.values()] for row in trained)]
                                ).split('\n'))


def form(value: Any) -> str:
    """A cell of a table."""
    return f'{value:.3g}' if isinstance(value, float) else str(value)


if __name__ == '__main__':
    sys.exit(cli.run(main))
