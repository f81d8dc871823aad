"""A user's photographs, and their segmentations as pictures: the VOC colours over the photograph, above a legend."""
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import files
from cli import BadInput
from data_layers.palette import PALETTE, colorize, save, save_indexed
from data_layers.reading import IMAGES, VOID

OPACITY = 0.6
MARGIN, SWATCH = 6, 16  # pixels
ROWS = 256      # that are blended together: in double, a whole photograph would take several times its own memory


def blend(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Lay the colours of its labels over a photograph; background and void stay bare.

    Parameters
    ----------
    image : array
        H x W x 3, uint8, RGB.
    labels : array
        H x W, uint8 class indices.

    Returns
    -------
    array
        H x W x 3, uint8, RGB.
    """
    result = np.empty_like(image)
    for first in range(0, len(image), ROWS):
        rows = slice(first, first + ROWS)
        shown = ((labels[rows] != 0) & (labels[rows] != VOID))[..., None]
        mixed = (1 - OPACITY) * image[rows] + OPACITY * colorize(labels[rows])
        result[rows] = np.where(shown, mixed, image[rows]).round()
    return result


def legend(labels: np.ndarray, classes: Sequence[str], width: int) -> Image.Image:
    """A strip that names the colour of each class found in `labels`.

    Parameters
    ----------
    labels : array
        Class indices, of any shape.
    classes : sequence of str
        Their names.
    width : int
        Of the strip, in pixels; it is as high as the names need.

    Returns
    -------
    Image
        RGB, on white.
    """
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


def overlay(image: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Image.Image:
    """A photograph under the colours of its labels, above a legend.

    Parameters
    ----------
    image : array
        H x W x 3, uint8, RGB.
    labels : array
        H x W, uint8 class indices.
    classes : sequence of str
        Their names.

    Returns
    -------
    Image
        RGB, as wide as the photograph.
    """
    strip = legend(labels, classes, image.shape[1])
    result = Image.new('RGB', (image.shape[1], image.shape[0] + strip.height))
    result.paste(Image.fromarray(blend(image, labels)))
    result.paste(strip, (0, image.shape[0]))
    return result


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The image files that a user names.

    Parameters
    ----------
    paths : iterable of path
        Files, and folders, which are searched one level deep.

    Returns
    -------
    list of path
        In the order of `paths`, those of a folder sorted.

    Raises
    ------
    BadInput
        A file is missing, a folder has no image, or two images have one name.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
        if not inside:
            raise BadInput(f'{path}: no image in this folder; known are {", ".join(sorted(IMAGES))}')
        found += inside
    for path in found:
        if not path.is_file():
            raise BadInput(f'{path}: no such image or folder')
    twice = [stem for stem, count in Counter(path.stem for path in found).items() if count > 1]
    if twice:
        raise BadInput(f'images of one name would overwrite each other in --out: {", ".join(sorted(twice))}')
    return found


def softmax(scores: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities, which sum to 1 over the first axis; the shape stays."""
    exponentials = np.exp(scores - scores.max(0))
    probabilities: np.ndarray = exponentials / exponentials.sum(0)
    return probabilities


def write_segmentation(stem: Path, photo: np.ndarray, labels: np.ndarray, classes: Sequence[str],
                       probabilities: np.ndarray | None = None) -> None:
    """Write the segmentation of a photograph.

    Parameters
    ----------
    stem : path
        What the names of the files begin with: `.png` has the classes, `_overlay.jpg` the photograph under their
        colours, `.npz` the probabilities.
    photo : array
        The photograph, H x W x 3, uint8, RGB.
    labels : array
        H x W, uint8: the class of every pixel.
    classes : sequence of str
        Names of the K classes.
    probabilities : array, optional
        K x H x W, float32, for the `.npz`.
    """
    save_indexed(f'{stem}.png', labels)
    save(f'{stem}_overlay.jpg', overlay(photo, labels, classes), 'JPEG', quality=92)
    if probabilities is not None:
        content = io.BytesIO()      # numpy hides why a file cannot be written
        np.savez_compressed(content, probabilities=probabilities)
        files.write(f'{stem}.npz', [content.getvalue()])
