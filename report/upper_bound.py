"""How well a coarse prediction can do at best: labels brought down by a factor and up again, against themselves.

    python -m report upper-bound voc --split seg11valid

The mean IU that Appendix A of the CVPR 2015 paper tabulates. Labels alone are read. Each block of f x f pixels takes
the class of the pixel at its centre. A void centre says nothing of the block, so it takes the class of the nearest
labelled pixel; the paper does not tell what it does there, nor which part of VOC 2011 val it used.
"""
import json
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

import cli
from data_layers import DATASETS, VOID, Dataset, dataset_type, open_dataset
from report.published import UPPER_BOUND
from solvers.metrics import ConfusionMatrix
from workers import spread

FACTORS = (128, 64, 32, 16, 8, 4)


def coarse(labels: np.ndarray, factor: int) -> np.ndarray:
    """Labels (H x W) subsampled at the centres of blocks of `factor` pixels, and brought back to their size.

    >>> coarse(np.array([[0, 1, 2, 3, 4]]), 2)
    array([[1, 1, 3, 3, 4]])
    """
    rows, columns = (np.minimum(np.arange(size) // factor * factor + factor // 2, size - 1) for size in labels.shape)
    return labels[rows[:, np.newaxis], columns]


def fill(labels: np.ndarray, void: int = VOID) -> np.ndarray:
    """Labels (H x W) with every void pixel given the class of the nearest labelled one; all void stays so."""
    unknown = labels == void
    if not unknown.any() or unknown.all():
        return labels
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]


def count(dataset: Dataset, id: str) -> list[np.ndarray]:
    """Confusion matrices of one image against itself made coarse: factors x classes x classes for each label top."""
    result = []
    for top, classes in dataset.classes.items():
        labels = dataset.read(top, id)[0]
        filled = fill(labels)
        matrices = [ConfusionMatrix(classes) for _ in FACTORS]
        for matrix, factor in zip(matrices, FACTORS, strict=True):
            matrix.update(labels, coarse(filled, factor))
        result.append(np.stack([matrix.counts for matrix in matrices]))
    return result


def upper_bound(dataset: Dataset, workers: int | None = None) -> dict[str, dict[int, float]]:
    """Mean IU of the labels of a split made coarse.

    Parameters
    ----------
    dataset : Dataset
        One split; every label top it has is gone through.
    workers : int, optional
        Processes; by default one a core.

    Returns
    -------
    dict
        Label top -> factor -> mean IU, as a fraction of 1.
    """
    total: list[np.ndarray] = []
    counted = spread(count, dataset.ids, workers, lambda id: f'{dataset.name} {id}', (dataset,))
    for counts in cli.progress(counted, total=len(dataset), desc='upper bound', unit='image'):
        total = [a + b for a, b in zip(total, counts, strict=True)] if total else counts
    result: dict[str, dict[int, float]] = {}
    for (top, classes), stack in zip(dataset.classes.items(), total, strict=True):
        result[top] = {}
        for factor, matrix in zip(FACTORS, stack, strict=True):
            confusion = ConfusionMatrix(classes)
            confusion.counts = matrix
            result[top][factor] = confusion.compute().mean_iu
    return result


def table(bounds: dict[str, dict[int, float]], published: dict[int, float]) -> str:
    """A line for each factor, in percent, beside what the paper has."""
    columns = [*bounds, *(['published'] if published else [])]
    rows = [[*(100 * bounds[top][factor] for top in bounds), *([published[factor]] if published else [])]
            for factor in FACTORS]
    return '\n'.join([f'{"factor":>6}' + ''.join(f'{name:>12}' for name in columns),
                      *(f'{factor:6}' + ''.join(f'{value:12.1f}' for value in row)
                        for factor, row in zip(FACTORS, rows, strict=True))])


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m report upper-bound', description=__doc__)
    parser.add_argument('dataset', metavar='DATASET', help=', '.join(DATASETS))
    parser.add_argument('--split', metavar='S', help='default: that which the papers score on')
    parser.add_argument('--root', metavar='DIR', help="the data set's folder (default: its place in $FCN_DATA)")
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the numbers there')
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise cli.BadInput(f'--workers must be at least 1, not {args.workers}')
    split = args.split or dataset_type(args.dataset, args.root).scored
    dataset = open_dataset(args.dataset, split, args.root)
    bounds = upper_bound(dataset, args.workers)
    published = UPPER_BOUND.get(args.dataset, {})
    print(f'{dataset.title}, split {dataset.split}, {len(dataset)} images: mean IU of labels made coarse, in percent')
    print(table(bounds, published))
    if published:
        print('published: on a part of VOC 2011 val that the paper does not name')
    if args.json:
        args.json.write_text(json.dumps({
            'dataset': args.dataset, 'split': dataset.split, 'images': len(dataset),
            'mean_iu': {top: {str(factor): value for factor, value in row.items()} for top, row in bounds.items()},
            'published': {str(factor): value / 100 for factor, value in published.items()}}, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(cli.run(main))
