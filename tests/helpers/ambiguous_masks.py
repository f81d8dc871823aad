"""Masks whose values fit a list of classes in more ways than one, drawn with the truth known.

`draw` makes pictures of true classes, `NOTHING` where nobody has labelled; `Case.write` stores them under the numbers
of a convention, beside a list that does not tell which.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from tests.helpers import own
from tests.helpers.datasets import save_lines, save_png

NOTHING = -1        # what nobody has labelled
STREET = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist')


def smooth(rng, length, low, high, scale):
    """A wavy line of `length` points between `low` and `high`."""
    noise = ndimage.gaussian_filter1d(rng.normal(size=length + 6 * int(scale)), scale)[3 * int(scale):][:length]
    noise = (noise - noise.min()) / max(np.ptp(noise), 1e-9)
    return low + (high - low) * noise


def disc(label, rng, value, radius, centre=None):
    """An ellipse of about a radius, with a rough outline."""
    height, width = label.shape
    y, x = centre or (rng.uniform(0, height), rng.uniform(0, width))
    top, left = max(int(y - 2 * radius), 0), max(int(x - 2 * radius), 0)
    part = label[top:int(y + 2 * radius) + 2, left:int(x + 2 * radius) + 2]
    rows, columns = np.mgrid[top:top + part.shape[0], left:left + part.shape[1]]
    stretch, turn = rng.uniform(0.6, 1.6), rng.uniform(0, np.pi)
    across = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    along = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    angle = np.arctan2(along, across)
    rough = 1 + 0.12 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.08 * np.sin(5 * angle + rng.uniform(0, 6))
    part[np.hypot(across / stretch, along * stretch) < radius * rough] = value


def street(rng, size, classes):
    """CamVid's eleven classes where a camera in a car sees them."""
    assert classes == len(STREET)
    height, width = size
    label = np.empty(size, int)
    rows, columns = np.mgrid[:height, :width]
    horizon = height * rng.uniform(0.4, 0.6)
    roofs = np.repeat(rng.uniform(0.05, 0.45, 12) * height, width // 12 + 1)[:width]
    label[:] = STREET.index('building')
    label[rows < roofs] = STREET.index('sky')
    label[rows > horizon] = STREET.index('pavement')
    middle, spread = width * rng.uniform(0.35, 0.65), rng.uniform(0.5, 0.9)
    label[(rows > horizon) & (abs(columns - middle) < (rows - horizon) * spread * width / height + 2)] = (
        STREET.index('road'))
    for _ in range(rng.integers(1, 5)):
        disc(label, rng, STREET.index('tree'), height * rng.uniform(0.06, 0.18),
             (horizon - height * rng.uniform(0.1, 0.3), rng.uniform(0, width)))
    if rng.random() < 0.5:
        top, left = int(horizon - 0.08 * height), rng.integers(width // 2)
        label[top:int(horizon) + 2, left:left + width // 3] = STREET.index('fence')
    for _ in range(rng.integers(0, 4)):
        wide = int(width * rng.uniform(0.05, 0.2))
        top, left = int(horizon + rng.uniform(-0.05, 0.2) * height), rng.integers(width)
        label[top:top + int(wide * 0.7), left:left + wide] = STREET.index('car')
    for _ in range(rng.integers(1, 6)):
        left, thick = rng.integers(width), rng.integers(1, max(2, width // 120) + 1)
        label[int(height * rng.uniform(0.1, 0.3)):int(horizon + 0.1 * height), left:left + thick] = STREET.index('pole')
    for name, chance in (('sign', 0.6), ('pedestrian', 0.7), ('bicyclist', 0.35)):
        for _ in range(rng.integers(1, 3) if rng.random() < chance else 0):
            tall = height * rng.uniform(0.05, 0.15)
            top, left = int(horizon - (0.2 * height if name == 'sign' else 0.03 * height)), rng.integers(width)
            label[top:int(top + tall), left:int(left + tall * rng.uniform(0.4, 1)) + 1] = STREET.index(name)
    return label


def objects(rng, size, classes):
    """Things here and there before a ground of class 0."""
    label = np.zeros(size, int)
    for _ in range(rng.integers(1, 5)):
        disc(label, rng, rng.integers(1, classes), min(size) * rng.uniform(0.08, 0.28))
    return label


def organ(rng, size, classes):
    """Organs within a body, all before a ground of class 0, as a scanner sees them."""
    label = np.zeros(size, int)
    middle = size[0] / 2, size[1] / 2
    disc(label, rng, 1, min(size) * 0.42, middle)
    for value in range(2, classes):
        if rng.random() < 0.8:
            disc(label, rng, value, min(size) * rng.uniform(0.05, 0.12),
                 (middle[0] + rng.normal() * size[0] * 0.1, middle[1] + rng.normal() * size[1] * 0.1))
    return label


def cells(rng, size, classes):
    """Many small round things before a ground of class 0."""
    label = np.zeros(size, int)
    for _ in range(rng.integers(15, 40)):
        disc(label, rng, rng.integers(1, classes), min(size) * rng.uniform(0.03, 0.07))
    return label


def mosaic(rng, size, classes):
    """Land cover: patches of all classes, of any shape, that fill the picture."""
    points = rng.uniform(0, 1, (rng.integers(8, 22), 2)) * size
    kinds = rng.integers(classes, size=len(points))
    rows, columns = np.mgrid[:size[0], :size[1]].astype(float)
    rows += 3 * np.sin(columns / 7 + rng.uniform(0, 6))
    return kinds[np.argmin([np.hypot(rows - y, columns - x) for y, x in points], axis=0)]


def parcels(rng, size, classes):
    """Fields with straight sides."""
    label = np.full(size, rng.integers(classes))
    for _ in range(rng.integers(6, 16)):
        top, left = rng.integers(size[0]), rng.integers(size[1])
        label[top:top + rng.integers(8, size[0] // 2), left:left + rng.integers(8, size[1] // 2)] = (
            rng.integers(classes))
    return label


def layers(rng, size, classes):
    """Layers one above the other, as of a retina or the ground; each crosses the picture."""
    label, at = np.zeros(size, int), np.zeros(size[1])
    rows = np.arange(size[0])[:, None]
    for value in range(1, classes):
        at = at + smooth(rng, size[1], 0.3, 1.5, size[1] / 8) * size[0] / classes
        label[rows >= at] = value
    return label


def room(rng, size, classes):
    """A wall, a floor and furniture before both; all classes but two are things."""
    label = np.zeros(size, int)
    label[int(size[0] * rng.uniform(0.5, 0.7)):] = 1
    for _ in range(rng.integers(3, 8)):
        value, tall = rng.integers(2, classes), size[0] * rng.uniform(0.1, 0.35)
        top, left = int(size[0] * rng.uniform(0.2, 0.7)), rng.integers(size[1])
        label[top:int(top + tall), left:int(left + tall * rng.uniform(0.5, 1.5))] = value
    return label


SCENES: dict[str, Callable[..., Any]] = {scene.__name__: scene for scene in (
    street, objects, organ, cells, mosaic, parcels, layers, room)}
GROUNDED = ('objects', 'organ', 'cells')        # whose class 0 is a ground


# What nobody labels.

def bands(label, rng, thick, share=1.0, only=None):
    """Seams between classes, so many pixels thick; of `share` of the seams, or around the classes `only`."""
    seam = np.zeros(label.shape, bool)
    seam[:, 1:] |= label[:, 1:] != label[:, :-1]
    seam[1:] |= label[1:] != label[:-1]
    if only is not None:
        inside = np.isin(label, only)
        seam &= ndimage.binary_dilation(inside, iterations=2)
    if share < 1:
        seam &= ndimage.gaussian_filter(rng.normal(size=label.shape), min(label.shape) / 25) > np.quantile(
            ndimage.gaussian_filter(rng.normal(size=label.shape), min(label.shape) / 25), 1 - share)
    return ndimage.binary_dilation(seam, iterations=max(1, (thick - 1) // 2)) if thick > 2 else seam


def patches(label, rng, share, scale=0.06):
    """Ragged patches anywhere, of about a share of the picture."""
    noise = ndimage.gaussian_filter(rng.normal(size=label.shape), min(label.shape) * scale)
    return noise > np.quantile(noise, 1 - share)


def slivers(label, rng, share):
    """Gaps that polygons leave at their meeting points and sides, of uneven width."""
    distance = ndimage.distance_transform_edt(~bands(label, rng, 1))
    noise = ndimage.gaussian_filter(rng.normal(size=label.shape), min(label.shape) * 0.02)
    return distance + 1.5 * noise / noise.std() < np.quantile(distance + 1.5 * noise / noise.std(), share)


def outside(label, rng):
    """All that a round field of view leaves out."""
    rows, columns = np.mgrid[:label.shape[0], :label.shape[1]]
    return np.hypot(rows / label.shape[0] - 0.5, columns / label.shape[1] - 0.5) > 0.48


def margin(label, rng, wide):
    """A frame of so many pixels around the picture, and a bonnet below."""
    result = np.ones(label.shape, bool)
    result[wide:-wide or None, wide:-wide or None] = False
    return result


@dataclass
class Case:
    """Masks and a list of which the truth is known.

    Attributes
    ----------
    title : str
        What it is.
    truth : str
        The lines that are right, in short: '0 void', '0 background', 'N void', 'K void' in the middle, 'N NAME' for one
        more class, or 'from 1'.
    scene : str
        One of `SCENES`.
    classes : int
        That the scene has.
    count : int
        Of masks.
    size : (int, int)
        Height and width.
    unlabelled : callable, optional
        (label, rng, number) -> where nobody has labelled.
    number : callable
        True class, or `NOTHING` -> value in the mask.
    names : callable
        Names of the classes -> the lines of the list.
    """
    title: str
    truth: str
    scene: str
    classes: int
    count: int = 12
    size: tuple[int, int] = (96, 128)
    unlabelled: Callable[..., Any] | None = None
    number: Callable[[int], int] = lambda k: k
    names: Callable[[list[str]], list[str]] = field(default=lambda names: names)

    def labels(self, seed: int) -> list[np.ndarray]:
        """The values stored in the masks."""
        made = []
        for at in range(self.count):
            rng = np.random.default_rng((seed, at))
            label = SCENES[self.scene](rng, self.size, self.classes)
            if at < 2:      # every class occurs
                for value in range(self.classes):
                    disc(label, rng, value, 5) if not (label == value).any() else None
            if self.unlabelled is not None:
                label = np.where(self.unlabelled(label, rng, at), NOTHING, label)
            occurring, positions = np.unique(label, return_inverse=True)
            numbers = np.array([self.number(k) for k in occurring.tolist()], np.uint8)
            made.append(numbers[positions].reshape(label.shape))
        return made

    def words(self) -> list[str]:
        """Names of the true classes."""
        if self.scene == 'street':
            return list(STREET)
        return ['background' if k == 0 and self.scene in GROUNDED else f'kind{"abcdefghijklmnop"[k]}'
                for k in range(self.classes)]

    def write(self, root: Path, seed: int) -> None:
        """Write images/, masks/ and classes.txt."""
        for at, label in enumerate(self.labels(seed)):
            save_png(root / f'images/p{at:02}.png', np.full((*label.shape, 3), at, np.uint8))
            own.grey(root / f'masks/p{at:02}.png', label)
        save_lines(root / 'classes.txt', self.names(self.words()))


# Conventions of numbers: a true class, or NOTHING, -> the value stored.

def counted(void=None, start=0, skip=None):
    """Classes from `start` on, `skip` left out; NOTHING is `void`."""
    return lambda k: void if k == NOTHING else k + start + (skip is not None and k + start >= skip)


def ungrounded(names):
    """A list that lacks its background."""
    return [name for name in names if name != 'background']


def but_last(names):
    """A list that lacks its last class."""
    return names[:-1]


def seams(thick, share=1.0, more=0.0):
    return lambda label, rng, at: bands(label, rng, thick, share) | (patches(label, rng, more) if more else False)


def rare(share, every, kind=patches):
    """In one of so many pictures."""
    return lambda label, rng, at: kind(label, rng, share) if at % every == 0 else np.zeros(label.shape, bool)


def around_things(thick):
    """Seams around all but the ground, class 0."""
    return lambda label, rng, at: bands(label, rng, thick, only=range(1, 99))


def of(kind, *arguments):
    return lambda label, rng, at: kind(label, rng, *arguments)


def cases() -> list[Case]:
    """At least one of every kind of ambiguity."""
    wide, small = (180, 240), (60, 80)
    found = []

    def add(*arguments, **more):
        found.append(Case(*arguments, **more))

    # Streets, as CamVid is: void last, or first.
    for place, number, truth in (('last', counted(void=11), '11 void'), ('first', counted(0, 1), '0 void')):
        add(f'street, thin seams {place}', truth, 'street', 11, unlabelled=seams(3), number=number)
        add(f'street, part of seams and patches {place}', truth, 'street', 11, size=wide,
            unlabelled=seams(3, 0.4, 0.02), number=number)
        add(f'street, slivers {place}', truth, 'street', 11, unlabelled=of(slivers, 0.04), number=number)
        add(f'street, patches {place}', truth, 'street', 11, unlabelled=of(patches, 0.06), number=number)
        add(f'street, thick seams {place}', truth, 'street', 11, size=wide, unlabelled=seams(9), number=number)
        add(f'street, 3 masks, slivers {place}', truth, 'street', 11, 3, unlabelled=of(slivers, 0.04), number=number)
        add(f'street, 30 small masks, seams {place}', truth, 'street', 11, 30, small, seams(2), number)
        add(f'street, rare slivers {place}', truth, 'street', 11, 30, unlabelled=rare(0.03, 6, slivers), number=number)
    # Objects before a ground.
    for scene, classes in (('objects', 4), ('organ', 5), ('cells', 3)):
        add(f'{scene}, background named, seams last', f'{classes} void', scene, classes, unlabelled=seams(3),
            number=counted(void=classes))
        add(f'{scene}, background named, seams first', '0 void', scene, classes, unlabelled=around_things(3),
            number=counted(0, 1))
        add(f'{scene}, background not in the list', '0 background', scene, classes, names=ungrounded)
        add(f'{scene}, background not in the list, 255 is void', '0 background', scene, classes, unlabelled=seams(3),
            number=counted(255), names=ungrounded)
        add(f'{scene}, one class not in the list', f'{classes - 1} NAME', scene, classes, names=but_last)
    add('objects, 3 masks, background not in the list', '0 background', 'objects', 4, 3, names=ungrounded)
    add('objects, 3 masks, background named, thick seams last', '4 void', 'objects', 4, 3, unlabelled=seams(7),
        number=counted(4))
    add('objects, rare seams last', '4 void', 'objects', 4, 30, unlabelled=rare(2, 10, bands), number=counted(4))
    # Pictures full of classes.
    for scene, classes in (('mosaic', 6), ('parcels', 5), ('layers', 5), ('room', 7)):
        add(f'{scene}, seams last', f'{classes} void', scene, classes, unlabelled=seams(3), number=counted(classes))
        add(f'{scene}, seams first', '0 void', scene, classes, unlabelled=seams(3), number=counted(0, 1))
        add(f'{scene}, seams in the middle', '2 void', scene, classes, unlabelled=seams(3), number=counted(2, 0, 2))
        add(f'{scene}, one class not in the list, 255 is void', f'{classes - 1} NAME', scene, classes,
            unlabelled=seams(3), number=counted(255), names=but_last)
    for place, number, truth in (('last', counted(6), '6 void'), ('first', counted(0, 1), '0 void')):
        add(f'mosaic, patches {place}', truth, 'mosaic', 6, unlabelled=of(patches, 0.08), number=number)
        add(f'mosaic, round field of view {place}', truth, 'mosaic', 6, unlabelled=of(outside), number=number)
        add(f'parcels, unlabelled margin {place}', truth, 'mosaic', 6, unlabelled=of(margin, 6), number=number)
    # Numbers that are not in a row.
    add('mosaic, counted from 1', 'from 1', 'mosaic', 5, number=counted(None, 1))
    add('objects, counted from 1, 255 is void', 'from 1', 'objects', 4, unlabelled=seams(3), number=counted(255, 1))
    return found
