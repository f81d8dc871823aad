"""The four metrics of semantic segmentation (CVPR 2015, section 5) from a confusion matrix, in numpy alone."""
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cli import printable

METRICS = ('pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu')


@dataclass(frozen=True)
class Scores:
    """The four metrics as fractions of 1, and per class accuracy and IU (NaN where the truth lacks the class)."""
    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    fw_iu: float
    accuracy: tuple[float, ...]
    iu: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """Name -> value of each of `METRICS`."""
        return {name: getattr(self, name) for name in METRICS}

    def __str__(self) -> str:
        """The metrics in percent, in one line."""
        return '   '.join(f'{name.replace("_", " ")} {100 * value:.1f}' for name, value in self.summary().items())


class ConfusionMatrix:
    """Counts of (true class, predicted class) over pixels, summed over images.

    Parameters
    ----------
    classes : sequence of str
        Names of the k classes, in the order of their indices.
    counts : array_like of int, k x k, optional
        Pixels of true class i predicted as class j; none by default.

    Examples
    --------
    >>> matrix = ConfusionMatrix(('sky', 'sea'))
    >>> matrix.update(truth=np.array([0, 0, 1, 255]), prediction=np.array([0, 1, 1, 0]))
    >>> matrix.counts
    array([[1, 1],
           [0, 1]])
    >>> matrix.compute().pixel_accuracy
    0.6666666666666666
    """

    def __init__(self, classes: Sequence[str], counts: npt.ArrayLike | None = None) -> None:
        self.classes = tuple(classes)
        k = len(self.classes)
        self.counts = np.zeros((k, k), np.int64) if counts is None else np.array(counts, np.int64)

    def update(self, truth: npt.ArrayLike, prediction: npt.ArrayLike) -> None:
        """Count the pixels of an image.

        Parameters
        ----------
        truth, prediction : array_like of int, one shape
            Class indices. Pixels whose truth is not a class (void, 255) are left out.

        Raises
        ------
        ValueError
            The shapes differ.
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        if truth.shape != prediction.shape:
            raise ValueError(f'truth of shape {truth.shape} beside a prediction of shape {prediction.shape}')
        k = len(self.classes)
        labelled = (truth >= 0) & (truth < k)
        pairs = truth[labelled].astype(np.int64) * k + prediction[labelled].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=k * k).reshape(k, k)

    def without(self, name: str) -> 'ConfusionMatrix':
        """The matrix of the pixels whose true class is another one; to predict `name` for them stays an error."""
        result = ConfusionMatrix(self.classes, self.counts)
        result.counts[self.classes.index(name)] = 0
        return result

    def compute(self, published: bool = False) -> Scores:
        """The metrics so far, all NaN before the first labelled pixel.

        Parameters
        ----------
        published : bool
            Count absent classes as the code published with the papers does.

        Returns
        -------
        Scores

        Notes
        -----
        Classes that the truth lacks are left out of the means. The code published with the papers leaves them out of
        the mean accuracy but counts an IU of 0 for those that were predicted; with `published` so does this.
        """
        right = np.diag(self.counts).astype(float)
        true, predicted = self.counts.sum(1), self.counts.sum(0)
        with np.errstate(divide='ignore', invalid='ignore'):
            accuracy = np.where(true > 0, right / true, np.nan)
            iu = np.where(true > 0, right / (true + predicted - right), np.nan)
            present, total = true > 0, true.sum()
            if not total:
                return Scores(np.nan, np.nan, np.nan, np.nan, tuple(accuracy), tuple(iu))
            counted = present | (predicted > 0) if published else present
            mean_iu = np.where(present, iu, 0)[counted].mean()
            return Scores(float(right.sum() / total), float(accuracy[present].mean()), float(mean_iu),
                          float((true[present] * iu[present]).sum() / total),
                          tuple(map(float, accuracy)), tuple(map(float, iu)))

    def __str__(self) -> str:
        scores = self.compute()
        classes = [printable(name) for name in self.classes]
        width = max(map(len, classes))
        rows = [f'{name:<{width}}  {100 * a:8.1f}  {100 * iu:5.1f}' if a == a else f'{name:<{width}}  {"absent":>8}'
                for name, a, iu in zip(classes, scores.accuracy, scores.iu, strict=True)]
        return '\n'.join([f'{"class":<{width}}  accuracy     IU', *rows, str(scores)])


def variants(matrix: ConfusionMatrix, left_out: str | None) -> dict[str, Scores]:
    """The scores by other conventions, where they differ: the published one, and without the class `left_out`.

    Parameters
    ----------
    matrix : ConfusionMatrix
    left_out : str or None
        The class that some publications leave out of the scores.

    Returns
    -------
    dict of str to Scores
        By the convention, in words.
    """
    result = {}
    if (matrix.counts.sum(1) == 0).any():
        result['absent classes counted as the published code does'] = matrix.compute(published=True)
    if left_out and left_out in matrix.classes:
        result[f'without {left_out}'] = matrix.without(left_out).compute()
    return result


def to_json(matrix: ConfusionMatrix, left_out: str | None = None) -> dict[str, Any]:
    """All that is known of a task as JSON values: the fields of `Scores`, classes, confusion matrix and variants.

    Parameters
    ----------
    matrix : ConfusionMatrix
    left_out : str, optional
        As of `variants`.

    Returns
    -------
    dict
        None stands for the scores of absent classes.
    """
    return {**_without_nan(asdict(matrix.compute())), 'classes': matrix.classes,
            'confusion_matrix': matrix.counts.tolist(),
            'variants': {name: _without_nan(scores.summary()) for name, scores in variants(matrix, left_out).items()}}


def _without_nan(value: Any) -> Any:
    """The same numbers with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_without_nan(item) for item in value]
    return None if value != value else value
