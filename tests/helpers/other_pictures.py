"""Writes someone's own data whose pictures are not colours of 8 bits."""
import numpy as np
import tifffile
from PIL import Image

from tests.helpers import own
from tests.helpers.datasets import save_lines

SIZE = 20, 26


def save(path, array):
    """PNG and JPEG by Pillow, TIFF by tifffile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.tif':
        many = array.ndim == 3
        tifffile.imwrite(path, array, photometric='rgb' if many and array.shape[2] == 3 else 'minisblack',
                         **(dict(planarconfig='contig') if many else {}))
    else:
        Image.fromarray(array).save(path)


def folder(root, count=5, seed=0, **places):
    """Own data with masks of two classes, `places` folder -> (suffix, dtype, bands, least, most); their arrays."""
    rng, made = np.random.default_rng(seed), {name: [] for name in places}
    for number in range(count):
        mask = np.zeros(SIZE, np.uint8)
        mask[4:9, number:number + 9] = 1
        own.grey(root / f'masks/{number}.png', mask)
        for name, (suffix, dtype, channels, least, most) in places.items():
            shape = SIZE if channels == 1 else (*SIZE, channels)
            array = (rng.random(shape) * (most - least) + least).astype(dtype)
            save(root / f'{name}/{number}{suffix}', array)
            made[name].append(array.reshape(*SIZE, channels))
    save_lines(root / 'classes.txt', ['ground', 'road'])
    return made
