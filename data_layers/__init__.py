"""Segmentation data sets, read from their original formats and fed to Caffe.

    >>> from data_layers import open_dataset
    >>> val = open_dataset('voc', 'seg11valid')             # doctest: +SKIP
    >>> image, label = val.load(val.ids[0])                 # doctest: +SKIP

Only `data_layers.layers` imports Caffe.

To read a data set:

- `dataset`: the base of all of them, its checks, and the training stream
- `reading`: one file, and its values as the nets take them
- `bands`: pictures that are not colours of 8 bits, through a window; `tiff`: TIFFs of any number of bands
- `voc`, `sbd`, `nyud`, `siftflow`, `pascalcontext`, `cityscapes`: the published data sets, as they are distributed
- `own`: your own data, described by a dataset.json

To feed a net:

- `layers`: the Caffe layers; `param_str`: their options in a prototxt
- `augment`: random variations of training samples
- `prefetch`: worker processes that read samples ahead; `bench`: how fast that is

To look after data on disk, `python -m data_layers`:

- `prepare`: from a download to the layout that is read; `check`: every image and label read, all problems listed
- `show`: a sheet of samples as the net gets them
- `hha`: from depth to images of disparity, height and angle

To write segmentations:

- `palette`: index PNGs and the VOC colours; `pictures`: overlays and legends; `submission`: files for VOC's server
"""
from collections.abc import Sequence
from pathlib import Path

from cli import BadInput
from data_layers.cityscapes import Cityscapes
from data_layers.dataset import SEED, Dataset, data_home, draw, is_training, warn_overlap
from data_layers.nyud import NYUD
from data_layers.own.folder import CARD, Folder
from data_layers.pascalcontext import PASCALContext
from data_layers.reading import VOID
from data_layers.sbd import SBD
from data_layers.siftflow import SIFTFlow
from data_layers.voc import VOC, VOC2012

__all__ = ['DATASETS', 'SEED', 'VOID', 'Dataset', 'data_home', 'dataset_type', 'draw', 'is_training',
           'open_dataset', 'warn_overlap']

DATASETS: dict[str, type[Dataset]] = {dataset.name: dataset for dataset in
                                       (VOC, VOC2012, SBD, NYUD, SIFTFlow, PASCALContext,
                                        Cityscapes, Folder)}


def dataset_type(name: str, root: str | Path | None = None) -> type[Dataset]:
    """The class of a data set: one of `DATASETS`, or your own, which `$FCN_DATA/NAME` or `root` describes.

    Parameters
    ----------
    name : str
        Its name; `folder` for your own data in `root`.
    root : path, optional
        Its folder, by default below `$FCN_DATA`.

    Returns
    -------
    type of Dataset
        Its classes and means are known before a split is opened.

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
    """Open one split of a data set.

    Parameters
    ----------
    name : str
        As for `dataset_type`.
    split, root, tops
        As for `Dataset`.

    Returns
    -------
    Dataset
        The split.

    Raises
    ------
    BadInput
        As of `dataset_type` and `Dataset`.
    """
    return dataset_type(name, root)(split, root, tops)
