"""Your own data: photographs and masks wherever they lie, described by a folder that `python -m nets new` writes.

`$FCN_DATA/roads` describes the data set `roads`. It holds `dataset.json`, for example

    {"folder": "/home/me/roads",                    where the pictures are
     "masks": "index",                              or "colour", or "polygons" for all shapes
     "classes": ["road", "car"],                    in the order of the net's output
     "values": {"0": null, "1": "road", "2": "car", "3": "car"},
     "mean": [104.0, 116.7, 122.7],                 BGR, of the training photographs
     "colours": [[128, 64, 128], [64, 0, 128]]}     RGB, in the order of the classes; may be left out: VOC's then

and a list for each split, `train.tsv` and `val.tsv`: lines of id, photograph and mask, separated by tabs, paths below
`folder`. `values` says what each value stored in a mask means: a class, or null for void. Several values may mean one
class. The values of index masks are numbers, those of colour masks look like "128 64 128", those of shapes are names.
Of an annotation file for many photographs, a list names one as if the file were a folder: annotations.xml/17.

With "masks": "planes" classes may overlap: each has masks of its own, where every pixel that is not 0 shows it. A list
then names a mask with a star, such as masks/*/photo1.png, in whose place `values` are put: "values": {"road": "road",
"person": "person", "dirt": null}. A class without such a file is not in the photograph; null makes void of all classes.

With "pictures" the photographs are others than of 8 bits and three colours: see `data_layers.bands`. "mean" then has a
number for each channel, after the window.
"""
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import files
from cli import BadInput
from data_layers import bands
from data_layers.bands import COLOURS, Bands
from data_layers.dataset import VOC_MEAN, Dataset
from data_layers.own import turned
from data_layers.own.masks import KINDS, index_values, read_stored, stored_size
from data_layers.palette import are_colours
from data_layers.reading import VOID, read_json, read_lines, read_pixels

CARD = 'dataset.json'
OPTIONAL = {'colours', 'pictures'}     # of its keys
PLANES = 'planes'       # masks of classes that overlap, a file for each class


@dataclass(frozen=True)
class Card:
    """What dataset.json says.

    Attributes
    ----------
    folder : path
        Where the pictures are; relative to the folder of dataset.json.
    masks : str
        Their kind, one of `masks.KINDS`, or `PLANES`.
    classes : tuple of str
        In the order of the net's output.
    values : dict
        Value stored in a mask -> its class, or None for void.
    mean : tuple of float
        B, G and R, or of each channel of `pictures`, on the scale 0 ... 255.
    colours : tuple of (int, int, int)
        R, G and B of each class; empty where none are stated.
    pictures : Bands, optional
        What the pictures are where they are not colours of 8 bits.
    """
    folder: Path
    masks: str
    classes: tuple[str, ...]
    values: dict[str, str | None]
    mean: tuple[float, ...]
    colours: tuple[tuple[int, ...], ...] = ()
    pictures: Bands | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of a net's input, in its order."""
        return self.pictures.channels if self.pictures else COLOURS

    @property
    def stored(self) -> tuple[str, ...]:
        """What stands for each class in index and colour masks, the first value where there are several; else empty."""
        first = {name: value for value, name in reversed(self.values.items())}
        known = self.masks in ('index', 'colour') and all(name in first for name in self.classes)
        return tuple(first[name] for name in self.classes) if known else ()

    def write(self, path: Path) -> None:
        """Write dataset.json.

        Raises
        ------
        BadInput
            The file cannot be written.
        """
        known = {**asdict(self), 'folder': str(self.folder)}
        known['pictures'] = self.pictures and self.pictures.facts()
        known = {key: value for key, value in known.items() if value or key not in OPTIONAL}
        files.write(path, json.dumps(known, indent=1, ensure_ascii=False) + '\n')


def read_card(root: Path) -> Card:
    """Read the dataset.json of a folder, and check what it says, key by key.

    Raises
    ------
    BadInput
        The file is missing, not JSON, or has wrong keys or values.
    """
    path = root / CARD
    known = read_json(path)
    keys = ('folder', 'masks', 'classes', 'values', 'mean')
    if not isinstance(known, dict) or {*known} - OPTIONAL != {*keys}:
        raise BadInput(f'{path} must have the keys {", ".join(keys)}, perhaps {" and ".join(sorted(OPTIONAL))}, and no '
                       'others; correct it, or remove it and run python -m nets new again')
    colours = known.get('colours', [])
    folder, masks, classes, values, mean = (known[key] for key in keys)
    pictures = bands.checked(path, known['pictures']) if 'pictures' in known else None
    channels = len(pictures.channels) if pictures else 3
    fit = {
        'folder': isinstance(folder, str) and folder != '',
        'masks': masks in (*KINDS, PLANES),
        'classes': (isinstance(classes, list) and all(isinstance(name, str) for name in classes)
                    and 1 <= len(classes) <= VOID and len({*classes}) == len(classes)),
        'values': isinstance(values, dict) and isinstance(classes, list) and
        all(name is None or name in classes for name in values.values()),
        'mean': (isinstance(mean, list) and len(mean) == channels and
                 all(isinstance(value, int | float) and 0 <= value <= 255 for value in mean)),
        'colours': are_colours(colours) and isinstance(classes, list) and len(colours) in (0, len(classes)),
    }
    if wrong := [key for key in fit if not fit[key]]:
        raise BadInput(f'{path} has a {wrong[0]} of the wrong kind, {str(known[wrong[0]])[:80]!r}; correct it as the '
                       'beginning of data_layers/own/folder.py tells')
    return Card(root / folder, masks, tuple(classes), values, tuple(mean), tuple(map(tuple, colours)), pictures)


class Folder(Dataset):
    """Your own data, as a dataset.json and lists of ids describe them: see `Dataset`, and `at` for its classes."""

    name = 'folder'
    title = 'your own photographs and masks'
    source = 'python -m nets new NAME --data DIR'
    licence = 'yours'
    layout = f'{CARD} and a list for each split, written by python -m nets new'
    home = 'NAME'
    marker = CARD
    means: dict[str, tuple[float, ...]] = {'data': VOC_MEAN}    # of a data set: see `at`
    classes: dict[str, tuple[str, ...]] = {'label': ()}
    list_suffix = '.tsv'
    place: Path | None = None
    card: Card

    @classmethod
    def at(cls, root: Path | None, name: str | None = None) -> type['Folder']:
        """Make the data set that a folder describes: a subclass with its classes, its mean and its place.

        Parameters
        ----------
        root : path, optional
            The folder of dataset.json.
        name : str, optional
            What messages call the data set.

        Raises
        ------
        BadInput
            As of `locate` and `read_card`.
        """
        place = cls.locate(root)
        card = read_card(place)
        about = dict(name=name or cls.name, place=place, card=card, means={'data': card.mean},
                     classes={'label': card.classes}, overlapping=card.masks == PLANES, pictures=card.pictures,
                     colours={'label': card.colours}, values={'label': card.stored})
        return type('Folder', (cls,), about)

    @classmethod
    def locate(cls, root: str | Path | None) -> Path:
        """The folder of dataset.json: `root`, or the one that the class was made for by `at`.

        Raises
        ------
        BadInput
            Neither is given, or there is no dataset.json.
        """
        place = Path(root) if root else cls.place
        if place is None:
            raise BadInput(f'the data set {cls.name} may lie anywhere: say where with --root, or call it by its name')
        if not (place / CARD).is_file():
            raise BadInput(f'{place} has no {CARD}; python -m nets new NAME --data {place} looks at your data and '
                           'writes one')
        return place

    def __init__(self, split: str, root: str | Path | None = None, tops: Sequence[str] | None = None) -> None:
        self.paths: dict[str, tuple[Path, Path]] = {}   # of all splits; an id of several is this split's own file
        for present in sorted(self.splits(root), key=lambda name: name == split):
            self.paths |= self.entries(self.locate(root) / f'{present}.tsv')
        super().__init__(split, root, tops)

    def entries(self, path: Path) -> dict[str, tuple[Path, Path]]:
        """Read the list of a split.

        Parameters
        ----------
        path : path
            Its file, of lines of id, photograph and mask, separated by tabs.

        Returns
        -------
        dict
            Id -> photograph and mask, below `card.folder`.

        Raises
        ------
        BadInput
            The file cannot be read, or a line has another form.
        """
        found = {}
        for line in read_lines(path):
            fields = line.split('\t')
            if len(fields) != 3:
                raise BadInput(f'{path} has the line {line[:80]!r}, which is not an id, a photograph and a mask, '
                               'separated by tabs')
            if self.overlapping and fields[2].count('*') != 1:
                raise BadInput(f'{path} has the mask {fields[2]!r} without one *, in whose place the values of {CARD} '
                               'are put')
            found[fields[0]] = self.card.folder / fields[1], self.card.folder / fields[2]
        return found

    def split_ids(self, split: str) -> list[str]:
        return list(self.entries(self.list_of(split)))

    def file(self, top: str, id: str) -> Path:
        return self.paths[id][top != 'data']

    def size_of(self, top: str, path: Path) -> tuple[int, ...] | None:
        if top == 'data':
            return super().size_of(top, path)
        return stored_size(next(iter(self.planes(path)), path) if self.overlapping else path)

    @classmethod
    def read_image(cls, top: str, path: Path) -> np.ndarray:
        return cls.pictures.blob(path, cls.means[top]) if cls.pictures else super().read_image(top, path)

    def check_heads(self, id: str, tops: Sequence[str]) -> None:
        super().check_heads(id, tops)
        photo, mask = self.paths[id]
        try:
            if self.pictures:
                for folder in self.pictures.also:
                    turned.check(photo, bands.beside(photo, folder))
            if len(tops) > 1:
                turned.check(photo, next(iter(self.planes(mask)), mask) if self.overlapping else mask)
        except BadInput as problem:
            raise BadInput(f'{self.name} {id}: {problem}') from None

    def planes(self, path: Path) -> dict[Path, str | None]:
        """The masks of the classes that a photograph shows: file -> class, or None for void."""
        before, _, after = str(path).rpartition('*')
        paths = {Path(before + key + after): name for key, name in self.card.values.items()}
        return {path: name for path, name in paths.items() if path.exists()}

    def read_planes(self, path: Path) -> np.ndarray:
        """Read the masks of classes that overlap.

        Parameters
        ----------
        path : path
            With a star.

        Returns
        -------
        array of uint8, K x H x W
            1 where the class is, 0 where not, 255 where it is void.

        Raises
        ------
        BadInput
            There is no mask, or one cannot be read, or they differ in size.
        """
        names = self.planes(path)
        masks = {one: index_values(read_pixels(one), one) != 0 for one in names}
        if not masks:
            raise BadInput(f'{path} leads to no mask for any of the values of {self.root / CARD}; add one, perhaps 0 '
                           'everywhere')
        first, *others = masks
        if odd := [one for one in others if masks[one].shape != masks[first].shape]:
            raise BadInput(f'{odd[0]} is of another size than {first}; replace the wrong one, they must agree')
        result = np.zeros((len(self.card.classes), *masks[first].shape), np.uint8)
        for one, name in sorted(names.items(), key=lambda item: item[1] is None):   # void comes last
            if name is None:
                result[:, masks[one]] = VOID
            else:
                result[self.card.classes.index(name), masks[one]] = 1
        return result

    def read_label(self, top: str, path: Path) -> np.ndarray:
        if self.overlapping:
            return self.read_planes(path)
        positions, keys = read_stored(path, self.card.masks)
        number = {name: index for index, name in enumerate(self.card.classes)} | {None: VOID}
        if strange := [key for key in keys if key not in self.card.values]:
            row, column = np.argwhere(positions == keys.index(strange[0]))[0]
            raise BadInput(f'{path} has the label {strange[0]} (at row {row}, column {column}), which is not among the '
                           f'values of {self.root / CARD}; correct the mask, or say there which class it is')
        classes: np.ndarray = np.array([number[self.card.values[key]] for key in keys], np.uint8)[positions]
        return classes
