"""Segmentation data sets, read from their original formats and fed to Caffe.

    >>> from data_layers import open_dataset
    >>> val = open_dataset('voc', 'seg11valid')             # doctest: +SKIP
    >>> image, label = val.load(val.ids[0])                 # doctest: +SKIP

Nothing here imports Caffe but `data_layers.layers`, the layer that feeds a net.
"""
from collections.abc import Sequence
from pathlib import Path

from cli import BadInput
from data_layers.dataset import VOID, Dataset, data_home, draw, warn_overlap
from data_layers.nyud import NYUD
from data_layers.pascalcontext import PASCALContext
from data_layers.sbd import SBD
from data_layers.siftflow import SIFTFlow
from data_layers.voc import VOC, VOC2012

__all__ = ['DATASETS', 'VOID', 'Dataset', 'data_home', 'draw', 'open_dataset', 'warn_overlap']

DATASETS: dict[str, type[Dataset]] = {dataset.name: dataset for dataset in
                                       (VOC, VOC2012, SBD, NYUD, SIFTFlow, PASCALContext)}


def open_dataset(name: str, split: str, root: str | Path | None = None,
                 tops: Sequence[str] | None = None) -> Dataset:
    """Open one split of a data set, by name: see `Dataset` for the arguments.

    Raises
    ------
    BadInput
        No data set of that name, or what `Dataset` complains of.
    """
    if name not in DATASETS:
        raise BadInput(f'no data set is called {name!r}: choose from {", ".join(DATASETS)}')
    return DATASETS[name](split, root, tops)
