"""What a run writes down while it trains: `metrics.jsonl`, its curves, and a warning when nothing is learnt."""
import json
import math
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import files
from cli import BadInput
from solvers.metrics import METRICS

SMOOTHING = 20  # steps a plotted or displayed loss is averaged over, like the solver's `average_loss`

NO_LINE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class MetricsLog:
    """The lines of `metrics.jsonl`: `{"iteration", "loss"}` a step, `{"iteration", "loss", "scores"}` a scoring.

    A line holds numbers of the training alone, no times, so that a resumed run writes the very lines of a whole one.
    """

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        """Open `path`, keeping only the lines up to iteration `resume_at` of an earlier run."""
        kept = [line for line in read(path) if line['iteration'] <= resume_at] if resume_at else []
        files.write(path, ''.join(json.dumps(line) + '\n' for line in kept))
        self._file = path.open('a')
        self.recent = deque((line['loss'] for line in kept if 'scores' not in line), SMOOTHING)

    def step(self, iteration: int, loss: float) -> float:
        """Note the loss of one step; returns it smoothed."""
        self.recent.append(loss)
        self._write(iteration=iteration, loss=loss)
        return float(np.mean(self.recent))

    def score(self, iteration: int, loss: float, scores: dict[str, dict[str, float]]) -> None:
        """Note the scores of the test split, by label blob, and its mean loss."""
        self._write(iteration=iteration, loss=loss, scores=scores)

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps(line) + '\n')

    def flush(self) -> None:
        """Bring what was written safely to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a last line cut short by a crash is left out.

    Raises
    ------
    BadInput
        Another line is damaged; names it.
    """
    if not path.exists():
        return []
    with files.open_regular(path) as file:
        whole = file.read().decode(errors='replace')
    lines = []
    for number, text in enumerate(whole.splitlines(keepends=True), 1):
        try:
            lines.append(checked(json.loads(text)))
        except NO_LINE:
            if text.endswith('\n'):
                raise BadInput(f'{path} is damaged at line {number}: restore it, or remove that line') from None
    return lines


def checked(line: Any) -> dict[str, Any]:
    """A line as it is; raises one of `NO_LINE` for what `MetricsLog` does not write."""
    scores = line.get('scores', {}).values()
    numbers = [line['iteration'], line['loss'], *(found[name] for found in scores for name in METRICS)]
    if not isinstance(line['iteration'], int) or not all(isinstance(number, int | float) for number in numbers):
        raise TypeError('numbers are missing')
    for number in numbers:
        float(number)       # no integer is too large to be drawn
    return dict(line)


def smooth(values: npt.ArrayLike, window: int = SMOOTHING) -> npt.NDArray[np.float64]:
    """Running mean over the last values.

    Parameters
    ----------
    values : array_like of float, n
    window : int
        So many values, fewer at the start.

    Returns
    -------
    array of float, n
    """
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, float)]))
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - window, 0)
    means: npt.NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def plot(folder: Path, title: str) -> None:
    """Draw `loss.png` and `scores.png` of a run from its `metrics.jsonl`.

    Parameters
    ----------
    folder : Path
        Of the run.
    title : str
        Name of the net.
    """
    from matplotlib.figure import Figure
    lines = read(folder / 'metrics.jsonl')
    steps = [line for line in lines if 'scores' not in line]
    scored = [line for line in lines if 'scores' in line]
    if steps:
        figure = Figure(figsize=(8, 4.5), layout='constrained')
        axes = figure.add_subplot(title=f'{title}: training loss', xlabel='iteration', ylabel='loss of an image')
        iterations = [line['iteration'] for line in steps]
        losses = [line['loss'] for line in steps]
        axes.plot(iterations, losses, color='0.8', linewidth=0.8, label='each step')
        axes.plot(iterations, smooth(losses), label=f'mean of {SMOOTHING} steps')
        axes.set_ylim(bottom=0)
        axes.legend()
        _save(figure, folder / 'loss.png')
    if scored:
        figure = Figure(figsize=(8, 4.5), layout='constrained')
        axes = figure.add_subplot(title=f'{title}: scores of the test split', xlabel='iteration', ylim=(0, 1))
        for task in scored[-1]['scores']:
            told = [line for line in scored if task in line['scores']]
            for metric in METRICS:
                axes.plot([line['iteration'] for line in told], [line['scores'][task][metric] for line in told],
                          marker='.',
                          label=f'{task} {metric.replace("_", " ")}' if task != 'label' else metric.replace('_', ' '))
        axes.legend()
        _save(figure, folder / 'scores.png')


def _save(figure: Any, path: Path) -> None:
    with files.whole(path) as file:
        figure.savefig(file, format='png', dpi=100)


def loss_at_chance(losses: Iterable[float], classes: int, tolerance: float = 0.02) -> str | None:
    """A warning when the loss has not left that of random guessing.

    Scores of all zero give every class the same probability, a loss of ln(classes) for each labelled pixel.

    Parameters
    ----------
    losses : sequence of float
        Losses of the last steps, per labelled pixel.
    classes : int
        Classes of the net.
    tolerance : float
        How near to chance counts, relative.

    Returns
    -------
    str or None
    """
    chance = math.log(classes)
    if abs(float(np.mean(list(losses))) - chance) > tolerance * chance:
        return None
    return (f'the loss stays at ln({classes}) = {chance:.2f} a pixel, that of random guessing: were the '
            f'weights transplanted (see init.txt of the run), and is the learning rate one for this loss?')


def one_class(counts: npt.NDArray[np.int64]) -> str | None:
    """A warning when every pixel was given one class though the truth has several.

    Parameters
    ----------
    counts : array of int, k x k
        Of a confusion matrix.

    Returns
    -------
    str or None
    """
    predicted, true = counts.sum(0), counts.sum(1)
    if np.count_nonzero(predicted) != 1 or np.count_nonzero(true) < 2:
        return None
    return (f'every pixel is predicted as class {int(predicted.argmax())}: either it is too early to tell, or the '
            f'weights were not transplanted or the deconvolutions not filled (see init.txt of the run)')
