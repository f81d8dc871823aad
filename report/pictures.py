"""Contact sheets: photographs and segmentations side by side."""
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_layers.pictures import legend

GAP, TITLE = 6, 24  # pixels


def sheet(rows, titles, labels, classes) -> Image.Image:
    """Pictures in a grid under column titles, above a legend.

    Parameters
    ----------
    rows : list of list of ndarray, H x W x 3 uint8
        One row an image; the pictures of a row are of one size.
    titles : list of str
        One a column.
    labels : ndarray of int
        Label values that occur, for the legend.
    classes : sequence of str
        Their names.
    """
    widths = [max(row[i].shape[1] for row in rows) for i in range(len(titles))]
    width = sum(widths) + GAP * (len(widths) + 1)
    strip = legend(labels, classes, width)
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


def error_map(truth: np.ndarray, prediction: np.ndarray, void: int) -> np.ndarray:
    """Wrong pixels red, right ones light grey, void white; H x W x 3 uint8."""
    colours = np.where((truth == prediction)[..., None], (210, 210, 210), (200, 30, 30))
    return np.where((truth == void)[..., None], 255, colours).astype(np.uint8)
