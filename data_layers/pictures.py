"""A user's photographs, and their segmentations as pictures: the colours of classes over them, above a legend."""
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import files
from cli import BadInput
from data_layers.own.classlist import VOID_NAMES
from data_layers.palette import Colours, colorize, palette_of, save, save_indexed, save_values
from data_layers.reading import IMAGES, VOID

OPACITY = 0.6
MARGIN, SWATCH = 6, 16  # pixels
UNNAMED = 'class {}'     # what a class is called of which no name is known
BARE = {'background', '_background_', 'bg', *VOID_NAMES}    # names of classes that an overlay does not colour
ROWS = 256      # that are blended together: in double, a whole photograph would take several times its own memory


def is_bare(index: int, classes: Sequence[str]) -> bool:
    """Whether an overlay leaves a class as it is: one called background or void, a class 0 without a name, and void.

    Examples
    --------
    >>> [is_bare(0, classes) for classes in (['sky', 'sea'], ['Background', 'sea'], [], ['class 0', 'class 1'])]
    [False, True, True, True]
    """
    if index >= len(classes):
        return index in (0, VOID)
    return classes[index].lower() in BARE or (index == 0 and classes[0] == UNNAMED.format(0))


def blend(image: np.ndarray, labels: np.ndarray, classes: Sequence[str] = (), colours: Colours = ()) -> np.ndarray:
    """Lay the colours of its labels over a photograph; background and void stay bare.

    Parameters
    ----------
    image : array
        H x W x 3, uint8, RGB.
    labels : array
        H x W, uint8 class indices.
    classes : sequence of str
        Their names, which say what is bare: see `is_bare`.
    colours : sequence of (int, int, int)
        As for `palette_of`.

    Returns
    -------
    array
        H x W x 3, uint8, RGB.
    """
    result = np.empty_like(image)
    covered = np.array([not is_bare(index, classes) for index in range(256)])
    for first in range(0, len(image), ROWS):
        rows = slice(first, first + ROWS)
        shown = covered[labels[rows]][..., None]
        mixed = (1 - OPACITY) * image[rows] + OPACITY * colorize(labels[rows], colours)
        result[rows] = np.where(shown, mixed, image[rows]).round()
    return result


def legend(labels: np.ndarray, classes: Sequence[str], width: int, colours: Colours = ()) -> Image.Image:
    """A strip that names the colour of each class found in `labels`.

    Parameters
    ----------
    labels : array
        Class indices, of any shape.
    classes : sequence of str
        Their names.
    width : int
        Of the strip, in pixels; it is as high as the names need.
    colours : sequence of (int, int, int)
        As for `palette_of`.

    Returns
    -------
    Image
        RGB, on white.
    """
    palette = palette_of(colours)
    found = [int(k) for k in np.unique(labels) if k < len(classes)]
    return strip([(classes[k], palette[k]) for k in found], width)


def strip(entries: Sequence[tuple[str, np.ndarray]], width: int) -> Image.Image:
    """Names beside their colours, in lines.

    Parameters
    ----------
    entries : sequence of (str, array)
        Name, and colour: 3, or a pattern H x W x 3, uint8, RGB.
    width : int
        Of the strip, in pixels; it is as high as the names need.

    Returns
    -------
    Image
        RGB, on white.
    """
    font = ImageFont.load_default(13)
    places, x, y = [], MARGIN, MARGIN
    for name, _ in entries:
        wide = SWATCH + MARGIN + int(font.getlength(name)) + 2 * MARGIN
        if x > MARGIN and x + wide > width:
            x, y = MARGIN, y + SWATCH + MARGIN
        places.append((x, y))
        x += wide
    result = Image.new('RGB', (width, y + SWATCH + MARGIN), 'white')
    draw = ImageDraw.Draw(result)
    for (name, colour), (x, y) in zip(entries, places, strict=True):
        result.paste(Image.fromarray(np.broadcast_to(colour, (SWATCH, SWATCH, 3)) if colour.ndim == 1 else
                                     colour[:SWATCH, :SWATCH]), (x, y))
        draw.rectangle((x, y, x + SWATCH, y + SWATCH), outline='black')
        draw.text((x + SWATCH + MARGIN, y + SWATCH / 2), name, 'black', font, anchor='lm')
    return result


def overlay(image: np.ndarray, labels: np.ndarray, classes: Sequence[str], colours: Colours = ()) -> Image.Image:
    """A photograph under the colours of its labels, above a legend.

    Parameters
    ----------
    image : array
        H x W x 3, uint8, RGB.
    labels : array
        H x W, uint8 class indices.
    classes : sequence of str
        Their names.
    colours : sequence of (int, int, int)
        As for `palette_of`.

    Returns
    -------
    Image
        RGB, as wide as the photograph.
    """
    strip = legend(labels, classes, image.shape[1], colours)
    result = Image.new('RGB', (image.shape[1], image.shape[0] + strip.height))
    result.paste(Image.fromarray(blend(image, labels, classes, colours)))
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
                       probabilities: np.ndarray | None = None, colours: Colours = (), values: Sequence[str] = ()
                       ) -> None:
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
    colours : sequence of (int, int, int)
        As for `palette_of`.
    values : sequence of str
        What the `.png` has in place of the classes' indices, as of `save_values`.
    """
    if values:
        save_values(f'{stem}.png', labels, values, colours)
    else:
        save_indexed(f'{stem}.png', labels, colours)
    save(f'{stem}_overlay.jpg', overlay(photo, labels, classes, colours), 'JPEG', quality=92)
    if probabilities is not None:
        content = io.BytesIO()      # numpy hides why a file cannot be written
        np.savez_compressed(content, probabilities=probabilities)
        files.write(f'{stem}.npz', [content.getvalue()])
