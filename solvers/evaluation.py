"""Score a net over a split, image by image, and keep in a run's folder what came out.

`evaluation/evaluation.json` has the scores and the confusion matrix of every task and the scores of every image,
`evaluation/<label>/<id>.png` the predictions as class indices. The last scoring of a training writes them, and so does
`evaluate_run` where they are missing or belong to other weights, another net or another data set.
"""
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cli
import files
from cli import BadInput
from data_layers import Dataset, data_home
from data_layers.palette import Colours, save_indexed
from solvers import preflight
from solvers.capacity import scoring_bytes
from solvers.foreign import instantiate_foreign
from solvers.instance import instantiate, load
from solvers.metrics import ConfusionMatrix, Counts, OverlapCounts, to_json
from solvers.run import Run, evaluation_of, weights_of
from solvers.source import facts, open_source, read_from, tasks
from solvers.training import Training

RECORD = 'evaluation.json'
FORMAT = 1      # of the record: one of another format is made anew


@dataclass
class Evaluation:
    """What the images of a split came to.

    Attributes
    ----------
    matrices : dict of str to ConfusionMatrix or OverlapCounts
        By label blob.
    loss : float
        The net's losses by their weights, summed over the images.
    images : dict of str to dict
        Label blob -> id -> the four metrics of that image; images without a labelled pixel are left out.
    """
    matrices: dict[str, Counts]
    loss: float = 0.0
    images: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def __iadd__(self, other: 'Evaluation') -> 'Evaluation':
        """Add what another rank found on its part of the images."""
        self.loss += other.loss
        for label, matrix in other.matrices.items():
            self.matrices[label].counts += matrix.counts
            self.images[label] |= other.images[label]
        return self


def evaluate(net: Any, pairs: Mapping[str, str], classes: Mapping[str, Sequence[str]], ids: Sequence[str],
             keep_in: Path | None = None, what: str = 'score', colours: Mapping[str, Colours] | None = None
             ) -> Evaluation:
    """Run a TEST phase net over its images and count.

    Parameters
    ----------
    net : caffe.Net
        Its data layer gives the images in order, one a forward pass.
    pairs : mapping of str to str
        Score blob -> label blob, as `solvers.source.tasks` gives.
    classes : mapping of str to sequence of str
        Label blob -> class names.
    ids : sequence of str
        The images, in the order of the data layer.
    keep_in : Path, optional
        Folder for the predictions, `<label>/<id>.png`.
    what : str
        Title of the progress bar.
    colours : mapping of str to Colours, optional
        Label blob -> those of its classes in the predictions' palette.

    Returns
    -------
    Evaluation
    """
    result = Evaluation({label: counts_for(net, score, label, classes[label]) for score, label in pairs.items()},
                        images={label: {} for label in pairs.values()})
    weights = {name: weight for name, weight in net.blob_loss_weights.items() if weight}
    if keep_in:
        for place in (keep_in, *(keep_in / label for label, matrix in result.matrices.items()
                                 if isinstance(matrix, ConfusionMatrix))):
            place.mkdir(parents=True, exist_ok=True)
    for id in cli.progress(ids, desc=what, unit='image', leave=False):
        net.forward()
        result.loss += sum(weight * float(net.blobs[name].data) for name, weight in weights.items())
        for score, label in pairs.items():
            one = counts_for(net, score, label, classes[label])
            prediction = one.decide(net.blobs[score].data[0])
            one.update(net.blobs[label].data[0].reshape(prediction.shape), prediction)
            result.matrices[label].counts += one.counts
            if one.counts.any():
                result.images[label][id] = one.compute().summary()
            if keep_in and isinstance(one, ConfusionMatrix):
                save_indexed(keep_in / label / f'{id}.png', prediction, (colours or {}).get(label, ()))
    return result


def counts_for(net: Any, score: str, label: str, classes: Sequence[str]) -> Counts:
    """What counts the pixels of a task: overlapping classes have as many planes of labels as of scores."""
    overlapping = net.blobs[label].data.shape == net.blobs[score].data.shape
    return OverlapCounts(classes) if overlapping else ConfusionMatrix(classes)


def score_weights(training: Training | Run, path: Path, split: str | None = None) -> tuple[Evaluation, Dataset]:
    """Score the weights in a caffemodel.

    Parameters
    ----------
    training : Training or Run
        The net.
    path : Path
        The caffemodel.
    split : str, optional
        Of the net's test data set; the one it is scored on by default.

    Returns
    -------
    Evaluation
    Dataset
        The split that was scored.

    Raises
    ------
    BadInput
        Weights or data are missing or do not fit the net.
    """
    test = training.fcn(training.phases[1])
    if split:
        test = read_from(test, split=split)
    dataset = open_source(test)
    check_labels(tasks(test), dataset, training.net)
    preflight.sizes(test, dataset, scoring_bytes)
    foreign = f'{training.path / training.phases[1]}.prototxt' if isinstance(training, Run) else ''
    net = net_to_score(test, foreign, path)
    preflight.classes(net, tasks(test), dataset)
    return evaluate(net, tasks(test), dataset.classes, dataset.ids), dataset


def evaluate_run(run: Run) -> dict[str, Any]:
    """The record of a run's evaluation, made now unless it is there.

    Parameters
    ----------
    run : Run
        At its end.

    Returns
    -------
    dict
        `of` (what was evaluated), `title` (of the data set), `tasks` (label blob -> as `solvers.metrics.to_json`),
        `images` (label blob -> id -> the four metrics of that image; images without a labelled pixel are left out),
        `count` (of images), `learnt` (how many of them are in the training split too; None when that is not here).

    Raises
    ------
    BadInput
        Weights, net or data set are missing or do not fit.
    """
    known = read_record(run)
    if known is not None:
        return known
    (evaluation_of(run.path) / RECORD).unlink(missing_ok=True)
    test = run.fcn(run.phases[1])
    dataset, pairs = open_source(test), tasks(test)
    check_labels(pairs, dataset, run.path)
    preflight.sizes(test, dataset, scoring_bytes)
    net = net_to_score(test, f'{run.path / run.phases[1]}.prototxt', weights_of(run.path))
    preflight.classes(net, pairs, dataset)
    found = evaluate(net, pairs, dataset.classes, dataset.ids, evaluation_of(run.path), f'score {run.net}',
                     dataset.colours)
    return write_record(run, found, dataset)


def net_to_score(net_parameter: Any, foreign: str, weights: Path) -> Any:
    """A caffe.Net with its weights, of which `evaluate` reads scores and labels; the arguments as of `Deploy`."""
    read = [name for pair in tasks(net_parameter).items() for name in pair]
    return load(instantiate_foreign(net_parameter, foreign, read) if foreign else
                instantiate(net_parameter, read=read), weights)


def check_labels(pairs: Mapping[str, str], dataset: Dataset, what: object) -> None:
    """Refuse a net whose labels a data set does not have; raises BadInput, which begins with `what`."""
    if unknown := [label for label in pairs.values() if label not in dataset.classes]:
        raise BadInput(f'{what}: the net has the labels {", ".join(unknown)}, {dataset.name} does not')


def read_record(run: Run) -> dict[str, Any] | None:
    """The record in a run's folder, or None where it is missing, damaged, or of something else than is there now.

    Raises
    ------
    BadInput
        The run has no weights yet, or no net.
    """
    of = identity(run)
    try:
        known: dict[str, Any] = json.loads(files.read_text(evaluation_of(run.path) / RECORD))
        return known if known['of'] == of else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def has_predictions(run: Path, found: Evaluation, dataset: Dataset) -> bool:
    """Whether the predictions of all images are in the run's folder; ranks on other machines may not share it."""
    return all((evaluation_of(run) / label / f'{id}.png').is_file() for label, matrix in found.matrices.items()
               if isinstance(matrix, ConfusionMatrix) for id in dataset.ids)


def write_record(run: Run, found: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """Write the record of an evaluation whose predictions are in the run's folder.

    Parameters
    ----------
    run : Run
        At its end.
    found : Evaluation
        Of all images of the split.
    dataset : Dataset
        The split.

    Returns
    -------
    dict
        What `read_record` gives from now on.
    """
    images = {label: {id: scores[id] for id in dataset.ids if id in scores} for label, scores in found.images.items()}
    record = {'of': identity(run), 'title': dataset.title,
              'tasks': {label: to_json(matrix, dataset.left_out) for label, matrix in found.matrices.items()},
              'images': images, 'count': len(dataset), 'learnt': learnt(run, dataset)}
    text = json.dumps(record)
    files.write(evaluation_of(run.path) / RECORD, text + '\n')
    result: dict[str, Any] = json.loads(text)
    return result


def identity(run: Run) -> dict[str, Any]:
    """What an evaluation depends on: format, weights, net, data set and split, and the folder of the data."""
    weights = weights_of(run.path)
    if not weights.is_file():
        raise BadInput(f'{weights} is missing: the run has not come to its end')
    test = run.path / f'{run.phases[1]}.prototxt'
    read = facts(run.fcn(run.phases[1]))
    return {'format': FORMAT, 'weights': files.sha256(weights), 'net': files.sha256(test),
            'dataset': read['dataset'], 'split': read['split'],
            'root': read.get('root') or str(data_home().resolve())}


def learnt(run: Run, scored: Dataset) -> int | None:
    """How many of the scored images the run also trains on; None when the training split is not here."""
    try:
        return len({*open_source(run.fcn(run.phases[0])).ids} & {*scored.ids})
    except BadInput:
        return None
