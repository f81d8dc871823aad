"""The engines that are compared, the command that times one on a net, and the proof that they compute the same."""
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cli
from bench import basket
from bench.passes import on_threads
from bench.processes import PEERS, Command, Report, ask
from surgery.export.engines import compared

FCN8S = 'fcn8s'
TITLES = {FCN8S: 'FCN-8s', **{name: trunk.title for name, trunk in basket.NETS.items()}}
PEER_NAMES = {'torch': 'PyTorch', 'ort': 'ONNX Runtime', 'openvino': 'OpenVINO'}
OURS, CAFFE, TORCH = 'ours', 'caffe', 'torch'
# What engines may differ by from Caffe: sums in float32 in another order, through up to 70 layers of random weights,
# differ by some 1e-5 of the largest score; a gradient also by where numbers near zero fall in ReLU and pooling.
SCORES, LOSS, GRADIENT = 1e-3, 1e-4, 1e-2
CHECKED_SIZE = 250      # pixels, of the step that is compared


class Job(NamedTuple):
    """What one process times: a net of `TITLES`, an engine, 'forward', 'step' or 'sizes', and pixels of a side."""

    net: str
    engine: str
    what: str
    size: int

    def __str__(self) -> str:
        return f'{TITLES[self.net]}, {self.what} at {self.size}, {title(self.engine)}'


class Settings(NamedTuple):
    """How processes are run.

    Attributes
    ----------
    python : Path or None
        That of the other engines' environment.
    threads, runs : int
        Of an engine; passes after the first.
    seconds : float
        After which no other pass begins.
    """

    python: Path | None
    threads: int
    runs: int
    seconds: float


def title(engine: str) -> str:
    """An engine's name to read; 'ours-avx2' are our layers held to an instruction set."""
    if engine.startswith(OURS):
        isa = engine[len(OURS) + 1:]
        return f'ours ({isa.upper()})' if isa else 'ours'
    return {CAFFE: 'Caffe', **PEER_NAMES}[engine]


def peers(what: str, settings: Settings) -> list[str]:
    """The other engines that a net is timed in: all forward, PyTorch in a step; none without their environment."""
    if not settings.python:
        return []
    return list(PEER_NAMES) if what == 'forward' else [TORCH]


def command(job: Job, settings: Settings, *more: str) -> Command:
    """Command line and environment that run a job in a new process; `more` are further options."""
    options = ['--size', str(job.size), '--threads', str(settings.threads), '--runs', str(settings.runs), '--seconds',
               str(settings.seconds), *more]
    if job.net != FCN8S:
        options += ['--net', str(basket.folder_of(job.net))]
    environment = on_threads(settings.threads)
    if job.engine in PEER_NAMES:
        return [str(settings.python), *PEERS, job.what, '--engine', job.engine, *options], environment
    environment['FCN_ACCEL'] = str(int(job.engine != CAFFE))
    if isa := job.engine.partition('-')[2]:
        environment['FCN_ACCEL_ISA'] = isa
    return [sys.executable, '-m', 'bench.ours', job.what, *options], environment


def measure(job: Job, settings: Settings, *more: str) -> Report | None:
    """What one process reports on a job, or None with the reason said."""
    report = ask(str(job), *command(job, settings, *more))
    if report and job.engine.startswith(OURS) and report['engine'] != OURS:
        raise cli.BadInput(f'nothing to compare: nets run on {report["layers"]}')
    return report


class Agreement:
    """Sees that engines compute what Caffe does before they are compared, net by net.

    Parameters
    ----------
    settings : Settings
    place : Path
        A folder for scores.
    """

    def __init__(self, settings: Settings, place: Path) -> None:
        self.settings, self.place = settings, place

    def measure(self, job: Job) -> Report | None:
        """As of `measure`; the first forward pass of an engine on a net of the basket is compared with Caffe's.

        An engine that computes something else is left out, with what it differs by said.

        Raises
        ------
        cli.Failed
            It is ours.
        """
        path, caffes = self._scores(job), self._scores(job._replace(engine=CAFFE))
        if job.net == FCN8S or job.what != 'forward' or path.exists():
            return measure(job, self.settings)
        if job.engine != CAFFE and not caffes.exists():
            raise cli.Failed(f'{job}: there are no scores of Caffe to compare with; the lines above say why')
        report = measure(job, self.settings, '--scores', str(path))
        if report is None or job.engine == CAFFE:
            return report
        found = compared(np.load(path), np.load(caffes))
        report['difference'] = found['max_relative']
        return self._same(job, report, {'scores': (found['max_relative'], SCORES),
                                        'labels': (found['labels_differ'], 0)})

    def _scores(self, job: Job) -> Path:
        return self.place / f'{job.net}-{job.engine}-{job.size}.npy'

    def same_step(self, net: str, engines: Sequence[str]) -> list[str]:
        """Those of some engines whose training step of a net has Caffe's loss and gradient, without dropout."""
        reports = {engine: measure(Job(net, engine, 'check', CHECKED_SIZE), self.settings) for engine in engines}
        caffe = reports[CAFFE]
        if caffe is None:
            raise cli.Failed(f'{TITLES[net]}: there is no step of Caffe to compare with; the lines above say why')
        return [engine for engine, report in reports.items() if report and self._same(
            Job(net, engine, 'step', CHECKED_SIZE), report,
            {what: (abs(report[what] / caffe[what] - 1), most)
             for what, most in (('loss', LOSS), ('gradient', GRADIENT))})]

    def _same(self, job: Job, report: Report, differences: dict[str, tuple[float, float]]) -> Report | None:
        """The report of an engine, or None where a difference, relative to Caffe's, is more than it may be."""
        for what, (difference, most) in differences.items():
            if not difference <= most:
                problem = f'{job}: its {what} differ from Caffe\'s by {difference:.2g}, where {most:g} is the most'
                if job.engine.startswith(OURS):
                    raise cli.Failed(problem)
                cli.say(f'left out: {problem}')
                return None
        return report
