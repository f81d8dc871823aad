"""A data set that every Debian user can install: axial slices of one brain, from the package mricron-data.

The volume `ch2` is a T1-weighted magnetic resonance image of one person at 1 mm, `aal` names the region of each of its
voxels (Tzourio-Mazoyer et al., NeuroImage 2002). The 116 regions are taken together by lobe, as their published numbers
do. The slices become an ordinary folder of pictures and masks, `$FCN_DATA/brain`, which all commands here can read.
"""
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import files
from cli import BadInput
from data_layers import data_home
from data_layers.own.folder import CARD, Card

NAME = 'brain'
TEMPLATES = Path('/usr/share/mricron/templates')
LOBES = {2: 'frontal', 3: 'insula', 4: 'limbic', 5: 'occipital', 6: 'parietal', 7: 'central grey', 8: 'temporal',
         9: 'cerebellum'}               # thousands of a region's number
CLASSES = ('background', *LOBES.values(), 'vermis')
SLICES = range(12, 152)                 # axial slices with a labelled region, without some at the ends
TRAIN, GAP, VAL = 14, 4, 4              # slices in a block


def lobe(name: str, number: int) -> int:
    """The class of a region, from its line in the label file.

    Parameters
    ----------
    name : str
        Such as 'Insula_L'.
    number : int
        Such as 3001; its thousands name the lobe.

    Returns
    -------
    int
        Index into `CLASSES`.

    Examples
    --------
    >>> CLASSES[lobe('Insula_L', 3001)], CLASSES[lobe('Cerebelum_3_R', 9022)], CLASSES[lobe('Vermis_3', 9110)]
    ('insula', 'cerebellum', 'vermis')
    """
    return CLASSES.index('vermis' if name.startswith('Vermis') else LOBES[number // 1000])


def read_regions(path: Path) -> npt.NDArray[np.uint8]:
    """The class of each value of a voxel, from lines like `29 Insula_L 3001`.

    Parameters
    ----------
    path : Path
        The label file of the volume.

    Returns
    -------
    ndarray
        Classes, uint8; the value is the index, and 0, which has no line, is background.

    Raises
    ------
    BadInput
        The file is missing or reads otherwise.
    """
    regions = {0: 0}
    try:
        for line in path.read_text().split('\n'):
            if line.strip():
                value, name, number = line.split()
                regions[int(value)] = lobe(name, int(number))
        return np.array([regions[value] for value in range(len(regions))], np.uint8)
    except (OSError, ValueError, KeyError) as problem:
        raise BadInput(f'{path} cannot be read as a list of regions ({problem}); install mricron-data again') from None


def read_volume(path: Path) -> npt.NDArray[Any]:
    """A volume of integers with its axes turned to right, anterior, superior, whatever their order in the file.

    Parameters
    ----------
    path : Path
        A NIfTI file.

    Returns
    -------
    ndarray, X x Y x Z
        Of the file's type; the first axis goes to the right, the second to the front, the third up.

    Raises
    ------
    BadInput
        The file cannot be read.
    """
    import nibabel
    try:
        canonical: Any = nibabel.as_closest_canonical(nibabel.load(path))   # type: ignore[no-untyped-call]
        return np.asanyarray(canonical.dataobj)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as problem:
        raise BadInput(f'{path} cannot be read ({problem}); install mricron-data again') from None


def axial(volume: npt.NDArray[Any], z: int) -> npt.NDArray[Any]:
    """An axial slice as a picture: the nose on top, the left of the person on the left.

    Parameters
    ----------
    volume : ndarray, X x Y x Z
        As of `read_volume`.
    z : int
        Which slice.

    Returns
    -------
    ndarray, Y x X

    Examples
    --------
    >>> axial(np.arange(4).reshape(2, 2, 1), 0)     # left back 0, left front 1, right back 2, right front 3
    array([[1, 3],
           [0, 2]])
    """
    return volume[:, ::-1, z].T


def split(slices: range) -> dict[str, list[int]]:
    """Share out slices in blocks with gaps between, since neighbours are nearly the same picture.

    Parameters
    ----------
    slices : range
        Their numbers.

    Returns
    -------
    dict
        `train` and `val` -> numbers.
    """
    period = TRAIN + GAP + VAL + GAP
    place = {z: (z - slices.start) % period for z in slices}
    return {'train': [z for z in slices if place[z] < TRAIN],
            'val': [z for z in slices if TRAIN + GAP <= place[z] < TRAIN + GAP + VAL]}


def prepare(templates: Path = TEMPLATES) -> Path:
    """Write the data set, unless it is there.

    Parameters
    ----------
    templates : Path
        Where the package has its volumes.

    Returns
    -------
    Path
        The folder of the data set.

    Raises
    ------
    BadInput
        The package is not installed, or its files are others than expected.
    """
    root = data_home() / NAME
    if (root / CARD).is_file():
        return root
    if not templates.is_dir():
        raise BadInput(f'{templates} is missing; run: sudo apt-get install mricron-data')
    head, values = (read_volume(templates / f'{name}.nii.gz') for name in ('ch2', 'aal'))
    regions = read_regions(templates / 'aal.nii.txt')
    if head.shape != values.shape or head.dtype != np.uint8 or values.max() >= len(regions):
        raise BadInput(f'{templates}: ch2 and aal do not belong together; install mricron-data again')
    partial = root.with_name(NAME + files.PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ('images', 'masks'):
        (partial / folder).mkdir(parents=True)
    splits = split(SLICES)
    for name, chosen in splits.items():
        for z in chosen:
            Image.fromarray(axial(head, z)).save(partial / f'images/{z:03}.png')
            Image.fromarray(regions[axial(values, z)]).save(partial / f'masks/{z:03}.png')
        lines = [f'{z:03}\timages/{z:03}.png\tmasks/{z:03}.png\n' for z in chosen]
        (partial / f'{name}.tsv').write_text(''.join(lines))
    mean = float(head[:, :, splits['train']].mean())
    stored: dict[str, str | None] = {str(number): name for number, name in enumerate(CLASSES)}
    Card(Path('.'), 'index', CLASSES, stored, (mean, mean, mean)).write(partial / CARD)
    partial.rename(root)
    return root
