"""Score the weights of a run image by image and keep what comes out in the run's folder.

`evaluation/evaluation.json` has the scores and confusion matrix of every task and the scores of every image,
`evaluation/<label>/<id>.png` the predictions, as class indices. Both are used again for as long as weights and net stay
the same.
"""
import json
import os
from pathlib import Path

import numpy as np

import cli
from cli import BadInput
from data_layers import Dataset, data_home
from data_layers.palette import save_indexed
from solvers.instance import instantiate, load
from solvers.run import Run, sha256
from solvers.score import ConfusionMatrix, tasks, to_json
from solvers.source import facts, open_source

FORMAT = 1      # of evaluation.json: another one makes it anew


def evaluate(run: Run) -> dict:
    """The evaluation of a run, made now unless it was made before.

    Returns
    -------
    dict
        `of` (what was evaluated), `title` (of the data set), `tasks` (label blob -> as `solvers.score.to_json`),
        `images` (label blob -> id -> the four metrics of that image; images without a labelled pixel are left out),
        `count` (of images), `learnt` (how many of them are in the training split too; None when that is not here).

    Raises
    ------
    BadInput
        Weights, net or data set are missing or do not fit.
    """
    record = run.path / 'evaluation/evaluation.json'
    of = identity(run)
    try:
        known = json.loads(record.read_text())
        if known['of'] == of:
            return known
    except (OSError, ValueError, KeyError, TypeError):
        pass    # none yet, or damaged: make it
    record.unlink(missing_ok=True)
    text = json.dumps({'of': of, **forward(run, record.parent)}) + '\n'
    partial = record.with_suffix('.partial')
    partial.write_text(text)
    os.replace(partial, record)
    return json.loads(text)     # what the next call will return


def identity(run: Run) -> dict:
    """What an evaluation depends on."""
    if not run.weights.is_file():
        raise BadInput(f'{run.weights} is missing: the run has not come to its end')
    test = run.path / f'{run.phases[1]}.prototxt'
    read = facts(run.fcn(run.phases[1]))
    return {'format': FORMAT, 'weights': sha256(run.weights), 'net': sha256(test), 'dataset': read['dataset'],
            'split': read['split'], 'root': read.get('root') or str(data_home().resolve())}


def forward(run: Run, folder: Path) -> dict:
    """Send every image of the scored split through the net; predictions go into `folder`."""
    test = run.fcn(run.phases[1])
    dataset, pairs = open_source(test), tasks(test)
    if unknown := [label for label in pairs.values() if label not in dataset.classes]:
        raise BadInput(f'{run.path}: the net has the labels {", ".join(unknown)}, {dataset.name} does not')
    net = load(instantiate(test), run.weights)
    total = {label: ConfusionMatrix(dataset.classes[label]) for label in pairs.values()}
    images: dict[str, dict] = {label: {} for label in total}
    for label in total:
        (folder / label).mkdir(parents=True, exist_ok=True)
    for id in cli.progress(dataset.ids, desc=f'score {run.net}', unit='image'):
        net.forward()
        for score, label in pairs.items():
            prediction = net.blobs[score].data[0].argmax(0).astype(np.uint8)
            one = ConfusionMatrix(dataset.classes[label])
            one.update(net.blobs[label].data[0, 0], prediction)
            total[label].counts += one.counts
            if one.counts.any():
                images[label][id] = one.compute().summary()
            save_indexed(folder / label / f'{id}.png', prediction)
    return {'title': dataset.title,
            'tasks': {label: to_json(matrix, dataset.left_out) for label, matrix in total.items()},
            'images': images, 'count': len(dataset), 'learnt': learnt(run, dataset)}


def learnt(run: Run, scored: Dataset) -> int | None:
    """How many of the scored images the run also trains on."""
    try:
        return len({*open_source(run.fcn(run.phases[0])).ids} & {*scored.ids})
    except BadInput:
        return None
