"""Contact sheets: photographs and segmentations side by side."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from data_layers.palette import Colours
from data_layers.pictures import legend

GAP, TITLE = 6, 24  # pixels
Picture = npt.NDArray[np.uint8]     # H x W x 3, RGB


def sheet(rows: Sequence[Sequence[Picture]], titles: Sequence[str], labels: npt.NDArray[Any], classes: Sequence[str],
          colours: Colours = ()) -> Image.Image:
    """Pictures in a grid under column titles, above a legend.

    Parameters
    ----------
    rows : sequence of sequence of ndarray, H x W x 3, uint8
        One row an image; the pictures of a row are of one size.
    titles : sequence of str
        One a column.
    labels : ndarray of int
        Label values that occur, for the legend.
    classes : sequence of str
        Their names.
    colours : sequence of (int, int, int)
        As for `data_layers.palette.palette_of`.

    Returns
    -------
    Image
        RGB, on white.
    """
    widths = [max(row[i].shape[1] for row in rows) for i in range(len(titles))]
    width = sum(widths) + GAP * (len(widths) + 1)
    strip = legend(labels, classes, width, colours)
    height = TITLE + sum(row[0].shape[0] + GAP for row in rows)
    result = Image.new('RGB', (width, height + strip.height), 'white')
    draw, font = ImageDraw.Draw(result), ImageFont.load_default(15)
    x = GAP
    for wide, title in zip(widths, titles, strict=True):
        draw.text((x + wide / 2, TITLE / 2), title, 'black', font, anchor='mm')
        x += wide + GAP
    y = TITLE
    for row in rows:
        x = GAP
        for picture, wide in zip(row, widths, strict=True):
            result.paste(Image.fromarray(picture), (x, y))
            x += wide + GAP
        y += row[0].shape[0] + GAP
    result.paste(strip, (0, height))
    return result


def error_map(truth: npt.NDArray[Any], prediction: npt.NDArray[Any], void: int) -> Picture:
    """Paint wrong pixels red, right ones light grey, void white.

    Parameters
    ----------
    truth, prediction : ndarray, H x W
        Class indices.
    void : int
        The index that means void.

    Returns
    -------
    ndarray, H x W x 3, uint8
        RGB.
    """
    colours = np.where((truth == prediction)[..., None], (210, 210, 210), (200, 30, 30))
    return np.where((truth == void)[..., None], 255, colours).astype(np.uint8)
