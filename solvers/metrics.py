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

    @staticmethod
    def decide(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The class of every pixel, H x W: the one with the highest of the K x H x W scores."""
        labels: npt.NDArray[np.uint8] = scores.argmax(0).astype(np.uint8)
        return labels

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


@dataclass(frozen=True)
class OverlapScores(Scores):
    """The scores of classes that overlap, each a question of its own that a pixel answers by yes or no.

    Pixel accuracy is that of all answers, and a class's accuracy is its recall; `precision` is NaN where it was never
    predicted.
    """
    precision: tuple[float, ...]


class OverlapCounts:
    """Counts of pixels for classes that overlap, summed over images: each class is there or not.

    Parameters
    ----------
    classes : sequence of str
        Names of the k classes, in the order of the scores.
    counts : array_like of int, k x 4, optional
        Of each class true and false positives, false and true negatives; none by default.

    Examples
    --------
    >>> counts = OverlapCounts(('road', 'car'))
    >>> counts.update(truth=np.array([[[1, 1, 0, 255]], [[0, 1, 0, 1]]]),
    ...               prediction=np.array([[[1, 0, 1, 1]], [[0, 1, 0, 1]]]))
    >>> counts.counts
    array([[1, 1, 1, 0],
           [2, 0, 0, 2]])
    >>> counts.compute().iu
    (0.3333333333333333, 1.0)
    """

    def __init__(self, classes: Sequence[str], counts: npt.ArrayLike | None = None) -> None:
        self.classes = tuple(classes)
        self.counts = np.zeros((len(self.classes), 4), np.int64) if counts is None else np.array(counts, np.int64)

    def update(self, truth: npt.ArrayLike, prediction: npt.ArrayLike) -> None:
        """Count the pixels of an image.

        Parameters
        ----------
        truth : array_like of int, k x H x W
            1 where the class is, 0 where not; other values, such as void (255), are left out.
        prediction : array_like of bool, k x H x W

        Raises
        ------
        ValueError
            The shapes differ.
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction).astype(bool)
        if truth.shape != prediction.shape:
            raise ValueError(f'truth of shape {truth.shape} beside a prediction of shape {prediction.shape}')
        there, absent = truth == 1, truth == 0
        answers = (there & prediction, absent & prediction, there & ~prediction, absent & ~prediction)
        self.counts += np.stack([answer.reshape(len(self.classes), -1).sum(1) for answer in answers], 1)

    @staticmethod
    def decide(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Which classes are at every pixel, k x H x W: those with a score above 0, a probability above one half."""
        return scores > 0

    def compute(self, published: bool = False) -> OverlapScores:
        """The metrics so far; classes that the truth lacks are left out of the means, whatever `published` says."""
        hit, false, missed, right = self.counts.astype(float).T
        with np.errstate(divide='ignore', invalid='ignore'):
            present, total = hit + missed > 0, self.counts.sum()
            recall = np.where(present, hit / (hit + missed), np.nan)
            iu = np.where(present, hit / (hit + missed + false), np.nan)
            precision = np.where(hit + false > 0, hit / (hit + false), np.nan)
        classes = tuple(map(float, recall)), tuple(map(float, iu)), tuple(map(float, precision))
        if not present.any():
            accuracy = float((hit + right).sum() / total) if total else np.nan
            return OverlapScores(accuracy, np.nan, np.nan, np.nan, *classes)
        true = (hit + missed)[present]
        return OverlapScores(float((hit + right).sum() / total), float(recall[present].mean()),
                             float(iu[present].mean()), float((true * iu[present]).sum() / true.sum()), *classes)

    def __str__(self) -> str:
        scores = self.compute()
        names = [printable(name) for name in self.classes]
        width = max(map(len, names))
        rows = [f'{name:<{width}}  ' + '  '.join(f'{100 * value:>9.1f}' if value == value else f'{"absent":>9}'
                                                 for value in values)
                for name, *values in zip(names, scores.precision, scores.accuracy, scores.iu, strict=True)]
        return '\n'.join([f'{"class":<{width}}  precision     recall         IU', *rows, str(scores)])


Counts = ConfusionMatrix | OverlapCounts


def variants(matrix: Counts, left_out: str | None) -> dict[str, Scores]:
    """The scores by other conventions, where they differ: the published one, and without the class `left_out`.

    Parameters
    ----------
    matrix : ConfusionMatrix or OverlapCounts
        The latter has no other conventions.
    left_out : str or None
        The class that some publications leave out of the scores.

    Returns
    -------
    dict of str to Scores
        By the convention, in words.
    """
    result: dict[str, Scores] = {}
    if isinstance(matrix, OverlapCounts):
        return result
    if (matrix.counts.sum(1) == 0).any():
        result['absent classes counted as the published code does'] = matrix.compute(published=True)
    if left_out and left_out in matrix.classes:
        result[f'without {left_out}'] = matrix.without(left_out).compute()
    return result


def to_json(matrix: Counts, left_out: str | None = None) -> dict[str, Any]:
    """All that is known of a task as JSON values: the fields of `Scores`, classes, confusion matrix and variants.

    Parameters
    ----------
    matrix : ConfusionMatrix or OverlapCounts
    left_out : str, optional
        As of `variants`.

    Returns
    -------
    dict
        None stands for the scores of absent classes. Overlapping classes have their precision and `counts` (of true
        and false positives, false and true negatives) in place of a confusion matrix.
    """
    if isinstance(matrix, OverlapCounts):
        return {**without_nan(asdict(matrix.compute())), 'classes': matrix.classes, 'counts': matrix.counts.tolist(),
                'variants': {}}
    return {**without_nan(asdict(matrix.compute())), 'classes': matrix.classes,
            'confusion_matrix': matrix.counts.tolist(),
            'variants': {name: without_nan(scores.summary()) for name, scores in variants(matrix, left_out).items()}}


def from_json(task: dict[str, Any]) -> Counts:
    """The counts that `to_json` has written."""
    if 'counts' in task:
        return OverlapCounts(task['classes'], task['counts'])
    return ConfusionMatrix(task['classes'], task['confusion_matrix'])


def without_nan(value: Any) -> Any:
    """The same numbers with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [without_nan(item) for item in value]
    return None if value != value else value
