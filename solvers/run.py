"""The folder of a run: everything that made it, what it has learnt so far, and what came out.

    train.prototxt ... solver.prototxt, deploy.prototxt     the nets and the solver
    run.json                recipe, options, initial weights, device, ranks, commit, versions
    init.txt                what was transplanted, and what was filled
    metrics.jsonl           a line a step and a scoring; loss.png and scores.png show it
    snapshots/ITERATION/    weights, momentum and a manifest, see `solvers.snapshot`
    weights.caffemodel      the last snapshot's weights, once the run has ended
    best.caffemodel         those of the scoring with the best mean IU; best.json says which, see `solvers.best`
    evaluation/             what the last scoring found, see `solvers.evaluation`
    report.html             made of all that by `report`
    lock                    held by the process that trains
"""
import contextlib
import fcntl
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import files
from accel import nccl
from cli import BadInput
from solvers import best, monitor, prototxts, snapshot, weights
from solvers.training import Training


class Run:
    """A run folder read back; like a `Training` it has `fcn` and `phases`, but from the prototxts in the folder.

    Parameters
    ----------
    path : Path
        The folder.

    Attributes
    ----------
    about : dict
        `run.json`; empty when the file is missing.
    losses : list of (int, float)
        Iteration and training loss, up to the first that is not finite.
    diverged : int or None
        The iteration whose loss is not finite.
    scores : list of (int, dict)
        Iteration and, by label blob, the four metrics.
    pixel_losses, held_out_losses : list of (int, float)
        Iteration and the loss of a pixel, of the images of a step and of the scored split; empty for older runs.
    warnings : list of str
        What was noted while it trained.

    Raises
    ------
    BadInput
        The folder is not that of a run, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not is_run(path):
            raise BadInput(f'{path} is not the folder of a run: it has neither run.json nor metrics.jsonl')
        self.about = self._json('run.json')
        try:
            lines = monitor.read(path / 'metrics.jsonl')
            losses = [(int(line['iteration']), float(line['loss'])) for line in lines if 'scores' not in line]
            pixels = [[(int(line['iteration']), float(line['pixel_loss'])) for line in lines
                       if ('scores' in line) == scored and 'pixel_loss' in line] for scored in (False, True)]
            self.warnings = [str(line['warning']) for line in lines if 'warning' in line]
            self.scores = [(int(line['iteration']), {label: {name: float(score) for name, score in task.items()}
                                                     for label, task in line['scores'].items()})
                           for line in lines if 'scores' in line]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise BadInput(f'{path / "metrics.jsonl"} is damaged ({problem!r})') from None
        self.diverged = next((iteration for iteration, loss in losses if not math.isfinite(loss)), None)
        self.losses = [(iteration, loss) for iteration, loss in losses
                       if self.diverged is None or iteration < self.diverged]
        self.pixel_losses, self.held_out_losses = ([point for point in points if math.isfinite(point[1])]
                                                   for points in pixels)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            value = json.loads(files.read_text(path)) if path.exists() else {}
        except (OSError, ValueError, RecursionError) as problem:
            raise BadInput(f'{path} is damaged ({problem})') from None
        if not isinstance(value, dict):
            raise BadInput(f'{path} is damaged (it is not a JSON object)')
        return value

    @property
    def net(self) -> str:
        """Name of the net."""
        return str(self.about.get('net') or self.path.name)

    @property
    def chance(self) -> float | None:
        """The loss a pixel of scores that are all alike; None where `run.json` does not say."""
        value = self.about.get('chance')
        return float(value) if isinstance(value, float) and 0 < value < math.log(2 ** 31) else None

    @property
    def best(self) -> dict[str, Any] | None:
        """Step and mean IU of best.caffemodel; None where there is none."""
        return best.read(self.path)

    @cached_property
    def phases(self) -> tuple[str, str]:
        """The splits that train and score, as named by the solver."""
        return prototxts.read_phases(self.path)

    def fcn(self, split: str) -> Any:
        """The `NetParameter` of a split or of 'deploy'."""
        return prototxts.read_net(self.path, split)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return any((folder / name).is_file() for name in ('run.json', 'metrics.jsonl'))


def weights_of(run: Path) -> Path:
    """Where the folder of a run has its final weights."""
    return run / 'weights.caffemodel'


def snapshots_of(run: Path) -> Path:
    """Where the folder of a run has its snapshots."""
    return run / 'snapshots'


def evaluation_of(run: Path) -> Path:
    """Where the folder of a run has what its last scoring found."""
    return run / 'evaluation'


@contextlib.contextmanager
def alone(run: Path, first: bool = True) -> Iterator[None]:
    """Hold the run folder, which is made if need be: no second process trains in it meanwhile.

    Parameters
    ----------
    run : Path
    first : bool
        Whether this is the first rank, the one that holds it for all.

    Raises
    ------
    BadInput
        Another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    if not first:
        yield
        return
    name = run / 'lock'
    if name.exists():
        files.check_regular(name)
    with name.open('a') as lock:     # which keeps what a link leads to
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f'{run}: another process is training there; name another folder with --run') from None
        yield


def initial_of(run: Path) -> list[Path]:
    """The caffemodels that a run started from, as it noted; none where that cannot be read."""
    try:
        return [Path(str(name)) for name in Run(run).about.get('initial', ())]
    except (BadInput, TypeError):
        return []


def is_held(run: Path) -> bool:
    """Whether a process trains in the folder now."""
    lock = run / 'lock'
    if lock.exists():
        with files.open_regular(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def write_down(training: Training, run: Path, initial: Sequence[Path], device_name: str, ranks: int,
               options: Mapping[str, Any] | None = None, chance: float | None = None) -> None:
    """Write the prototxts and `run.json`: all that says how this run is made.

    Parameters
    ----------
    training : Training
    run : Path
        The folder.
    initial : sequence of Path
        The caffemodels it starts from.
    device_name : str
        What it computes on.
    ranks : int
        How many data-parallel ranks train.
    options : mapping, optional
        What the command line has changed about the training, by name.
    chance : float, optional
        The loss a pixel of scores that are all alike.
    """
    import caffe
    write_nets(training, run, ranks)
    files.write_json(run / 'run.json', {
        'net': training.net, 'recipe': training.recipe.facts(), 'options': dict(options or {}), 'chance': chance,
        'initial': [str(path) for path in initial],
        'device': device_name, 'ranks': ranks, 'commit': commit(),
        'versions': {'python': platform.python_version(), 'numpy': np.__version__, 'caffe': caffe.__version__},
    })


def write_nets(training: Training, folder: Path, ranks: int = 1) -> None:
    """Write the prototxts as the loop reads them: the solver's steps are Caffe's, its snapshots the loop's.

    Parameters
    ----------
    training : Training
    folder : Path
    ranks : int
        How many data-parallel ranks train.
    """
    training.emit(folder)
    solver = training.recipe.solver(*training.phases)
    solver.ClearField('snapshot')  # the loop takes them, whole or not at all
    solver.snapshot_prefix = snapshot.PREFIX
    if ranks > 1 and not nccl.layer_wise(training.fcn(training.phases[0]), solver.iter_size):
        solver.layer_wise_reduce = False
    files.write(folder / 'solver.prototxt', str(solver))


def commit() -> str | None:
    """The commit of this checkout; None without git, or outside a repository."""
    try:
        asked = subprocess.run(['git', '-C', weights.ROOT, 'rev-parse', 'HEAD'], capture_output=True, text=True)
    except OSError:
        return None
    return asked.stdout.strip() or None


def publish_weights(run: Path) -> None:
    """Give the weights of the last snapshot their final name, without a copy."""
    newest, name = snapshot.list_snapshots(snapshots_of(run))[-1], weights_of(run)
    partial = name.with_name(name.name + files.PARTIAL)
    partial.unlink(missing_ok=True)
    os.link(snapshot.weights(newest), partial)
    os.replace(partial, name)
