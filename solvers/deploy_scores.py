"""Score a deploy net on a data set image by image, as `python -m nets.infer` segments them."""
from typing import Any

import cli
from cli import BadInput
from data_layers import Dataset
from solvers.deploy import Deploy, Room
from solvers.evaluation import Evaluation
from solvers.metrics import ConfusionMatrix
from solvers.segmenting import Way, segment_image


def label_tops(deploy: Deploy, dataset: Dataset) -> dict[str, str]:
    """What each score of a net is compared with.

    Parameters
    ----------
    deploy : Deploy
    dataset : Dataset

    Returns
    -------
    dict of str to str
        Score blob -> label top of the data set.

    Raises
    ------
    BadInput
        The data set has no labels of so many classes, or the same ones in another order.
    """
    result = {}
    for score, task in deploy.source.tasks.items():
        names = deploy.source.classes(score)
        fit = [top for top, known in dataset.classes.items() if len(known) == len(names)]
        if not fit or task in dataset.classes and task not in fit:
            there = ' and '.join(f'{len(known)} in {top}' for top, known in dataset.classes.items())
            raise BadInput(f'{deploy.name}: {score} scores {len(names)} classes, {dataset.name} has {there}')
        top = task if task in fit else fit[0]
        if {*names} == {*dataset.classes[top]} and [*names] != [*dataset.classes[top]]:
            raise BadInput(f'{deploy.name}: its classes are those of {dataset.name} in another order, {names[0]} first '
                           f'and not {dataset.classes[top][0]}')
        result[score] = top
    return result


def score_images(deploy: Deploy, net: Any, dataset: Dataset, way: Way) -> Evaluation:
    """Segment the images of a split and count.

    Parameters
    ----------
    deploy : Deploy
    net : caffe.Net
        From `Deploy.load`.
    dataset : Dataset
        The split.
    way : Way
        How images go through the net.

    Returns
    -------
    Evaluation
        By label top; without a loss, which a deploy net does not have.

    Raises
    ------
    BadInput
        An image or label is missing or damaged, or an image is of another size than its label or too large.
    """
    tops = label_tops(deploy, dataset)
    result = Evaluation({top: ConfusionMatrix(dataset.classes[top]) for top in tops.values()}, float('nan'),
                        {top: {} for top in tops.values()})
    room = Room(deploy, way)
    for id in cli.progress(dataset.ids, desc=f'score {deploy.name}', unit='image', leave=False):
        images = deploy.source.load(dataset, id)
        labels = {top: dataset.read(top, id) for top in tops.values()}
        photograph = next(iter(dataset.means))
        dataset.check_sizes(id, {photograph: next(iter(images.values())).shape,
                                 **{top: label.shape for top, label in labels.items()}})
        room.check(images, f'{dataset.name} {id}')
        for score, one in segment_image(net, images, way).items():
            matrix = ConfusionMatrix(dataset.classes[tops[score]])
            matrix.update(labels[tops[score]][0], one.labels)
            result.matrices[tops[score]].counts += matrix.counts
            if matrix.counts.any():
                result.images[tops[score]][id] = matrix.compute().summary()
    return result
