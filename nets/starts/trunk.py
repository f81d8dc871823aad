"""A net for your own data on any classifier that surgery has imported or made fully convolutional."""
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cli
import files
from cli import BadInput
from data_layers.bands import COLOURS
from data_layers.own.survey import Survey
from data_layers.reading import read_json
from nets.starts import INIT, Content, Names, initialise, plain, solve_files, title
from nets.starts.trained import beside, check_free_names, see
from surgery import (
    Mismatch,
    convolutionalize,
    preparation,
    prepare,
    prove,
    read_net,
    read_weights,
    write_prototxt,
    write_weights,
)
from surgery.convolutionalize import Dense
from surgery.head import Plan, Upsampling, adapt_input, build, plan, smallest_pad
from surgery.preparation import Preparation
from surgery.proof import MEAN_SQUARE

WEIGHTS = 'weights.caffemodel'
STRIDES = (8, 16, 32)       # of the finest prediction, the first that there is


class Trunk:
    """The start from a classifier of any kind: a net that predicts at one stride, all its skips trained at once.

    Parameters
    ----------
    folder : Path
        With deploy.prototxt and weights.caffemodel, as `python -m surgery import` and `convolutionalize` write it.
    stride : int, optional
        Of the finest prediction; by default 8, or the finest above that the trunk has.

    Raises
    ------
    BadInput
        The folder lacks a file, the classifier cannot be made fully convolutional or has no layer of that stride.
    Failed
        The fully convolutional net does not give what the classifier gives.
    """

    def __init__(self, folder: Path, stride: int | None = None) -> None:
        self.folder, self.takes = folder, takes_of(folder)
        path = folder / 'deploy.prototxt'
        if not path.exists():
            raise BadInput(f'--trunk {folder} has no deploy.prototxt; make it with python -m surgery import or '
                           'python -m surgery convolutionalize')
        if (folder / 'dense.prototxt').exists():
            raise BadInput(f'--trunk {folder} has a head already; name the folder of the classifier that it was made '
                           'of, or go on from the trained net with --from')
        try:
            classifier = prepare(read_net(path), read_weights(folder / WEIGHTS))
            if classifier.missing:
                raise BadInput(f'{folder / WEIGHTS} holds no weights for its layer {classifier.missing[0].target}')
            self.dense = convolutionalize(classifier)
            self.plan = planned(self.dense, stride)
        except BadInput as problem:
            raise BadInput(str(problem) if str(folder) in str(problem) else f'{path}: {problem}') from None
        self.kinds: Sequence[str] = [f'fcn{self.plan.finest}s-{plain(folder.resolve().name)}']
        self.mean_square = self._prove(classifier, path)

    def files(self, names: Names, found: Survey, balanced: bool) -> dict[Path, Content]:
        classes, kind = len(found.card.classes), self.kinds[0]
        upsamplings: list[Upsampling] = []
        pad = smallest_pad(self.plan, classes, upsamplings)
        net, weights, _, rate = build(self.dense, self.plan, classes, pad, upsamplings, self.mean_square)
        try:
            adapt_input(net, weights, self.takes.scale, self.takes.order)
        except BadInput as problem:
            raise BadInput(f'--trunk {self.folder}: {problem}') from None
        check_free_names(net, f'--trunk {self.folder}')
        if found.card.channels != COLOURS:
            see(net, len(found.card.channels), f'--trunk {self.folder}')
        start = initialise(names, found)
        origin = plain(self.folder.resolve().name)
        about = (f'{title(f"fcn{self.plan.finest}s")} for {names.data} on the trunk of {origin}, {classes} classes: '
                 'deploy.prototxt beside this file.')
        return beside(names, kind, about, net, True, balanced) | solve_files(
            names, kind, f'Train {title(kind)} on {names.data}, all at once, from the classifier {origin}.',
            f'{rate:g}, momentum=0.9', f"init=(Path(__file__).with_name('{INIT}'),){start.text}",
            ['from pathlib import Path', *start.imports]) | {
            names.folder(kind) / INIT: partial(write_weights, weights=weights,
                                               types={layer.name: layer.type for layer in net.layer})}

    def account(self, found: Survey) -> list[str]:
        rows = [('scores of', 'stride'), (self.plan.feature, str(self.plan.stride)),
                *((blob, str(stride)) for stride, blob in self.plan.skips)]
        return ['', *cli.table(rows).split('\n'), '']

    def _prove(self, classifier: Any, path: Path) -> dict[str, float]:
        """Run classifier and dense net side by side; mean squared lengths of what is scored."""
        cli.show(f'comparing the fully convolutional net of {self.folder} with its classifier, which may take a minute')
        with files.scratch() as folder:
            old, new, weights = folder / 'classifier.prototxt', folder / 'deploy.prototxt', folder / WEIGHTS
            write_prototxt(old, classifier.net)
            write_prototxt(new, self.dense.net)
            write_weights(weights, self.dense.weights)
            try:
                proof = prove(classifier, self.dense, (old, self.folder / WEIGHTS), (new, weights), grid=0,
                              measure=self.plan.measured)
            except BadInput as problem:
                raise BadInput(str(problem).replace(str(old), str(path))) from None
            except Mismatch as problem:
                raise cli.Failed(f'{path}: {problem}') from None
        measured: dict[str, float] = proof[MEAN_SQUARE]
        return measured


def planned(dense: Dense, stride: int | None) -> Plan:
    """Where a head goes: at a stride, or at the first of `STRIDES` that the trunk has."""
    problem = BadInput('')
    for finest in [stride] if stride is not None else STRIDES:
        try:
            return plan(dense, finest)
        except BadInput as found:
            problem = found
    raise BadInput(f'{problem}; choose with --head') if stride is None else problem


def takes_of(folder: Path) -> Preparation:
    """What a trunk wants of pixels: as its net.json says, or else the report of `surgery convolutionalize`."""
    if (folder / preparation.NAME).exists():
        return preparation.read(folder / preparation.NAME)
    path = folder / 'report.json'
    report = read_json(path) if path.exists() else {}
    transform = report.get('transform') if isinstance(report, dict) else None
    return preparation.checked(path, scale=transform.get('scale', 1.0) if isinstance(transform, dict) else 1.0)
