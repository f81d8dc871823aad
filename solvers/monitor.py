"""What a run writes down while it trains: `metrics.jsonl`, its curves, and a warning when nothing is learnt."""
import json
import math
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import files
from cli import BadInput
from solvers.metrics import METRICS, without_nan

PARTING = 3     # scorings in a row whose loss rises before it is told
SMOOTHING = 20  # steps a plotted or displayed loss is averaged over, like the solver's `average_loss`

NO_LINE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class MetricsLog:
    """The lines of `metrics.jsonl`: `{"iteration", "loss", "pixel_loss"}` a step, a scoring `"scores"` and `"iu"` too.

    `loss` is that of an image, summed over its pixels where the net sums it, `pixel_loss` that of one labelled pixel;
    `iu` is that of each class, null where it is absent. A scoring after which the two splits part has a `"warning"`.

    A line holds numbers of the training alone, no times, so that a resumed run writes the very lines of a whole one.
    """

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        """Open `path`, keeping only the lines up to iteration `resume_at` of an earlier run."""
        kept = [line for line in read(path) if line['iteration'] <= resume_at] if resume_at else []
        files.write(path, ''.join(json.dumps(line) + '\n' for line in kept))
        self._file = path.open('a')
        steps = [line for line in kept if 'scores' not in line]
        self.recent = deque((line['loss'] for line in steps), SMOOTHING)
        self.recent_pixels = deque((line['pixel_loss'] for line in steps if 'pixel_loss' in line), SMOOTHING)
        self.scorings = [line for line in kept if 'scores' in line]
        self._splits = Splits()
        for line in kept:
            if 'pixel_loss' in line:
                self._splits.add(line['pixel_loss'], 'scores' in line)
        self._warned = any('warning' in line for line in kept)

    def step(self, iteration: int, loss: float, pixel_loss: float) -> tuple[float, float]:
        """Note the loss of one step, of an image and of a pixel; returns both smoothed."""
        self.recent.append(loss)
        self.recent_pixels.append(pixel_loss)
        self._splits.add(pixel_loss, scored=False)
        self._write(iteration=iteration, loss=loss, pixel_loss=pixel_loss)
        return float(np.mean(self.recent)), float(np.mean(self.recent_pixels))

    def score(self, iteration: int, loss: float, pixel_loss: float, scores: dict[str, dict[str, float]],
              iu: Mapping[str, Sequence[float]]) -> str | None:
        """Note the scores of the test split and its classes, by label blob, and its mean loss, of an image and a pixel.

        Returns
        -------
        str or None
            A warning, once in a run, when its loss rises while that of training falls.
        """
        self._splits.add(pixel_loss, scored=True)
        warning = None if self._warned else self._splits.parted()
        self._warned = self._warned or bool(warning)
        self._write(iteration=iteration, loss=loss, pixel_loss=pixel_loss, scores=scores,
                    iu=without_nan(dict(iu)), **({'warning': warning} if warning else {}))
        return warning

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps(line) + '\n')

    def flush(self) -> None:
        """Bring what was written safely to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Splits:
    """The loss a pixel of training and of the scored split, scoring by scoring.

    Attributes
    ----------
    trained : list of float
        The mean over the steps before each scoring, back to the one before that.
    held_out : list of float
        Of each scoring.
    """

    def __init__(self) -> None:
        self.trained: list[float] = []
        self.held_out: list[float] = []
        self._sum, self._steps = 0.0, 0

    def add(self, pixel_loss: float, scored: bool) -> None:
        """Take the loss of a step, or of a scoring, in the order in which they are made."""
        if scored:
            self.trained.append(self._sum / max(self._steps, 1))
            self.held_out.append(pixel_loss)
            self._sum, self._steps = 0.0, 0
        else:
            self._sum, self._steps = self._sum + pixel_loss, self._steps + 1

    def parted(self, over: int = PARTING, rise: float = 0.05) -> str | None:
        """A warning when held-out images are understood worse and worse while those of training are better.

        Parameters
        ----------
        over : int
            Scorings in a row, each of a higher loss than the one before.
        rise : float
            By how much, relative to the lowest, the last one is higher at least.

        Returns
        -------
        str or None
        """
        held, trained = self.held_out[-over - 1:], self.trained[-over - 1:]
        rising = len(held) > over and all(a < b for a, b in zip(held, held[1:], strict=False))
        if not rising or held[-1] < (1 + rise) * held[0] or not trained[-1] < trained[0]:
            return None
        return (f'the scored split parts from training: over {over} scorings its loss a pixel rose from '
                f'{held[0]:.3g} to {held[-1]:.3g} while that of training fell from {trained[0]:.3g} to '
                f'{trained[-1]:.3g}; more images, or varied ones, would help, fewer steps too: --patience N ends in '
                'time, and best.caffemodel is kept')


def chance(classes: int) -> float:
    """The loss a pixel of scores that are all alike, ln(classes): what a net that knows nothing begins with."""
    return math.log(max(classes, 1))


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
    numbers = [line['iteration'], line['loss'], line.get('pixel_loss', 0),
               *(found[name] for found in scores for name in METRICS)]
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


def plot(folder: Path, title: str, guessing: float | None = None) -> None:
    """Draw `loss.png` and `scores.png` of a run from its `metrics.jsonl`.

    Parameters
    ----------
    folder : Path
        Of the run.
    title : str
        Name of the net.
    guessing : float, optional
        The loss a pixel of scores that are all alike, drawn as a line: see `chance`.
    """
    from matplotlib.figure import Figure
    lines = read(folder / 'metrics.jsonl')
    steps = [line for line in lines if 'scores' not in line]
    scored = [line for line in lines if 'scores' in line]
    if steps:
        known = [line for line in steps if 'pixel_loss' in line]
        figure = Figure(figsize=(12 if known else 8, 4.5), layout='constrained')
        drawn = [('loss', steps, f'{title}: training loss', 'loss of an image')]
        drawn += [('pixel_loss', known, f'{title}: loss a pixel', 'loss of a labelled pixel')] if known else []
        for place, (field, taken, heading, axis) in enumerate(drawn, 1):
            axes = figure.add_subplot(1, len(drawn), place, title=heading, xlabel='iteration', ylabel=axis)
            iterations, losses = [line['iteration'] for line in taken], [line[field] for line in taken]
            axes.plot(iterations, losses, color='0.8', linewidth=0.8, label='each step')
            axes.plot(iterations, smooth(losses), label=f'mean of {SMOOTHING} steps')
            if field == 'pixel_loss':
                held = [line for line in scored if field in line]
                axes.plot([line['iteration'] for line in held], [line[field] for line in held], marker='.',
                          label='scored split')
                if guessing:
                    axes.axhline(guessing, color='0.4', linestyle='--', label=guess_name(guessing))
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


def guess_name(guessing: float) -> str:
    """What a chart calls the line of `chance`.

    >>> guess_name(chance(21))
    'ln(21) = 3.04: guessing'
    """
    return f'ln({round(math.exp(guessing))}) = {guessing:.2f}: guessing'


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
    guessing, taken = chance(classes), list(losses)
    if not taken or abs(float(np.mean(taken)) - guessing) > tolerance * guessing:
        return None
    return (f'the loss stays at ln({classes}) = {guessing:.2f} a pixel, that of random guessing: were the '
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
