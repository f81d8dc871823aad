"""The nets that are trained on photographs, and how: the chain of the papers, FCN-8s on EfficientNet-lite0, studies.

Rates follow from the magnitude of the features, as those of `python -m nets new` do (`nets.starts.rates`) and those of
`python -m surgery convolutionalize --head`, times the factors that a search found (`search`): both are recorded.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cli
from data_layers.voc import NUM_CLASSES, VOC2012
from experiments.fetch import efficientnet_lite0
from experiments.rates import WIDTH, Material
from experiments.training import UPSAMPLING, data_in, seeded, slug
from nets.edits import learn_upsampling
from nets.voc_fcn8s.net import fcn as fcn8s
from nets.voc_fcn8s_atonce.net import fcn as atonce
from nets.voc_fcn16s.net import fcn as fcn16s
from nets.voc_fcn32s.net import fcn as fcn32s
from report.photographs import AT_ONCE, CHAIN, LEARNED, LITE, LOWERED, ONE, STAGES, TWENTY
from solvers import weights
from solvers.folder import INIT, read_training
from solvers.recipe import Recipe
from solvers.source import open_source
from solvers.training import Training
from surgery.__main__ import main as surgery

SCORINGS = 12               # in a run
BOLD = 10.0
KINDS = dict(zip(STAGES, ('fcn32s', 'fcn16s', 'fcn8s'), strict=True))


@dataclass(frozen=True)
class Row:
    """One net and how it is trained.

    Parameters
    ----------
    name : str
        What tables call it.
    training : callable
        Seed -> `Training`.
    initial : Path
        The caffemodel it starts from, unless that is another row's.
    start : str
        The row whose weights it starts from instead.
    """
    name: str
    training: Callable[[int], Training]
    initial: Path
    start: str = ''


@dataclass(frozen=True)
class Chain:
    """The nets of the papers on VGG-16, on photographs in a folder.

    Parameters
    ----------
    root : Path
        In the layout of VOC.
    convolutions : Path
        The caffemodel they start from: VGG-16's convolutions, or all of VGG-16.
    rates : mapping of str to float
        Kind -> rate: fcn32s, fcn16s, fcn8s.
    full : bool
        Whether fc6 and fc7 are the classifier's own, 4096 wide, and all layers learn.
    """
    root: Path
    convolutions: Path
    rates: Mapping[str, float]
    full: bool

    def row(self, name: str, fcn: Callable[..., Any], rate: float, steps: int, start: str = '', **recipe: Any) -> Row:
        """A row: a function of `nets/` of which the net comes, rate, steps, and other fields of its recipe."""
        def training(seed: int) -> Training:
            net = seeded(lambda split: fcn(split, data_of(self.root)), seed, None if self.full else WIDTH)
            return Training(slug(name), net, schedule(rate, steps, self.root, seed=seed, **recipe), init=())
        return Row(name, training, self.convolutions, start)

    def stages(self, steps: Mapping[str, int]) -> list[Row]:
        """FCN-32s, 16s from it, and 8s from that."""
        chosen = dict(zip(KINDS, (fcn32s, fcn16s, fcn8s), strict=True))
        before = ['', *KINDS]
        return [self.row(name, fcn, self.rates[KINDS[name]], steps[name], start)
                for (name, fcn), start in zip(chosen.items(), before, strict=False)]

    def at_once(self, steps: int) -> Row:
        """FCN-8s with all its skips from the beginning, at the rate of FCN-32s."""
        return self.row(AT_ONCE, atonce, self.rates['fcn32s'], steps)

    def studies(self, steps: Mapping[str, int]) -> list[Row]:
        """What stands beside the stages: learned upsampling, and other ways to take the same number of photographs."""
        rate, count = self.rates['fcn32s'], steps[CHAIN]
        return [
            self.row(LEARNED, lambda *of: learn_upsampling(fcn8s(*of), UPSAMPLING),
                     self.rates['fcn8s'], steps[STAGES[2]], STAGES[1]),
            self.row(ONE, fcn32s, rate, count, momentum=0.9),
            # Caffe divides what 20 passes add up to by 20; the paper's sum has the rate of one image.
            self.row(TWENTY, fcn32s, 20 * rate, -(-count // 20), momentum=0.9, iter_size=20)]


def data_of(root: Path) -> Any:
    """A data module, as of `nets.data`, for photographs in a folder in the layout of VOC."""
    return data_in(VOC2012.name, root)


def interval(steps: int) -> int:
    """Steps from one scoring to the next: `SCORINGS` in a run, fewer in a smoke test."""
    return -(-steps // min(SCORINGS, 1 + steps // 4))


def schedule(rate: float, steps: int, root: Path, **changes: Any) -> Recipe:
    """SGD at a rate, scored `SCORINGS` times."""
    every = interval(steps)
    images = len(open_source(data_of(root).feed('val').to_proto()))
    return replace(Recipe(rate, steps, score_every=every, snapshot=every, test_iter=images), **changes)


def measured_rates(root: Path, convolutions: Path) -> dict[str, Any]:
    """The `rates` that `nets.starts.rates` has for photographs, by kind, and what they follow from."""
    known = Material('photographs', data_of(root)).rates(convolutions)
    return {'rates': {kind: float(known.written(kind)) for kind in KINDS.values()}, 'pixels': known.pixels,
            'squared lengths': dict(known.squares)}


def efficientnet(root: Path, folder: Path) -> Path:
    """FCN-8s on EfficientNet-lite0, made as its user would, unless it is there.

    Parameters
    ----------
    root : Path
        In the layout of VOC.
    folder : Path
        Gets the classifier and the net: `classifier/` and `fcn8s/`.

    Returns
    -------
    Path
        The folder of the net, for `python -m solvers train`.
    """
    for name, arguments in (
            ('classifier', ['import', efficientnet_lite0()]),
            ('fcn8s', ['convolutionalize', '--prototxt', folder / 'classifier/deploy.prototxt', '--weights',
                       folder / 'classifier/weights.caffemodel', '--grid', '0', '--head', '8', '--classes', NUM_CLASSES,
                       '--dataset', VOC2012.name, '--data', root, '--cpu'])):
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            if surgery([*map(str, arguments), '--out', str(folder / name)]):
                raise cli.Failed(f'{folder / name} could not be made')
    return folder / 'fcn8s'


def efficientnet_row(folder: Path, factor: float, steps: int, name: str, start: str = '') -> Row:
    """The row of a folder that `efficientnet` made, at its rate times a factor; others as of `Row`."""
    def training(seed: int) -> Training:
        found = read_training(folder)
        recipe = found.recipe.changed(base_lr=found.recipe.base_lr * factor)
        every = interval(steps)
        return replace(found, net=slug(name), recipe=replace(recipe, iterations=steps, score_every=every,
                                                             snapshot=every, seed=seed))
    return Row(name, training, folder / INIT, start)


def efficientnet_stages(folder: Path, factor: float, steps: Mapping[str, int]) -> list[Row]:
    """Long at `BOLD` times the rate that a short search finds best, and on from there at a tenth of that.

    What a high rate learns sooner shows once the noise of single photographs, which it keeps alive, is let die out.
    """
    return [efficientnet_row(folder, BOLD * factor, steps[LITE], LITE),
            efficientnet_row(folder, BOLD * factor / 10, steps[LOWERED], LOWERED, LITE)]


def start_of_chain(convolutions: Path) -> tuple[Path, bool]:
    """What VGG-16's nets start from: all of it where it is in the folder of weights, and whether that is so."""
    official = weights.existing('vgg16')
    return (official, True) if official else (convolutions, False)
