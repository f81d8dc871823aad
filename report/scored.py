"""A file that `python -m solvers.score --json` wrote, shown as a run is: what a net or pictures came to."""
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cli import BadInput
from data_layers import DATASETS
from data_layers.reading import read_json
from solvers import predictions
from solvers.metrics import METRICS, ConfusionMatrix, to_json

Labels = npt.NDArray[np.uint8]


class Scored:
    """A file of scores; it has what the report asks of a run, and no curves.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    path : Path
        Its folder.
    net : str
        What was scored.
    about : dict
        Where it comes from.
    evaluation : dict
        As of `solvers.evaluation.evaluate_run`.

    Raises
    ------
    BadInput
        It is missing or not such a file.
    """
    losses: tuple[()] = ()
    scores: tuple[()] = ()
    pixel_losses: tuple[()] = ()
    held_out_losses: tuple[()] = ()
    warnings: tuple[()] = ()
    chance = best = None
    diverged = None

    def __init__(self, path: Path) -> None:
        self.path = path.resolve().parent
        known = read_json(path)
        try:
            self.known = {key: known[key] for key in ('predictions', 'truth', 'classes') if key in known}
            self.net = str(known.get('net') or known['predictions'])
            dataset, split = str(known.get('dataset', known.get('truth'))), str(known.get('split', 'all pictures'))
            kind = DATASETS.get(dataset)
            tasks = {str(label): to_json(matrix_of(task), kind.left_out if kind else None)
                     for label, task in known['tasks'].items()}
            images = {label: {str(id): {name: float(scores[name]) for name in METRICS}
                              for id, scores in known['per_image'][label].items()} for label in tasks}
            self.evaluation: dict[str, Any] = {
                'of': {'dataset': dataset, 'split': split, 'root': None, 'weights': None}, 'title': str(
                    known.get('title', f'Pictures of {dataset}')), 'tasks': tasks, 'images': images,
                'count': int(known['images']), 'learnt': None}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            raise BadInput(f'{path} is not a file of scores, which python -m solvers.score --json writes ({problem!r})'
                           ) from None
        self.about = {key: value for key, value in known.items() if isinstance(value, str | int) and key != 'title'}

    def picture(self, label: str, id: str) -> tuple[Labels, Labels, tuple[str, ...]]:
        """Truth and prediction of a picture, and names of the classes.

        Raises
        ------
        BadInput
            The files are not there any more, or scores of a net, which has written none.
        """
        if not self.known:
            raise BadInput('a file of scores of a net has no pictures; the report of a run has')
        classes = predictions.read_classes(Path(str(self.known['classes'])))
        pair = {pair.id: pair for pair in self._pairs()}.get(id)
        if pair is None:
            raise BadInput(f'{self.known["predictions"]} has no picture {id} any more')
        guess = predictions.read_classes_of(pair.prediction, classes, False)
        return predictions.read_classes_of(pair.truth, classes, True), guess, (*classes.names, predictions.NO_CLASS)

    @cached_property
    def colours(self) -> tuple[tuple[int, ...], ...]:
        """R, G and B of the classes, where the list of classes has them."""
        return predictions.read_classes(Path(str(self.known['classes']))).colours

    def _pairs(self) -> list[predictions.Pair]:
        guesses, truths = (predictions.found(Path(str(self.known[key]))) for key in ('predictions', 'truth'))
        return [predictions.Pair(id, guesses[id], truths[id]) for id in truths if id in guesses]


def matrix_of(task: Any) -> ConfusionMatrix:
    """The confusion matrix in what `to_json` gave; raises ValueError and the like for another thing."""
    classes, counts = task['classes'], np.array(task['confusion_matrix'])
    if not all(isinstance(name, str) for name in classes) or counts.shape != (len(classes),) * 2 or (
            counts.dtype.kind != 'i') or (counts < 0).any():
        raise ValueError('no confusion matrix')
    return ConfusionMatrix(classes, counts)
