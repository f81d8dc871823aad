"""Scores of the held-out photographs from the predictions that a run has kept: by class, and with or without borders.

VOC's masks have a void border around each object, five pixels wide, that is not scored; SBD's have none. So that scores
on either can stand beside each other there are two: with a void border everywhere, drawn where a mask lacks it, and
with none, the void pixels scored as the nearest class.
"""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

import cli
from data_layers import VOID, Dataset
from data_layers.reading import read_indices
from report.photographs import BORDERS
from solvers.metrics import ConfusionMatrix, without_nan
from solvers.monitor import read

LEAST = 50              # held-out photographs that a class needs for its IU to mean something
BORDER = 5              # pixels: the width of VOC's void borders


def common(counts: dict[str, int], least: int = LEAST) -> list[str]:
    """The classes that at least so many photographs have.

    >>> common({'background': 60, 'boat': 1, 'cat': 50})
    ['background', 'cat']
    """
    return [name for name, count in counts.items() if count >= least]


def bordered(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The labels with a void border, as wide as VOC's, where two classes meet; as they are where they have void."""
    if (labels == VOID).any():
        return labels
    meets = np.zeros(labels.shape, bool)        # with another class above or on the left
    meets[1:] |= labels[1:] != labels[:-1]
    meets[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    wide = ndimage.binary_dilation(meets, np.ones((BORDER, BORDER), bool))
    return np.where(wide, np.uint8(VOID), labels)


def filled(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The labels with the class of the nearest pixel that has one in place of void; as they are where all are void."""
    void = labels == VOID
    if not void.any() or void.all():
        return labels
    rows, columns = ndimage.distance_transform_edt(void, return_distances=False, return_indices=True)
    nearest: npt.NDArray[np.uint8] = labels[rows, columns]
    return nearest


def count(dataset: Dataset, predictions: Path) -> dict[str, ConfusionMatrix]:
    """Count the pixels of held-out photographs, by `BORDERS`.

    Parameters
    ----------
    dataset : Dataset
    predictions : Path
        Folder of ID.png, class indices.
    """
    matrices = {name: ConfusionMatrix(dataset.classes['label']) for name in BORDERS}
    for id in cli.progress(dataset.ids, desc='scores', unit='image', leave=False):
        truth, predicted = dataset.read('label', id)[0], read_indices(predictions / f'{id}.png')
        for name, change in zip(BORDERS, (bordered, filled), strict=True):
            matrices[name].update(change(truth), predicted)
    return matrices


def summary(matrix: ConfusionMatrix, classes: Sequence[str]) -> dict[str, Any]:
    """The four metrics, the IU of each class (None where it is absent), and the mean over the common classes."""
    found = matrix.compute()
    iu = without_nan(dict(zip(matrix.classes, found.iu, strict=True)))
    return {**found.summary(), 'common_iu': mean_over(iu, classes), 'iu': iu}


def mean_over(iu: dict[str, float | None], classes: Sequence[str]) -> float:
    """The mean IU over classes, of which absent ones are left out."""
    return float(np.mean([value for name in classes if (value := iu[name]) is not None]))


def curve(run: Path, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, float]]:
    """The scorings of a run: iteration, loss a pixel (held out, and of training since the last), and mean IUs."""
    points, trained = [], []
    for line in read(run / 'metrics.jsonl'):
        if 'scores' not in line:
            trained.append(line['pixel_loss'])
            continue
        iu = dict(zip(names, line['iu']['label'], strict=True))
        points.append({'iteration': line['iteration'], 'pixel_loss': line['pixel_loss'],
                       'training_pixel_loss': float(np.mean(trained)) if trained else None,
                       'mean_iu': line['scores']['label']['mean_iu'], 'common_iu': mean_over(iu, classes)})
        trained = []
    return points
