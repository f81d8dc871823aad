"""Segmentations as pictures: the VOC colours over the photograph, and which class each colour is."""
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cli import BadInput
from data_layers.dataset import VOID, read_rgb
from data_layers.palette import PALETTE, colorize, save_indexed

OPACITY = 0.6
MARGIN, SWATCH = 6, 16  # pixels
IMAGES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}


def blend(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An RGB image under the colours of its labels; background and void stay bare."""
    shown = ((labels != 0) & (labels != VOID))[..., None]
    mixed = (1 - OPACITY) * image + OPACITY * colorize(labels)
    return np.where(shown, mixed, image).round().astype(np.uint8)


def legend(labels: np.ndarray, classes, width: int) -> Image.Image:
    """A strip `width` pixels wide that names the colour of each class found in `labels`."""
    font = ImageFont.load_default(13)
    found = [int(k) for k in np.unique(labels) if k < len(classes)]
    places, x, y = [], MARGIN, MARGIN
    for k in found:
        wide = SWATCH + MARGIN + int(font.getlength(classes[k])) + 2 * MARGIN
        if x > MARGIN and x + wide > width:
            x, y = MARGIN, y + SWATCH + MARGIN
        places.append((x, y))
        x += wide
    strip = Image.new('RGB', (width, y + SWATCH + MARGIN), 'white')
    draw = ImageDraw.Draw(strip)
    for k, (x, y) in zip(found, places, strict=True):
        draw.rectangle((x, y, x + SWATCH, y + SWATCH), fill=tuple(PALETTE[k].tolist()), outline='black')
        draw.text((x + SWATCH + MARGIN, y + SWATCH / 2), classes[k], 'black', font, anchor='lm')
    return strip


def overlay(image: np.ndarray, labels: np.ndarray, classes) -> Image.Image:
    """The photograph (H x W x 3 uint8 RGB) under its labels (H x W), above a legend."""
    strip = legend(labels, classes, image.shape[1])
    result = Image.new('RGB', (image.shape[1], image.shape[0] + strip.height))
    result.paste(Image.fromarray(blend(image, labels)))
    result.paste(strip, (0, image.shape[0]))
    return result


def image_files(paths) -> list[Path]:
    """The image files among `paths`, folders searched one level deep, sorted."""
    found = []
    for path in paths:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
        if not inside:
            raise BadInput(f'{path}: no image in this folder; known are {", ".join(sorted(IMAGES))}')
        found += inside
    for path in found:
        if not path.is_file():
            raise BadInput(f'{path}: no such image or folder')
    twice = {path.stem for path in found if [other.stem for other in found].count(path.stem) > 1}
    if twice:
        raise BadInput(f'images of one name would overwrite each other in --out: {", ".join(sorted(twice))}')
    return found


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities over the first axis."""
    e = np.exp(scores - scores.max(0))
    return e / e.sum(0)


def write_segmentation(stem: Path, photo: Path, scores: np.ndarray, classes, probabilities: bool = False) -> None:
    """Write what K x H x W scores say of a photograph, in files that begin with `stem`.

    `.png` has the classes, `_overlay.jpg` the photograph under their colours, `.npz` the probabilities if wanted.
    """
    labels = scores.argmax(0).astype(np.uint8)
    save_indexed(f'{stem}.png', labels)
    overlay(read_rgb(photo), labels, classes).save(f'{stem}_overlay.jpg', quality=92)
    if probabilities:
        np.savez_compressed(f'{stem}.npz', probabilities=softmax(scores).astype(np.float32))
