"""Which photograph in a folder is meant by which entry of an annotation file that describes many.

Such files name photographs as they lay where the file was written. Here they are looked for among the pictures below
the folder, by as much of the end of their path as agrees; so nothing outside of the folder is ever read.
"""
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cli import BadInput
from data_layers.own import annotations
from data_layers.own.classlist import VOID_NAMES, ClassList, Entry
from data_layers.own.exports import Export, Photo
from data_layers.own.shapes import GROUND
from data_layers.reading import IMAGES

FIRST = 'instances'     # how the file begins that COCO's own data have of their 80 classes, beside others
COLOUR = re.compile(r'#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})', re.I)


class Exported(NamedTuple):
    """What annotation files of many photographs say of a folder.

    Attributes
    ----------
    pairs : dict
        (Split or '', id) -> photograph and the path of its annotations, below the folder.
    classes : ClassList, optional
        None where the files do not list any.
    title : str
        What people call the format.
    notes : list of str
        What is left out.
    """
    pairs: dict[tuple[str, str], tuple[str, str]]
    classes: ClassList | None
    title: str
    notes: list[str]


def find(folder: Path, paths: Sequence[PurePosixPath], split_of: Callable[[PurePosixPath], str]) -> Exported | None:
    """Look for annotation files of many photographs, and for the photographs that they name.

    Parameters
    ----------
    folder : path
        Where all lie.
    paths : sequence of path
        The files below it.
    split_of : callable
        Path -> the split that its folders name, or ''.

    Returns
    -------
    Exported or None
        None without such a file.

    Raises
    ------
    BadInput
        A file is damaged, no photograph that it names is there, or one is meant twice.
    """
    opened, notes = open_all(folder, [path for path in paths if path.suffix.lower() in annotations.SUFFIXES])
    if not opened:
        return None
    pictures = defaultdict(list)
    for path in paths:
        if path.suffix.lower() in IMAGES:
            pictures[path.name].append(path)
    found: dict[PurePosixPath, tuple[str, str]] = {}    # photograph -> split and annotations
    for place, export in opened.items():
        missing = []
        words = (PurePosixPath(word) / 'x' for word in re.split('[^a-z]+', place.stem.lower()))
        own_split = next(filter(None, map(split_of, words)), '')
        for key, photo in export.photos.items():
            split = split_of(PurePosixPath(photo.split) / 'x') or own_split
            picture = match(folder, place, photo, split, pictures, split_of)
            if picture is None:
                missing.append(photo.names[0])
            elif picture in found:
                raise BadInput(f'{folder / picture} is annotated twice, by {found[picture][1]} and {place / key}; '
                               'leave one of them there')
            else:
                found[picture] = split or split_of(picture), str(place / key)
        notes += export.notes
        if missing:
            notes.append(f'left out, named by {place} but missing: {missing[0][:200]}'
                         + (f' and {len(missing) - 1} more' if len(missing) > 1 else ''))
    if not found:
        names = [photo.names[0] for export in opened.values() for photo in export.photos.values()]
        raise BadInput(f'{folder / next(iter(opened))} is of {next(iter(opened.values())).title}, but ' + (
            f'none of the {len(names)} photographs that it names is in {folder}, such as {names[0][:200]!r}; put them '
            'there' if names else 'names no photograph with annotations; export it again'))
    titles = dict.fromkeys(export.title for export in opened.values())
    return Exported(named(folder, found), classes_of(folder, opened), ', '.join(titles), notes)


def open_all(folder: Path, paths: list[PurePosixPath]) -> tuple[dict[PurePosixPath, Export], list[str]]:
    """Read the annotation files of many photographs; where some begin with `FIRST`, those alone.

    Returns
    -------
    opened : dict
        Path below the folder -> file.
    notes : list of str
        What is left out.

    Raises
    ------
    BadInput
        One that looks like such a file cannot be read.
    """
    opened = {}
    for path in paths:
        if (export := annotations.open_export(folder / path)) is not None:
            opened[path] = export
    first = {path: export for path, export in opened.items() if path.name.startswith(FIRST)}
    if first and len(first) < len(opened):
        others = [str(path) for path in opened if path not in first]
        return first, [f'left out: {others[0]}{f" and {len(others) - 1} more" if len(others) > 1 else ""}, since '
                       f'{next(iter(first))} is there']
    return opened, []


def match(folder: Path, place: PurePosixPath, photo: Photo, split: str, pictures: dict[str, list[PurePosixPath]],
          split_of: Callable[[PurePosixPath], str]) -> PurePosixPath | None:
    """The picture that an annotation file means; None if it is missing.

    Parameters
    ----------
    folder : path
        Where all lie, for the complaint.
    place : path
        The annotation file.
    photo : Photo
        What it is called there.
    split : str
        What the file says of its split, or ''.
    pictures : dict
        Name -> all pictures of that name.
    split_of : callable
        As for `find`.

    Raises
    ------
    BadInput
        Several pictures may be meant.
    """
    for name in photo.names:
        parts = PurePosixPath(name.replace('\\', '/')).parts
        agreement = {path: agreeing(path.parts, parts) for path in pictures.get(parts[-1] if parts else '', ())}
        if not agreement:
            continue
        best = [path for path, length in agreement.items() if length == max(agreement.values())]
        if len(best) > 1:
            best = ([path for path in best if path.parts in (parts, (place.parent / name).parts)] or
                    [path for path in best if split and split_of(path) == split] or
                    [path for path in best if path.is_relative_to(place.parent)] or best)
        if len(best) > 1:
            raise BadInput(f'{folder / place} names {name[:200]!r}, which may be {best[0]} or {best[1]}; give them '
                           'different names, or leave one there')
        return best[0]
    return None


def agreeing(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts of two paths agree, from their ends."""
    count = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def named(folder: Path, found: dict[PurePosixPath, tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Give every photograph an id: its name, or its path where a split has the name twice.

    Raises
    ------
    BadInput
        That comes twice too.
    """
    count = Counter((split, path.stem) for path, (split, _) in found.items())
    pairs: dict[tuple[str, str], tuple[str, str]] = {}
    for path, (split, label) in sorted(found.items()):
        place = split, path.stem if count[split, path.stem] == 1 else '_'.join(path.with_suffix('').parts)
        if place in pairs:
            raise BadInput(f'{folder} has two photographs called {place[1]}, {pairs[place][0]} and {path}; give them '
                           'different names')
        pairs[place] = str(path), label
    return pairs


def classes_of(folder: Path, opened: dict[PurePosixPath, Export]) -> ClassList | None:
    """The classes that annotation files list, in their order; None if they list none."""
    listed = [entry for export in opened.values() for entry in export.classes]
    ground = any(export.ground for export in opened.values())
    return list_of(folder / next(iter(opened)), listed, ground) if listed else None


def list_of(path: Path, listed: Sequence[tuple[str, Any]], ground: bool = True) -> ClassList:
    """A list of classes as if a file named them, after what no shape covers.

    Parameters
    ----------
    path : path
        The file, for complaints.
    listed : sequence of (str, object)
        Name and colour of each; colours such as '#ff8000' count where all have one.
    ground : bool
        Whether what no shape covers is the class background; else it is void.
    """
    colours = {name: colour_of(colour) for name, colour in listed}
    coloured = all(colours.values())
    entries = [Entry('background' if ground else None, GROUND, 0, (0, 0, 0) if coloured else None)]
    entries += [Entry(None if name.lower() in VOID_NAMES else name, name, number, colour if coloured else None)
                for number, (name, colour) in enumerate(colours.items(), 1) if name != GROUND]
    return ClassList(path, entries, False)


def colour_of(text: Any) -> tuple[int, ...] | None:
    """Red, green and blue of a colour such as '#ff8000'; None for other text."""
    found = COLOUR.fullmatch(text) if isinstance(text, str) else None
    return tuple(int(digits, 16) for digits in found.groups()) if found else None
