"""The list of classes that comes with your own data, in any of the usual forms.

A class a line: `road`, or with its number in the masks, `7 road`, `7: road`, or with its colour, `128 64 128 road`,
`road 128 64 128`, `road,128,64,128`, `road:128,64,128::`, or with both, `7 128 64 128 road`. Without numbers, the first
line is 0. What has the name void, ignore or unlabelled is not learnt, and needs no colour beside others that have one;
a background without one is black. Lines with the same name are one class. A header and lines that begin with # are left
out.
"""
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cli import BadInput
from data_layers.reading import read_lines

NAMES = ('classes.txt', 'class_names.txt', 'labels.txt', 'labelmap.txt', 'label_colors.txt', 'label_colours.txt',
         'class_dict.csv', 'classes.csv', 'codes.txt', 'colors.txt', 'colours.txt')
VOID_NAMES = {'void', 'ignore', '__ignore__', 'ignored', 'unlabeled', 'unlabelled'}
BLACK = 0, 0, 0
HEADER = {'name', 'class', 'label', 'id', 'index', 'number', 'r', 'g', 'b', 'red', 'green', 'blue', 'color_rgb',
          'colour', 'color', 'parts', 'actions'}
MOST_CHARACTERS = 500       # of a line: a name, a number and a colour have fewer
LINE = re.compile(r'((?:\d+[\s,;:]+)*)(.*?)((?:[\s,;:]+\d+)*)[\s,;:]*')


class Entry(NamedTuple):
    """One line of a list.

    Attributes
    ----------
    name : str or None
        Of the class; None for void.
    written : str
        The name as the list has it.
    number : int
        What stands for it in index masks.
    colour : tuple of int, optional
        What stands for it in colour masks: R, G and B.
    """
    name: str | None
    written: str
    number: int
    colour: tuple[int, ...] | None


class ClassList(NamedTuple):
    """The lines of a list; `numbered` when it states numbers itself."""
    path: Path
    entries: list[Entry]
    numbered: bool

    @property
    def coloured(self) -> bool:
        """Whether the list gives colours."""
        return has_colours(self.entries)


def has_colours(entries: Sequence[Entry]) -> bool:
    """Whether lines of a list have colours; void may lack one."""
    return any(entry.colour for entry in entries)


def find(folder: Path) -> ClassList | None:
    """Find the list of classes in a folder, under one of the usual names `NAMES`, and read it.

    Raises
    ------
    BadInput
        As of `read`.
    """
    path = next((path for name in NAMES if (path := folder / name).exists() and not path.is_dir()), None)
    return read(path) if path else None


def read(path: Path) -> ClassList:
    """Read a list of classes.

    Raises
    ------
    BadInput
        The file cannot be read, has no class, or a line has another form than the others or than any known.
    """
    rows = []
    for line in read_lines(path):
        if len(line) > MOST_CHARACTERS:
            raise BadInput(f'{path} has a line of {len(line)} characters, {line[:40]!r} ...; write one class a line, '
                           f'of at most {MOST_CHARACTERS} characters')
        words = [word for word in re.split(r'[\s,;:]+', line.lower()) if word]
        if line.startswith('#') or (len(words) > 1 and HEADER.issuperset(words)):
            continue
        rows.append((line, *parse(line, path)))
    if not rows:
        raise BadInput(f'{path} names no class; write one a line')
    if any(row[3] for row in rows):
        rows = [(line, name, number, BLACK if colour is None and name.lower() == 'background' else colour)
                for line, name, number, colour in rows]
    for column, what in ((2, 'number'), (3, 'colour')):
        given = [row[column] is not None or (what == 'colour' and row[1].lower() in VOID_NAMES) for row in rows]
        if any(row[column] is not None for row in rows) and not all(given):
            raise BadInput(f'{path}: the line {rows[given.index(False)][0]!r} has no {what}, others have one; give '
                           f'every class its {what}')
    numbered, entries, count = rows[0][2] is not None, [], 0
    for _, name, number, colour in rows:
        is_void = name.lower() in VOID_NAMES
        entries.append(Entry(None if is_void else name.strip('_') if name == '_background_' else name, name,
                             count if number is None else number, colour))
        count += name != '__ignore__'   # labelme's, which has no number
    return ClassList(path, entries, numbered)


def parse(line: str, path: Path) -> tuple[str, int | None, tuple[int, ...] | None]:
    """The name, number and colour of a line.

    Parameters
    ----------
    line : str
        Not empty.
    path : path
        Where it comes from, for the complaint.

    Returns
    -------
    name : str
        Of the class, as written.
    number : int or None
        What stands for it in index masks.
    colour : tuple of int or None
        R, G and B.

    Raises
    ------
    BadInput
        The line has no name, or numbers that are neither a number nor a colour.

    Examples
    --------
    >>> parse('7: traffic light', Path('classes.txt'))
    ('traffic light', 7, None)
    >>> parse('road,128,64,128', Path('classes.txt'))
    ('road', None, (128, 64, 128))
    >>> parse('zone 7', Path('classes.txt'))
    ('zone 7', None, None)
    """
    before, name, after = LINE.fullmatch(line).groups()     # type: ignore[union-attr]    # matches anything
    if len(re.findall(r'\d+', after)) in (1, 2) and not after.lstrip().startswith((',', ';', ':')):
        name, after = name + after, ''      # a name that ends in a number
    numbers = [int(number) for number in re.findall(r'\d+', before + after)]
    colour = tuple(numbers[-3:]) if len(numbers) in (3, 4) else None
    if not name or name.isdecimal() or len(numbers) not in (0, 1, 3, 4) or (colour and max(colour) > 255):
        raise BadInput(f'{path} has the line {line!r}; write the name of a class, before it perhaps its number and its '
                       'colour, as in "7 128 64 128 road"')
    number = numbers[0] if len(numbers) in (1, 4) else None
    return name, number, colour
