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
from data_layers.folder import CARD, Folder
from data_layers.nyud import NYUD
from data_layers.pascalcontext import PASCALContext
from data_layers.sbd import SBD
from data_layers.siftflow import SIFTFlow
from data_layers.voc import VOC, VOC2012

__all__ = ['DATASETS', 'VOID', 'Dataset', 'data_home', 'dataset_type', 'draw', 'open_dataset', 'warn_overlap']

DATASETS: dict[str, type[Dataset]] = {dataset.name: dataset for dataset in
                                       (VOC, VOC2012, SBD, NYUD, SIFTFlow, PASCALContext, Folder)}


def dataset_type(name: str, root: str | Path | None = None) -> type[Dataset]:
    """The class of a data set: one of `DATASETS`, or your own, which `$FCN_DATA/NAME` or `root` describes.

    Raises
    ------
    BadInput
        No data set of that name.
    """
    if name in DATASETS and name != Folder.name:
        return DATASETS[name]
    described = Path(root) if root else data_home() / name
    if name == Folder.name or (Path(name).name == name and (described / CARD).is_file()):
        return Folder.at(described if root or name != Folder.name else None, name)
    raise BadInput(f'no data set is called {name!r}: choose from {", ".join(DATASETS)}, or describe your own with '
                   f'python -m nets new {name} --data DIR, which writes {described / CARD}')


def open_dataset(name: str, split: str, root: str | Path | None = None,
                 tops: Sequence[str] | None = None) -> Dataset:
    """Open one split of a data set, by name: see `Dataset` for the arguments.

    Raises
    ------
    BadInput
        No data set of that name, or what `Dataset` complains of.
    """
    return dataset_type(name, root)(split, root, tops)
