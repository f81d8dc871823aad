"""Writes someone's own data: photographs and masks in folders, in the forms that people have them."""
import json
from pathlib import Path

import numpy as np
from PIL import Image

from data_layers.palette import PALETTE, save_indexed
from tests.helpers.datasets import save_jpeg, save_lines, save_png, scene

CLASSES = ('background', 'road', 'car')
SIZES = [(24, 32), (33, 20)]


def scenes(count=5, classes=3, seed=0, void=255):
    """Pairs of label (uint8) and photograph, by id; every class is in every label."""
    rng, made = np.random.default_rng(seed), {}
    for number in range(count):
        label, photo = scene(rng, SIZES[number % len(SIZES)], np.arange(classes), void)
        label[1, :classes] = np.arange(classes)
        made[f'photo{number}'] = label.astype(np.uint8), photo
    return made


def write(root, masks='index', count=5, **options):
    """images/ and masks/, with masks as 'index', 'palette' or 'rgb' PNG, and classes.txt."""
    root, made = Path(root), scenes(count, **options)
    (root / 'masks').mkdir(parents=True)
    for id, (label, photo) in made.items():
        save_jpeg(root / f'images/{id}.jpg', photo)
        path = root / f'masks/{id}.png'
        if masks == 'palette':
            save_indexed(path, label)
        else:
            save_png(path, PALETTE[label] if masks == 'rgb' else label)
    colours = [' '.join(map(str, PALETTE[number])) + ' ' if masks == 'rgb' else '' for number in (0, 1, 2, 255)]
    void = [f'{colours[3]}void'] if masks == 'rgb' else []
    save_lines(root / 'classes.txt', [f'{colour}{name}' for colour, name in zip(colours, CLASSES, strict=False)] + void)
    return made


def polygons(path, size, shapes):
    """A labelme file: `shapes` are (label, shape_type, points)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        'version': '5.5.0', 'flags': {}, 'imagePath': f'{path.stem}.jpg', 'imageData': None, 'imageWidth': size[1],
        'imageHeight': size[0], 'shapes': [{'label': label, 'points': points, 'group_id': None, 'shape_type': kind,
                                            'flags': {}} for label, kind, points in shapes]}))


def grey(path, values):
    save_png(path, np.asarray(values, np.uint8))


def photo(path, size=(8, 10), seed=0):
    """A photograph in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **(dict(lossless=True) if path.suffix == '.webp' else {}))
    return pixels
