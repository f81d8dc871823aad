"""How well a coarse prediction can do at best: labels brought down by a factor and up again, against themselves.

    python -m report upper-bound voc --split seg11valid

The mean IU that Appendix A of the CVPR 2015 paper tabulates. Labels alone are read. Each block of f x f pixels takes
the class of the pixel at its centre. A void centre says nothing of the block, so it takes the class of the nearest
labelled pixel; the paper does not tell what it does there, nor which part of VOC 2011 val it used.
"""
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

import cli
import files
from data_layers import DATASETS, VOID, Dataset, dataset_type, open_dataset
from report.published import UPPER_BOUND
from solvers.metrics import ConfusionMatrix
from workers import spread

FACTORS = (128, 64, 32, 16, 8, 4)


Labels = npt.NDArray[Any]       # H x W, class indices


def coarsen(labels: Labels, factor: int) -> Labels:
    """Subsample labels at the centres of blocks, and bring them back to their size.

    Parameters
    ----------
    labels : ndarray, H x W
        Class indices.
    factor : int
        Side of a block, in pixels.

    Returns
    -------
    ndarray, H x W

    Examples
    --------
    >>> coarsen(np.array([[0, 1, 2, 3, 4]]), 2)
    array([[1, 1, 3, 3, 4]])
    """
    rows, columns = (np.minimum(np.arange(size) // factor * factor + factor // 2, size - 1) for size in labels.shape)
    result: Labels = labels[rows[:, np.newaxis], columns]
    return result


def fill_void(labels: Labels, void: int = VOID) -> Labels:
    """Give every void pixel the class of the nearest labelled one.

    Parameters
    ----------
    labels : ndarray, H x W
        Class indices.
    void : int
        The index that means void.

    Returns
    -------
    ndarray, H x W
        `labels` themselves where all or none is void.
    """
    unknown = labels == void
    if not unknown.any() or unknown.all():
        return labels
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    result: Labels = labels[tuple(nearest)]
    return result


def count(dataset: Dataset, id: str) -> list[npt.NDArray[np.int64]]:
    """Count the confusions of an image's labels with themselves made coarse.

    Parameters
    ----------
    dataset : Dataset
    id : str
        One of its images.

    Returns
    -------
    list of ndarray, factors x classes x classes
        Pixels, for each label top.
    """
    result = []
    for top, classes in dataset.classes.items():
        labels = dataset.read(top, id)[0]
        filled = fill_void(labels)
        matrices = [ConfusionMatrix(classes) for _ in FACTORS]
        for matrix, factor in zip(matrices, FACTORS, strict=True):
            matrix.update(labels, coarsen(filled, factor))
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
    total: list[npt.NDArray[np.int64]] = []
    counted = spread(count, dataset.ids, workers, lambda id: f'{dataset.name} {id}', (dataset,))
    for counts in cli.progress(counted, total=len(dataset), desc='upper bound', unit='image'):
        total = [a + b for a, b in zip(total, counts, strict=True)] if total else counts
    result: dict[str, dict[int, float]] = {}
    for (top, classes), stack in zip(dataset.classes.items(), total, strict=True):
        result[top] = {}
        for factor, matrix in zip(FACTORS, stack, strict=True):
            result[top][factor] = ConfusionMatrix(classes, matrix).compute().mean_iu
    return result


def table(bounds: Mapping[str, Mapping[int, float]], published: Mapping[int, float]) -> str:
    """Bounds in percent, beside the paper's, as text.

    Parameters
    ----------
    bounds : mapping
        Label top -> factor -> mean IU, as a fraction of 1.
    published : mapping
        Factor -> mean IU, in percent; may be empty.

    Returns
    -------
    str
        A line for each factor.
    """
    columns = [*bounds, *(['published'] if published else [])]
    rows = [[*(100 * bounds[top][factor] for top in bounds), *([published[factor]] if published else [])]
            for factor in FACTORS]
    return '\n'.join([f'{"factor":>6}' + ''.join(f'{name:>12}' for name in columns),
                      *(f'{factor:6}' + ''.join(f'{value:12.1f}' for value in row)
                        for factor, row in zip(FACTORS, rows, strict=True))])


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m report upper-bound', description=__doc__)
    parser.add_argument('dataset', metavar='DATASET', help=', '.join(DATASETS))
    parser.add_argument('--split', metavar='S', help='default: that which the papers score on')
    parser.add_argument('--root', metavar='DIR', help="the data set's folder (default: its place in $FCN_DATA)")
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the numbers there')
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise cli.BadInput(f'--workers must be at least 1, not {args.workers}')
    if args.json:
        cli.check_output(args.json, begins=b'{')
    split = args.split or dataset_type(args.dataset, args.root).scored
    dataset = open_dataset(args.dataset, split, args.root)
    bounds = upper_bound(dataset, args.workers)
    published = UPPER_BOUND.get(args.dataset, {})
    head = f'{dataset.title}, split {dataset.split}, {len(dataset)} images: mean IU of labels made coarse, in percent'
    cli.show(head, *table(bounds, published).split('\n'))
    if published:
        cli.show('published: on a part of VOC 2011 val that the paper does not name')
    if args.json:
        files.write_json(args.json, {
            'dataset': args.dataset, 'split': dataset.split, 'images': len(dataset),
            'mean_iu': {top: {str(factor): value for factor, value in row.items()} for top, row in bounds.items()},
            'published': {str(factor): value / 100 for factor, value in published.items()}})


if __name__ == '__main__':
    sys.exit(cli.run(main))
