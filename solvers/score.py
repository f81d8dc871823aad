"""The four metrics of semantic segmentation (CVPR 2015, section 5) from a confusion matrix, in numpy alone.

    python -m solvers.score --net voc-fcn8s --weights FILE --split seg11valid [--json FILE]
"""
import importlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import cli

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
        """The four metrics by name."""
        return {name: getattr(self, name) for name in METRICS}


class ConfusionMatrix:
    """Counts of (true class, predicted class) over pixels, summed over images.

    Parameters
    ----------
    classes : sequence of str
        Names, in the order of their indices.

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

    def __init__(self, classes) -> None:
        self.classes = tuple(classes)
        self.counts = np.zeros((len(self.classes), len(self.classes)), np.int64)

    def update(self, truth, prediction) -> None:
        """Count one image.

        Parameters
        ----------
        truth, prediction : array_like of int, one shape
            Class indices. Pixels whose truth is no class (void, 255) are left out.
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        if truth.shape != prediction.shape:
            raise ValueError(f'truth of shape {truth.shape} beside a prediction of shape {prediction.shape}')
        k = len(self.classes)
        known = (truth >= 0) & (truth < k)
        pairs = truth[known].astype(np.int64) * k + prediction[known].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=k * k).reshape(k, k)

    def without(self, name: str) -> 'ConfusionMatrix':
        """The matrix of the pixels whose true class is another one; to predict `name` for them stays an error."""
        result = ConfusionMatrix(self.classes)
        result.counts = self.counts.copy()
        result.counts[self.classes.index(name)] = 0
        return result

    def compute(self, published: bool = False) -> Scores:
        """The metrics so far (all NaN without any pixel).

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
        width = max(map(len, self.classes))
        rows = [f'{name:<{width}}  {100 * a:8.1f}  {100 * iu:5.1f}' if a == a else f'{name:<{width}}  {"absent":>8}'
                for name, a, iu in zip(self.classes, scores.accuracy, scores.iu, strict=True)]
        return '\n'.join([f'{"class":<{width}}  accuracy     IU', *rows, four(scores)])


def four(scores: Scores) -> str:
    """The four metrics in percent, in one line."""
    return '   '.join(f'{name.replace("_", " ")} {100 * value:.1f}' for name, value in scores.summary().items())


def variants(matrix: ConfusionMatrix, left_out: str | None) -> dict[str, Scores]:
    """The scores by other conventions, where they differ: the published one, and without the class `left_out`."""
    result = {}
    if (matrix.counts.sum(1) == 0).any():
        result['absent classes counted as the published code does'] = matrix.compute(published=True)
    if left_out and left_out in matrix.classes:
        result[f'without {left_out}'] = matrix.without(left_out).compute()
    return result


def tasks(net_parameter) -> dict[str, str]:
    """The (score blob -> label blob) pairs of a net: what each of its softmax losses compares."""
    return {layer.bottom[0]: layer.bottom[1] for layer in net_parameter.layer if layer.type == 'SoftmaxWithLoss'}


def evaluate(net, pairs, classes, images) -> tuple[dict[str, ConfusionMatrix], float]:
    """Run a TEST phase net over its images and count.

    Parameters
    ----------
    net : caffe.Net
        Its data layer gives the images in order.
    pairs : dict of str to str
        Score blob -> label blob, as `tasks` gives.
    classes : dict of str to sequence of str
        Label blob -> class names.
    images : int
        Forward passes; one image each.

    Returns
    -------
    matrices : dict of str to ConfusionMatrix
        By label blob.
    loss : float
        Mean over the images of the sum of the net's losses.
    """
    matrices = {label: ConfusionMatrix(classes[label]) for label in pairs.values()}
    losses = [name for name, kind in zip(net._layer_names, (layer.type for layer in net.layers), strict=True)
              if kind == 'SoftmaxWithLoss']
    total = 0.0
    for _ in cli.progress(range(images), desc='score', unit='image', leave=False):
        net.forward()
        total += sum(float(net.blobs[name].data) for name in losses)
        for score, label in pairs.items():
            matrices[label].update(net.blobs[label].data[:, 0], net.blobs[score].data.argmax(1))
    return matrices, total / images


def to_json(matrix: ConfusionMatrix, left_out: str | None = None) -> dict:
    """All that is known of a task, as plain values; None stands for the scores of absent classes."""
    return {**_without_nan(asdict(matrix.compute())), 'classes': matrix.classes,
            'confusion_matrix': matrix.counts.tolist(),
            'variants': {name: _without_nan(scores.summary()) for name, scores in variants(matrix, left_out).items()}}


def _without_nan(value):
    """The same numbers with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_without_nan(item) for item in value]
    return None if value != value else value


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m solvers.score', description=__doc__)
    parser.add_argument('--net', required=True, help='a net of nets/, such as voc-fcn8s')
    parser.add_argument('--weights', required=True, type=Path, help='its .caffemodel')
    parser.add_argument('--split', help="which split of the net's test data set; its own when not given")
    parser.add_argument('--json', type=Path, help='also write scores and confusion matrix there')
    parser.add_argument('--data', type=Path, help='folder of the data sets (default: $FCN_DATA or data/)')
    # By name, since nets depends on solvers and not the other way round.
    device, nets, solve = map(importlib.import_module, ('accel.device', 'nets', 'solvers.solve'))
    cli.add_device_arguments(parser, 'gpu')
    args = parser.parse_args(argv)
    if args.data:
        os.environ['FCN_DATA'] = str(args.data.resolve())
    training = nets.load(args.net)
    print(f'computing on {device.choose(args.gpu, args.cpu)}')
    matrices, loss, images = solve.score_weights(training, args.weights, args.split)
    left_out = importlib.import_module('solvers.source').Source(training).dataset.left_out
    for label, matrix in matrices.items():
        print(f'{args.net}: {label}, {images} images, loss {loss:.1f}\n{matrix}')
        for what, scores in variants(matrix, left_out).items():
            print(f'{what}: ' + four(scores))
    if args.json:
        tasks = {label: to_json(matrix, left_out) for label, matrix in matrices.items()}
        args.json.write_text(json.dumps({'net': args.net, 'weights': str(args.weights), 'images': images, 'loss': loss,
                                         'tasks': tasks}, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(cli.run(main))
