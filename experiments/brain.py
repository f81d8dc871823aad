"""A data set that every Debian user can install: axial slices of one brain, from the package mricron-data.

The volume `ch2` is a T1-weighted magnetic resonance image of one person at 1 mm, `aal` names the region of each of its
voxels (Tzourio-Mazoyer et al., NeuroImage 2002). The 116 regions are taken together by lobe, as their published numbers
do. The slices become an ordinary folder of pictures and masks, `$FCN_DATA/brain`, which everything here can read.
"""
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from cli import BadInput
from data_layers import data_home
from data_layers.own.folder import CARD, Card

NAME = 'brain'
TEMPLATES = Path('/usr/share/mricron/templates')
LOBES = {2: 'frontal', 3: 'insula', 4: 'limbic', 5: 'occipital', 6: 'parietal', 7: 'central grey', 8: 'temporal',
         9: 'cerebellum'}               # thousands of a region's number
CLASSES = ('background', *LOBES.values(), 'vermis')
SLICES = range(12, 152)                 # those that show a labelled region, but for some at the ends
TRAIN, GAP, VAL = 14, 4, 4              # slices in a block


def lobe(name: str, number: int) -> int:
    """The class of a region, from its line in the label file.

    >>> CLASSES[lobe('Insula_L', 3001)], CLASSES[lobe('Cerebelum_3_R', 9022)], CLASSES[lobe('Vermis_3', 9110)]
    ('insula', 'cerebellum', 'vermis')
    """
    return CLASSES.index('vermis' if name.startswith('Vermis') else LOBES[number // 1000])


def read_regions(path: Path) -> np.ndarray:
    """Value of a voxel -> class, from lines like `29 Insula_L 3001`; 0, which has no line, is background."""
    regions = {0: 0}
    try:
        for line in path.read_text().split('\n'):
            if line.strip():
                value, name, number = line.split()
                regions[int(value)] = lobe(name, int(number))
        return np.array([regions[value] for value in range(len(regions))], np.uint8)
    except (OSError, ValueError, KeyError) as problem:
        raise BadInput(f'{path} cannot be read as a list of regions ({problem}); install mricron-data again') from None


def read_volume(path: Path) -> np.ndarray:
    """A volume of integers with its axes turned to right, anterior, superior, whatever their order in the file."""
    import nibabel
    try:
        return np.asanyarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as problem:
        raise BadInput(f'{path} cannot be read ({problem}); install mricron-data again') from None


def axial(volume: np.ndarray, height: int) -> np.ndarray:
    """One slice as a picture: the nose on top, the left of the person on the left.

    >>> axial(np.arange(4).reshape(2, 2, 1), 0)     # left back 0, left front 1, right back 2, right front 3
    array([[1, 3],
           [0, 2]])
    """
    return volume[:, ::-1, height].T


def split(heights: range) -> dict[str, list[int]]:
    """Heights to learn from and to score, in blocks with gaps between, since neighbours are nearly the same picture."""
    period = TRAIN + GAP + VAL + GAP
    place = {height: (height - heights.start) % period for height in heights}
    return {'train': [height for height in heights if place[height] < TRAIN],
            'val': [height for height in heights if TRAIN + GAP <= place[height] < TRAIN + GAP + VAL]}


def brain(templates: Path = TEMPLATES) -> Path:
    """The folder of the data set, written unless it is there.

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
    partial = root.with_name(f'{NAME}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ('images', 'masks'):
        (partial / folder).mkdir(parents=True)
    heights = split(SLICES)
    for name, chosen in heights.items():
        for height in chosen:
            Image.fromarray(axial(head, height)).save(partial / f'images/{height:03}.png')
            Image.fromarray(regions[axial(values, height)]).save(partial / f'masks/{height:03}.png')
        lines = [f'{height:03}\timages/{height:03}.png\tmasks/{height:03}.png\n' for height in chosen]
        (partial / f'{name}.tsv').write_text(''.join(lines))
    mean = float(head[:, :, heights['train']].mean())
    stored: dict[str, str | None] = {str(number): name for number, name in enumerate(CLASSES)}
    Card(Path('.'), 'index', CLASSES, stored, (mean, mean, mean)).write(partial / CARD)
    partial.rename(root)
    return root
