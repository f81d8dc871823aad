"""All checks in a row, and what they rest on."""
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import files
from accel import device
from cli import BadInput
from data_layers.own.folder import CARD, PLANES, Folder
from solvers import monitor, preflight, snapshot
from solvers.capacity import available, training_bytes, validating_bytes
from solvers.doctor import experiment, history, labels, layers, pictures, rate, schedule, signals
from solvers.doctor.finding import CAUSES, LOOK, OK, WRONG, Finding, cause_of, fine, look, wrong
from solvers.doctor.samples import SIDE, look_at, variety
from solvers.doctor.start import Start, begin, scoring_layers
from solvers.doctor.subject import Subject
from solvers.foreign import check_phase
from solvers.losses import SIGMOID, is_mean, losses_of, overlap, weight_of
from solvers.prototxts import computing
from solvers.run import snapshots_of, weights_of
from solvers.schedule import Schedule
from solvers.source import data_layer, facts, open_source, tasks
from surgery import preparation, read_weights
from surgery.caffemodel import Weights
from surgery.shapes import infer

HELD_OUT = 3        # images that are passed through beside the one that is learnt
WHOLE = 1 << 30     # of a side: all of it
# With one of these wrong, nothing is computed: Caffe would end the process, or its numbers would mean nothing.
BLOCKING = CAUSES[:CAUSES.index('not finite') + 1]
HARMLESS = ('mirrored masks', 'shifted masks', 'masks of other images', 'one class', 'loss weight')


class Examination:
    """The checks of one net; `findings` grow as they go on.

    Parameters
    ----------
    subject : Subject
    seconds : float
        For the search, about.
    seed : int, optional
        Of fillers and dropout; the recipe's by default.
    gpu : int or None
        Number of the card that computes; None is the CPU.
    """

    def __init__(self, subject: Subject, seconds: float, seed: int | None = None, gpu: int | None = None) -> None:
        self.subject, self.training, self.seconds, self.gpu = subject, subject.training, seconds, gpu
        self.recipe = subject.training.recipe
        self.seed = self.recipe.seed if seed is None else seed
        self.findings: list[Finding] = []
        self.settings = self.recipe.solver(*self.training.phases)

    def run(self) -> list[Finding]:
        """Make all checks; returns what they found, in the order of the table."""
        with contextlib.ExitStack() as self.open:
            return self._stages()

    def _stages(self) -> list[Finding]:
        for stage in (self._nets, self._data, self._weights, self._passes, self._schedule, self._soften, self._run,
                      self._memory, self._rest):
            try:
                stage()
            except BadInput as problem:
                what, _, remedy = str(problem).partition('; ')
                self.findings.append(wrong('set-up', 'set-up', what, remedy or f'correct {self.subject.net}'))
            if self._stops():
                break
        return self.findings

    def _stops(self) -> bool:
        cause = cause_of(self.findings)
        return cause is not None and cause.cause in ('set-up', 'data')

    def _add(self, found: Sequence[Finding]) -> None:
        self.findings += found

    def _blocked(self) -> bool:
        """Whether something is so wrong that Caffe had better not compute."""
        return any(finding.state == WRONG and finding.cause in BLOCKING and finding.cause not in HARMLESS
                   for finding in self.findings)

    # Stages.

    def _nets(self) -> None:
        train, test = self.training.phases
        self.net, self.scored = self.training.fcn(train), self.training.fcn(test)
        self.deploy = self.training.fcn('deploy')
        if not losses_of(self.net):
            raise BadInput(f'{self.subject.net} has no loss; add a layer SoftmaxWithLoss of scores and labels')
        self.first = next((layer for layer in losses_of(self.net) if weight_of(layer)), losses_of(self.net)[0])
        if len(self.first.bottom) < 2:
            raise BadInput(f'layer {self.first.name} reads {", ".join(self.first.bottom)}; a loss reads scores and '
                           'labels')

    def _data(self) -> None:
        """Labels and photographs."""
        try:
            dataset = open_source(self.net)
            label = self.first.bottom[1]
            if label not in dataset.classes:
                label = next(top for top in dataset.tops if top in dataset.classes)
            self.samples = look_at(self.net, self.scored, label, HELD_OUT, self._side())
        except BadInput as problem:
            what, _, remedy = str(problem).partition('; ')
            self._add([wrong('data', 'data', what, remedy or 'see python -m data_layers list')])
            return
        found, dataset = self.samples, self.samples.dataset
        self.classes = len(dataset.classes[label])
        card, described = self._card()
        for split in (found.train, found.val):
            self._add(labels.unreadable(split, described, card))
            self._add(labels.histogram(split, dataset.classes[label], dataset.overlapping))
        self._add(labels.outlines(found.alignment))
        self._add(labels.alike(found.train, found.val, dataset.classes[label]))
        void = bool(found.train.histogram[255] or found.val.histogram[255])
        self._add(layers.losses(self.net, self.subject.net, void))
        self._add(pictures.scale(found.train, str(dataset.root)))
        self._add(pictures.mean(found.train, self._mean(), card, bool(self.subject.initial)))
        self._add(self._prepared())

    def _side(self) -> int:
        """Of the part that is learnt: as the data layer crops, or `SIDE`, or all where the net does not take that."""
        side = facts(self.net).get('crop', SIDE)
        try:
            infer(computing(self.net, (side, side)))
        except BadInput:
            return WHOLE
        return int(side)

    def _card(self) -> tuple[str, list[str]]:
        dataset = self.samples.dataset
        if isinstance(dataset, Folder):
            return str(dataset.root / CARD), [] if dataset.card.masks == PLANES else [*dataset.card.values]
        return f'the data set {dataset.name}', []

    def _mean(self) -> tuple[float, ...]:
        dataset = self.samples.dataset
        return dataset.means[next(top for top in dataset.tops if top in dataset.means)]

    def _prepared(self) -> list[Finding]:
        path = Path(self.subject.net).parent / preparation.NAME
        if not path.is_file():
            return []
        try:
            return pictures.prepared(preparation.read(path), self._mean(), str(path))
        except BadInput as problem:
            return [look('channels', str(problem))]

    def _weights(self) -> None:
        """The parameters that training begins from, and what layers do with them."""
        size = self.samples.images[0][1][self.samples.label].shape[1:] if self.samples.images else (SIDE, SIDE)
        blobs = infer(computing(self.net, size)).blobs
        pairs = {score: label for score, label in tasks(self.net).items() if score in blobs}
        self._add(layers.classes({score: blobs[score][1] for score in pairs}, self.samples.dataset.classes, pairs,
                                 self.subject.net))
        self.start: Start | None = None
        if self.subject.missing and not self.subject.initial:
            self._add([wrong('weights', 'weights', self.subject.missing[0].partition(': ')[0],
                             self.subject.missing[0].partition(': ')[2] or 'name them with --weights')])
        if not self.samples.images or self._blocked():
            return
        scores = scoring_layers(self.deploy, self.first.bottom[0])
        where = self.subject.net
        folder = self.open.enter_context(files.scratch())
        experiment.write(folder, self.net, self.samples, self.settings, self._plan())
        self.trial = self.open.enter_context(experiment.Trial(folder))
        try:
            blank = self.trial.fillers()
        except BadInput as problem:
            raise BadInput(f'Caffe cannot make this net ({problem}); correct {self.subject.net}') from None
        sources = self._sources()
        if self._blocked():
            return
        self.start = start = begin(self.training, self.net, blank, sources)
        self._add(layers.transplanted(start, scores, self.net, len(sources), where))
        self._add(layers.finite(start.weights, 'the first weights', 'not finite', 'start from another caffemodel with '
                                '--weights'))
        self._add(layers.zeros(start, self.net, scores, where))
        self._add(layers.statistics(start, self.net, where))
        self._add(layers.frozen(start, self.net, scores, where))
        self._add(layers.multipliers(self.net, where))
        self._add(layers.upsampling(start, self.net, where))
        for split, net in zip((*self.training.phases, 'deploy'), (self.net, self.scored, self.deploy), strict=True):
            found = layers.alignment(net, self._file(split))
            self._add(found if split == self.training.phases[0] else [one for one in found if one.state == WRONG])
        self.scores = scores

    def _file(self, split: str) -> str:
        """The file that states the net of a split."""
        place = Path(self.subject.net)
        return self.subject.net if place.suffix == '.py' else str(place.with_name(f'{split}.prototxt'))

    def _sources(self) -> list[Weights]:
        found = []
        for path in self.subject.initial:
            try:
                found.append(read_weights(path))
            except BadInput as problem:
                what, _, remedy = str(problem).partition('; ')
                self._add([wrong('weights', 'weights', what, remedy or 'name another caffemodel with --weights')])
        return found

    def _plan(self) -> dict[str, Any]:
        batch = facts(self.net).get('batch_size', 1)
        self.ratio = ratio = experiment.pixels_ratio(self.net, self.samples, self.settings.type, batch)
        own = {'base_lr': self.settings.base_lr * ratio, 'lr_policy': 'fixed', 'iter_size': 1}
        if self.settings.clip_gradients > 0:
            own['clip_gradients'] = self.settings.clip_gradients / ratio
        if ratio != 1:
            own['weight_decay'] = self.settings.weight_decay / ratio
        blobs = dict(zip(self.samples.dataset.tops, data_layer(self.net).top, strict=True))
        image = next(top for top in self.samples.dataset.tops if top in self.samples.dataset.means)
        return dict(seed=self.seed, type=self.settings.type, seconds=self.seconds, own=own,
                    stated=self.settings.base_lr, mean=list(self._mean()), image=blobs[image], gpu=self.gpu,
                    rates={layer.name: [layers.rate_of(layer, i) if layers.may_learn(layer) else 0.0 for i in range(3)]
                           for layer in self.net.layer})

    def _now(self) -> tuple[str, Weights | None]:
        """The weights that a run has come to, and what to call them."""
        run = self.subject.run
        if run is None:
            return '', None
        saved = snapshot.list_snapshots(snapshots_of(run))
        path = snapshot.weights(saved[-1]) if saved else weights_of(run)
        if not path.is_file():
            return '', None
        try:
            return str(path), read_weights(path)
        except BadInput as problem:
            self._add([wrong('weights now', 'weights now', str(problem), f'go on with --resume --run {run}')])
            return '', None

    def _passes(self) -> None:
        """What Caffe computes: signals, gradients, steps on one image."""
        self.found: dict[str, Any] = {}
        if self.start is None or self._blocked():
            return
        name, now = self._now()
        if now is not None:
            bad = layers.finite(now, f'the weights in {name}', 'weights now', 'go on from an older snapshot, at a '
                                                                              'lower '
                                'rate')
            self._add(bad)
            now = None if bad else {layer: blobs for layer, blobs in now.items() if layer in self.start.weights}
        try:
            self.found = self.trial.measured(self.start.weights, now)
        except BadInput as problem:
            raise BadInput(f'Caffe cannot compute with this net ({problem}); correct {self.subject.net}') from None
        self._signals(now)

    def _signals(self, now: Weights | None) -> None:
        found, where = self.found['start'], self.subject.net
        assert self.start
        before = _weighing_before(self.net)
        remedy = ('start from weights whose numbers are sensible (--weights), or write weight_filler { type: "msra" } '
                  f'in {where}')
        self._add(pictures.statistics(found.get('input', {}), self._card()[0]))
        self._add(pictures.reading(found['layers'], self.net, self.start.weights, self.start.given, where))
        self._add(signals.activations(found, before, self.start.weights, self.scores, remedy))
        read = {name: before[name] for name, up in self.scores.items() if not up and name in before}
        self._add(signals.features(found, read, remedy))
        classes = 2 if overlap(self.net) or self.first.type == SIGMOID else self.classes
        self._add(signals.first_loss(found['per_pixel'], classes, rate.kind(self.net), found['losses']))
        self._add(signals.gradient(found, where))
        search = self.found.get('search')
        if search:
            learning = [layer.name for layer in self.net.layer
                        if layer.name in self.start.weights and layers.learns(layer)]
            self._add(signals.reached(search['one'], learning, where))
            self._add(rate.one_image(search, found['per_pixel'][0], classes, variety(
                self.samples.images[0][1][self.samples.label])))
        if now is not None and 'now' in self.found:
            bad = signals.activations(self.found['now'], before, now, self.scores, 'start again, at a lower rate',
                                      'weights now')
            self._add([replace(finding, check='weights now') for finding in bad])

    def _schedule(self) -> None:
        """Policy, momentum, weight decay, rate."""
        settings, iterations, subject = self.settings, self.recipe.iterations, self.subject
        self._add(schedule.momentum(settings, subject))
        self._add(schedule.policy(settings, iterations, subject))
        search = self.found.get('search')
        if not search:
            return
        gradients = search['one']['gradients']
        learns = {layer.name: float(layer.param[0].decay_mult) if layer.param else 1.0 for layer in self.net.layer
                  if layers.learns(layer)}
        self._add(schedule.decay(settings, gradients, learns, iterations, self.ratio, subject))
        own = self.found['start']['per_pixel'][0]
        self._add(rate.verdict(
            self.net, settings, rate.measured(search, self.ratio), search.get('own', []), iterations,
            schedule.clipping(settings, gradients, self.ratio), own < 0.5 * np.log(max(self.classes, 2)),
            self._pixels(), subject))

    def _soften(self) -> None:
        """Numbers that grow or shrink from layer to layer are no fault of a net that learns all the same."""
        bad = [finding for finding in self.findings if finding.state == WRONG]
        learns = any(finding.cause == '' and finding.check == 'one image' and finding.state == OK
                     for finding in self.findings)
        if learns and bad and all(finding.cause == 'activations' and 'rms' in finding.figures for finding in bad):
            self.findings = [replace(finding, state=LOOK, cause='', remedy='') if finding in bad else finding
                             for finding in self.findings]

    def _pixels(self) -> float:
        """Labelled pixels of an image, the mean."""
        return float(np.mean(self.samples.train.labelled)) if self.samples.train.labelled else 1.0

    def _run(self) -> None:
        """What a run has written down."""
        if self.subject.run is None:
            return
        different = next((finding.what for finding in self.findings if finding.check == 'held-out images'
                          and finding.state == LOOK), '')
        self._add(history.read(monitor.read(self.subject.run / 'metrics.jsonl'), self._pixels(), max(self.classes, 2),
                               is_mean(self.net), different))

    def _memory(self) -> None:
        """What training takes at the largest image, and what there is."""
        kind = str(self.settings.type)
        try:
            scoring = preflight.sizes(self.scored, open_source(self.scored), validating_bytes)
            need = preflight.sizes(self.net, open_source(self.net), partial(training_bytes, type=kind), scoring)
        except BadInput as problem:
            if any(finding.state == WRONG for finding in self.findings):
                return
            what, _, remedy = str(problem).partition(': ')
            self._add([wrong('memory', 'memory', str(problem), remedy.rpartition('; ')[2] or 'take smaller images')])
            return
        free = device.free_memory() if device.on_gpu() else available()
        self._add([fine('memory', f'{(need + scoring) / 1e9:.2f} GB at the largest image, {free / 1e9:.1f} GB are free'
                        + (' on the card' if device.on_gpu() else ''), bytes=need + scoring, free=free)])

    def _rest(self) -> None:
        """What `solvers train` checks beside all that, of prototxts that anybody may have written."""
        if isinstance(self.recipe, Schedule) and cause_of(self.findings) is None:
            check_phase(self.net, True)
            check_phase(self.scored, False)


def _weighing_before(net: Any) -> dict[str, str]:
    """Layer -> the layer of a type with weights whose numbers it reads, itself or through layers that work on them."""
    source: dict[str, str] = {}
    result = {}
    for layer in net.layer:
        before = next((source[name] for name in layer.bottom if name in source), '')
        if before:
            result[layer.name] = before
        for top in layer.top:
            source[top] = layer.name if layer.type in layers.WEIGHING else before
    return result


Maker = Callable[[], Subject]


def examine(find: Maker, seconds: float, seed: int | None = None, gpu: int | None = None,
            has_solver: bool = False) -> list[Finding]:
    """Examine what `find` gives.

    Parameters
    ----------
    find : callable
        As of `solvers.doctor.subject.find`.
    seconds, seed, gpu
        As for `Examination`.
    has_solver : bool
        Whether there is a folder with a solver file: what is wrong with it is then a finding.

    Raises
    ------
    BadInput
        There is no such net or folder.
    """
    try:
        subject = find()
    except BadInput as problem:
        if not has_solver:
            raise
        what, _, remedy = str(problem).partition(': ')
        text, _, remedy = str(problem).rpartition(': ')
        return [wrong('set-up', 'set-up', text or str(problem), remedy if text else 'correct that')]
    return Examination(subject, seconds, seed, gpu).run()
