"""Segmentations as pictures: the VOC colours over the photograph, and which class each colour is."""
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_layers import VOID
from data_layers.palette import PALETTE, colorize

OPACITY = 0.6
MARGIN, SWATCH = 6, 16  # pixels


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
