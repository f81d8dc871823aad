"""Your own data: photographs and masks wherever they lie, described by a folder that `python -m nets new` writes.

`$FCN_DATA/roads` describes the data set `roads`. It holds `dataset.json`, for example

    {"folder": "/home/me/roads",                    where the pictures are
     "masks": "index",                              or "colour", or "polygons"
     "classes": ["road", "car"],                    in the order of the net's output
     "values": {"0": null, "1": "road", "2": "car", "3": "car"},
     "mean": [104.0, 116.7, 122.7]}                 BGR, of the training photographs

and a list for each split, `train.tsv` and `val.tsv`: lines of id, photograph and mask, separated by tabs, paths below
`folder`. `values` says what each value stored in a mask means: a class, or null for void. Several values may mean one
class. The values of index masks are numbers, those of colour masks look like "128 64 128", those of polygons are names.
"""
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cli import BadInput
from data_layers.dataset import VOC_MEAN, VOID, Dataset, read_lines, read_pixels, to_integers, unreadable

CARD = 'dataset.json'
MASKS = ('index', 'colour', 'polygons')
GROUND = '_background_'     # what labelme calls that which no polygon covers
MOST_PIXELS = 1 << 28       # of a drawing, as no picture of a camera has


@dataclass(frozen=True)
class Card:
    """What dataset.json says."""
    folder: Path
    masks: str
    classes: tuple[str, ...]
    values: dict[str, str | None]
    mean: tuple[float, ...]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({**asdict(self), 'folder': str(self.folder)}, indent=1, ensure_ascii=False) + '\n',
                        encoding='utf-8')


def read_card(root: Path) -> Card:
    """Read the dataset.json of a folder; what it says is checked, key by key."""
    path = root / CARD
    known = read_json(path)
    keys = ('folder', 'masks', 'classes', 'values', 'mean')
    if not isinstance(known, dict) or set(known) != set(keys):
        raise BadInput(f'{path} must have the keys {", ".join(keys)} and no others; correct it, or remove it and run '
                       'python -m nets new again')
    folder, masks, classes, values, mean = (known[key] for key in keys)
    fit = {
        'folder': isinstance(folder, str) and folder != '',
        'masks': masks in MASKS,
        'classes': (isinstance(classes, list) and all(isinstance(name, str) for name in classes)
                    and 1 <= len(classes) <= VOID and len({*classes}) == len(classes)),
        'values': isinstance(values, dict) and isinstance(classes, list) and
        all(name is None or name in classes for name in values.values()),
        'mean': (isinstance(mean, list) and len(mean) == 3 and
                 all(isinstance(value, int | float) and 0 <= value <= 255 for value in mean)),
    }
    if wrong := [key for key in keys if not fit[key]]:
        raise BadInput(f'{path} has a {wrong[0]} of the wrong kind, {str(known[wrong[0]])[:80]!r}; correct it as the '
                       'beginning of data_layers/folder.py tells')
    return Card(root / folder, masks, tuple(classes), values, tuple(mean))


class Folder(Dataset):
    name = 'folder'
    title = 'your own photographs and masks'
    source = 'python -m nets new NAME --data DIR'
    licence = 'yours'
    layout = f'{CARD} and a list for each split, written by python -m nets new'
    home = 'NAME'
    marker = CARD
    means: dict[str, tuple[float, ...]] = {'data': VOC_MEAN}    # of a data set: see `at`
    classes: dict[str, tuple[str, ...]] = {'label': ()}
    place: Path | None = None
    card: Card

    @classmethod
    def at(cls, root: Path | None, name: str | None = None) -> type['Folder']:
        """The `Folder` that lies in `root`: its classes and its mean are known from the data, not from the code."""
        place = cls.locate(root)
        card = read_card(place)
        about = dict(name=name or cls.name, place=place, card=card, means={'data': card.mean},
                     classes={'label': card.classes})
        return type('Folder', (cls,), about)

    @classmethod
    def locate(cls, root) -> Path:
        place = Path(root) if root else cls.place
        if place is None:
            raise BadInput(f'the data set {cls.name} may lie anywhere: say where with --root, or call it by its name')
        if not (place / CARD).is_file():
            raise BadInput(f'{place} has no {CARD}; python -m nets new NAME --data {place} looks at your data and '
                           'writes one')
        return place

    @classmethod
    def splits(cls, root=None) -> list[str]:
        return sorted(path.stem for path in cls.locate(root).glob('*.tsv'))

    def __init__(self, split: str, root: str | Path | None = None, tops: Sequence[str] | None = None) -> None:
        self.paths: dict[str, tuple[Path, Path]] = {}   # of all splits: which one an id is of does not matter
        for present in self.splits(root):
            self.paths |= self.entries(self.locate(root) / f'{present}.tsv')
        super().__init__(split, root, tops)

    def entries(self, path: Path) -> dict[str, tuple[Path, Path]]:
        """Read the list of a split: id -> photograph and mask."""
        found = {}
        for line in read_lines(path):
            fields = line.split('\t')
            if len(fields) != 3:
                raise BadInput(f'{path} has the line {line[:80]!r}, which is not an id, a photograph and a mask, '
                               'separated by tabs')
            found[fields[0]] = self.card.folder / fields[1], self.card.folder / fields[2]
        return found

    def split_ids(self, split: str) -> list[str]:
        path = self.root / f'{split}.tsv'
        if not path.is_file():
            raise BadInput(f'{self.name} has no split {split}: {path} is missing (present: '
                           f'{", ".join(self.splits(self.root)) or "none"})')
        return list(self.entries(path))

    def file(self, top: str, id: str) -> Path:
        return self.paths[id][top != 'data']

    def read_label(self, top: str, path: Path) -> np.ndarray:
        positions, keys = read_stored(path, self.card.masks)
        number = {name: index for index, name in enumerate(self.card.classes)} | {None: VOID}
        if strange := [key for key in keys if key not in self.card.values]:
            row, column = np.argwhere(positions == keys.index(strange[0]))[0]
            raise BadInput(f'{path} has the label {strange[0]} (at row {row}, column {column}), which is not among the '
                           f'values of {self.root / CARD}; correct the mask, or say there which class it is')
        return np.array([number[self.card.values[key]] for key in keys], np.uint8)[positions]


# Masks as they are stored.

class Colourful(BadInput):
    """A mask that should hold class numbers holds colours."""


def read_stored(path: Path, masks: str) -> tuple[np.ndarray, list[str]]:
    """Read a mask of any of the kinds `MASKS`.

    Returns
    -------
    positions : array
        H x W integers: where in `keys` the value of each pixel stands.
    keys : list of str
        The values that occur, as dataset.json writes them.
    """
    if masks == 'polygons':
        return draw_polygons(path)
    picture = read_pixels(path)
    values = colour_values(picture, path) if masks == 'colour' else index_values(picture, path)
    present, positions = np.unique(values, return_inverse=True)
    keys = [f'{v >> 16} {v >> 8 & 255} {v & 255}' if masks == 'colour' else str(v) for v in present.tolist()]
    return positions.reshape(values.shape), keys


def index_values(picture: Image.Image, path: Path) -> np.ndarray:
    """The class numbers of a palette, grey or black and white picture, or of a colour one that is grey all over."""
    if picture.mode in ('RGB', 'RGBA', 'LA'):
        planes = np.asarray(picture)
        if picture.mode != 'LA' and (planes[..., :1] != planes[..., 1:3]).any():
            raise Colourful(f'{path} holds colours, not class numbers')
        return planes[..., 0].astype(np.int64)
    if picture.mode not in ('P', 'L', '1', 'I', 'I;16'):
        raise BadInput(f'{path} is a {picture.mode} picture, which is no mask; save it as a palette, grey or RGB PNG')
    return to_integers(np.asarray(picture), path)


def colour_values(picture: Image.Image, path: Path) -> np.ndarray:
    """The colours of a mask, each as one number, 65536 R + 256 G + B."""
    if picture.mode not in ('RGB', 'RGBA', 'P', 'L', '1'):
        raise BadInput(f'{path} is a {picture.mode} picture, the other masks hold colours; save it as an RGB PNG')
    planes = np.asarray(picture.convert('RGB'), np.int64)
    return planes[..., 0] << 16 | planes[..., 1] << 8 | planes[..., 2]


def draw_polygons(path: Path) -> tuple[np.ndarray, list[str]]:
    """Draw the polygons, rectangles and circles of a labelme file, later ones over earlier ones; as `read_stored`."""
    known = read_json(path)
    try:
        width, height = int(known['imageWidth']), int(known['imageHeight'])
        if width < 1 or height < 1 or width * height > MOST_PIXELS:
            raise ValueError(f'a size of {width}x{height}')
        shapes = [(str(shape['label']), shape.get('shape_type') or 'polygon', np.array(shape['points'], float))
                  for shape in known['shapes']]
        names = [GROUND, *dict.fromkeys(name for name, _, _ in shapes if name != GROUND)]
        picture = Image.new('I', (width, height))
        pen = ImageDraw.Draw(picture)
        for name, kind, points in shapes:
            if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < MOST_PIXELS).all():
                raise ValueError(f'the {kind} of {name} has points that are none')
            outline(pen, kind, points, names.index(name))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
        reason = f'{problem} is missing' if isinstance(problem, KeyError) else problem
        raise BadInput(f'{path} is no file of labelme that can be drawn ({reason}); save it again in labelme, or '
                       'remove it') from None
    positions = np.asarray(picture)
    present, positions = np.unique(positions, return_inverse=True)      # what others hide is not there
    return positions.reshape(height, width), [names[number] for number in present]


def outline(pen: ImageDraw.ImageDraw, kind: str, points: np.ndarray, value: int) -> None:
    """Draw one filled shape."""
    least = {'polygon': 3, 'rectangle': 2, 'circle': 2}
    if kind not in least:
        raise ValueError(f'a {kind} has no area; draw {", ".join(least)}')
    if len(points) < least[kind]:
        raise ValueError(f'a {kind} has {len(points)} points')
    if kind == 'polygon':
        pen.polygon([*map(tuple, points)], fill=value, outline=value)
    elif kind == 'rectangle':
        pen.rectangle([*points.min(0), *points.max(0)], fill=value, outline=value)
    else:
        radius = np.hypot(*(points[1] - points[0]))
        pen.ellipse([*(points[0] - radius), *(points[0] + radius)], fill=value, outline=value)


def read_json(path: Path):
    """Read a JSON file."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as problem:
        raise unreadable(path, problem) from None
