"""Which file in a folder is the mask of which photograph, and which of them train: found out from names alone.

Photographs and masks lie in folders of their own (images/ and masks/, JPEGImages/ and SegmentationClass/, Cityscapes'
leftImg8bit/ and gtFine/, CamVid's train/ and trainannot/, or 701_StillsRaw_full/ and LabeledApproved_full/), or side by
side (a.jpg and a.png, a.jpg and a_mask.png, labelme's a.jpg and a.json, Supervisely's img/a.jpg and
ann/a.jpg.json). Failing masks, annotation files of many photographs are looked into: COCO, CVAT, Label Studio. Splits
are folders named train, val, test, or lists train.txt, val.txt; failing that, one is drawn.
"""
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from cli import BadInput
from data_layers import cityscapes
from data_layers.own import annotations, classlist, exported, supervisely
from data_layers.own.classlist import ClassList
from data_layers.reading import IMAGES, read_json, read_lines

HELD_OUT = 5        # of so many photographs, one is scored and not trained on
LOSSLESS = {'.png', '.bmp', '.tif', '.tiff', '.webp'}
# What the names of folders and files say. The deepest folder that says anything decides.
MASK_FOLDER = re.compile(r'mask|label|annot|segmentation|ground.?truth|^gt|[^a-z]gt([^a-z]|$)|^segs?$', re.I)
IMAGE_FOLDER = re.compile(r'image|img|photo|raw|rgb|frames|^color$|^pictures$', re.I)
OTHER_FOLDER = re.compile(r'segmentationobject|instances?$|visuali[sz]ation|overlay|preview|thumb|masks_human|'
                          r'^panoptic', re.I)
MASK_NAME = re.compile(r'[-_. ]((gt(fine|coarse)[-_])?(label|labeltrain)ids|l|p|masks?|labels?|gt|seg|segmentation)$',
                       re.I)
IMAGE_NAME = re.compile(r'[-_](leftimg8bit|image|img|rgb|photo)$', re.I)
OTHER_NAME = re.compile(r'[-_](colou?r|instance(train)?ids|polygons|vis|viz|overlay)$', re.I)
SPLIT_FOLDER = re.compile(r'(training|train|validation|valid|val|testing|test)($|[-_ \d]|annot|label|mask|image)', re.I)
SPLITS = {'train': ('train', 'training'), 'val': ('val', 'valid', 'validation'), 'test': ('test', 'testing')}
LISTS = ('', 'splits', 'lists', 'ImageSets/Segmentation', 'ImageSets')

CAMVID = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist')

Pair = tuple[str, str]      # photograph and mask, below the folder


@dataclass
class Layout:
    """What the names in a folder say.

    Attributes
    ----------
    name : str
        Of the layout, as people call it.
    splits : dict
        Split -> id -> pair.
    classes : ClassList, optional
        From a list in the folder, or known from the layout.
    closed : bool
        Whether values that `classes` lacks are void.
    notes : list of str
        What a user should know, a line each.
    """
    name: str
    splits: dict[str, dict[str, Pair]]
    classes: ClassList | None
    closed: bool = False
    notes: list[str] = field(default_factory=list)


def find(folder: Path, seed: int, classes: ClassList | None = None, apart: Sequence[str] = ()) -> Layout:
    """Look at the names in a folder.

    Parameters
    ----------
    folder : path
        With photographs and masks, at any depth.
    seed : int
        Of the split, if one must be drawn.
    classes : ClassList, optional
        The classes; by default those of a list in `folder`.
    apart : sequence of str
        Names of folders whose pictures are neither photographs nor masks, but further channels of photographs.

    Returns
    -------
    Layout
        With a train and a val split at least.

    Raises
    ------
    BadInput
        No photograph has a mask, or a list of a split does not fit.
    """
    paths = list_files(folder, apart)
    pairs, notes = find_pairs(folder, paths)
    found = None
    if not pairs and (found := exported.find(folder, paths, split_of)):
        pairs, notes = found.pairs, found.notes
    if not pairs:
        raise BadInput(f'{folder} has no photograph with a mask; put them into images/ and masks/ under the same names '
                       'or side by side as a.jpg with a.png, a_mask.png, or a.json of labelme, or add an annotation '
                       'file of COCO, CVAT or Label Studio')
    splits, made = find_splits(folder, pairs, seed)
    result = Layout('', splits, classes or classlist.find(folder), notes=notes + made)
    if found:
        result.name, result.classes = found.title, result.classes or found.classes
    else:
        recognise(folder, result)
    return result


def find_pairs(folder: Path, paths: list[PurePosixPath]) -> tuple[dict[tuple[str, str], Pair], list[str]]:
    """Find the mask of every photograph.

    Parameters
    ----------
    folder : path
        With photographs and masks, at any depth.
    paths : list of path
        As of `list_files`.

    Returns
    -------
    pairs : dict
        (Split by folder or '', name of the photograph) -> pair.
    notes : list of str
        What is left out.

    Raises
    ------
    BadInput
        Two photographs have one name.
    """
    pictures = [path for path in paths if path.suffix.lower() in IMAGES]
    masks = find_masks(pictures)
    photos: dict[tuple[str, str], PurePosixPath] = {}
    twice = []
    for path in (path for path in pictures if path not in masks):
        place = split_of(path), IMAGE_NAME.sub('', path.stem)
        if place in photos:
            other = next((one for one in (photos[place], path) if in_mask_folder(one) is None), path).parent.name
            twice.append(f'{place[1]}, {photos[place]} and {path}; give them different names' + (
                f'; or if {other} has further channels of the others, say --and {other}'
                if photos[place].parent != path.parent and other else ''))
        photos[place] = path
    found = defaultdict(list)
    for path in (path for path in paths if path in masks or path.suffix.lower() == '.json'):
        places = [(split_of(path), stem) for stem in stems(path)]
        found[next((place for place in places if place in photos), places[-1])].append(path)
    pairs = {place: (str(photos[place]), str(min(found[place], key=preference)))
             for place in photos if place in found}
    if pairs and twice:
        raise BadInput(f'{folder} has two photographs called {twice[0]}')
    bare = sorted(str(path) for place, path in photos.items() if place not in found)
    lost = sorted(str(paths[0]) for place, paths in found.items() if place not in photos and paths[0] in masks)
    notes = [f'left out, without a {what}: {names[0]}{f" and {len(names) - 1} more" if len(names) > 1 else ""}'
             for names, what in ((bare, 'mask'), (lost, 'photograph')) if names]
    return pairs, notes


def stems(path: PurePosixPath) -> list[str]:
    """What the photograph of a mask may be called, the likeliest first."""
    if path.suffix.lower() == '.json':
        stem = PurePosixPath(path.stem).stem if path.parent.name == supervisely.FOLDER else path.stem    # a.jpg.json
        return [stem, IMAGE_NAME.sub('', stem), MASK_NAME.sub('', stem)]
    return [path.stem, MASK_NAME.sub('', path.stem)]


def list_files(folder: Path, apart: Sequence[str] = ()) -> list[PurePosixPath]:
    """The pictures and annotation files below a folder, sorted, without hidden ones and those that are neither side.

    Parameters
    ----------
    folder : path
    apart : sequence of str
        As of `find`.

    Raises
    ------
    BadInput
        A name cannot be written into a list of a split.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.') and not OTHER_FOLDER.search(name)
                      and name not in apart]
        inside = PurePosixPath(Path(place).relative_to(folder).as_posix())
        found += [inside / name for name in names if not name.startswith('.')]
    paths = sorted(path for path in found if path.suffix.lower() in IMAGES | annotations.SUFFIXES
                   and not (in_mask_folder(path) and OTHER_NAME.search(path.stem)))
    for path in paths:
        if not is_listable(path):
            raise BadInput(f'{folder} has the file {str(path)!r}, whose name has a tab, a line break, a backslash, a '
                           'space at an end or bytes that are not UTF-8; rename it')
    return paths


def is_listable(path: PurePosixPath) -> bool:
    """Whether a list of a split, a line a sample and its fields apart by tabs, gives the name back as it is."""
    text = str(path)
    return (text.splitlines() == [text] and not {'\t', '\\'} & set(text) and text == text.strip()
            and path.stem == path.stem.strip() and text.encode(errors='replace') == os.fsencode(text))


def in_mask_folder(path: PurePosixPath) -> bool | None:
    """What the folders of a file say: True for masks, False for photographs, None for nothing."""
    for name in reversed(path.parts[:-1]):
        if MASK_FOLDER.search(name):
            return True
        if IMAGE_FOLDER.search(name):
            return False
    return None


def find_masks(pictures: list[PurePosixPath]) -> set[PurePosixPath]:
    """Those of the pictures that are masks: by their folder, or by their name beside a photograph's."""
    names = {(path.parent, IMAGE_NAME.sub('', path.stem)) for path in pictures}
    photos = {(path.parent, path.stem) for path in pictures if path.suffix.lower() in ('.jpg', '.jpeg')}

    def beside(path: PurePosixPath) -> bool:
        return ((path.parent, MASK_NAME.sub('', path.stem)) in names if MASK_NAME.search(path.stem) else
                path.suffix.lower() in LOSSLESS and (path.parent, path.stem) in photos)

    by_folder = {path: in_mask_folder(path) for path in pictures}
    return {path for path in pictures if by_folder[path] or by_folder[path] is None and beside(path)}


def preference(path: PurePosixPath) -> tuple[bool, bool, str]:
    """Sort key of several masks of one photograph: pictures before polygons, all ids before training ids."""
    return path.suffix.lower() == '.json', 'train' in path.stem.lower(), str(path)


def split_of(path: PurePosixPath) -> str:
    """The split that the folders of a file name, or ''."""
    for name in reversed(path.parts[:-1]):
        if match := SPLIT_FOLDER.match(name):
            return next(split for split, words in SPLITS.items() if match[1].lower() in words)
    return ''


def find_splits(folder: Path, pairs: dict[tuple[str, str], Pair], seed: int,
                ) -> tuple[dict[str, dict[str, Pair]], list[str]]:
    """Deal the pairs out to train, val and perhaps test.

    Parameters
    ----------
    folder : path
        Where lists of splits may lie.
    pairs : dict
        As of `find_pairs`.
    seed : int
        Of the split, if one must be drawn.

    Returns
    -------
    splits : dict
        Split -> id -> pair.
    notes : list of str
        Where the splits come from.

    Raises
    ------
    BadInput
        As of `read_ids` and `draw_split`.
    """
    count = Counter(key for _, key in pairs)    # ids name the files of results, so none may come twice
    ids = {(split, key): key if count[key] == 1 else f'{split}_{key}' for split, key in pairs}
    by_id = {ids[place]: pair for place, pair in pairs.items()}
    splits: dict[str, list[str]] = defaultdict(list)
    if any(split for split, _ in pairs):
        for (split, _), id in ids.items():
            splits[split or 'train'].append(id)
        notes = ['splits are the folders']
    else:
        splits, notes = read_lists(folder, by_id)
    if 'val' not in splits and 'test' in splits:
        splits['val'] = splits.pop('test')
        notes.append('val is what is called test')
    if 'val' not in splits or 'train' not in splits:
        splits, drawn = draw_split(sorted(by_id), seed)
        notes.append(drawn)
    return {split: {id: by_id[id] for id in members} for split, members in splits.items() if members}, notes


def read_lists(folder: Path, by_id: dict[str, Pair]) -> tuple[dict[str, list[str]], list[str]]:
    """Read the splits that lists beside the pictures name; with one list alone, the rest is the other split.

    Parameters
    ----------
    folder : path
        Where the lists may lie, or in its `LISTS`.
    by_id : dict
        Id -> pair.

    Returns
    -------
    splits : dict
        Split -> ids; empty without lists.
    notes : list of str
        Where the lists are.

    Raises
    ------
    BadInput
        As of `read_ids`.
    """
    splits: dict[str, list[str]] = {}
    for place in LISTS:
        for split, words in SPLITS.items():
            for path in (folder / place / f'{word}.txt' for word in words):
                if path.exists() and not path.is_dir():
                    splits[split] = read_ids(path, by_id)
        if splits:
            break
    if len(splits) == 1 and (rest := sorted(by_id.keys() - {*next(iter(splits.values()))})):
        splits['train' if 'train' not in splits else 'val'] = rest
    return splits, [f'splits are the lists in {folder / place}'] if splits else []


def read_ids(path: Path, by_id: dict[str, Pair]) -> list[str]:
    """Read the ids of a list, whose lines begin with an id or the file of a photograph.

    Parameters
    ----------
    path : path
        The list.
    by_id : dict
        Id -> pair.

    Returns
    -------
    list of str
        In the order of the list, each once.

    Raises
    ------
    BadInput
        The list cannot be read, or names what has no pair.
    """
    found = []
    for line in read_lines(path):
        names = [PurePosixPath(text).name for text in (line, line.split()[0])]
        candidates = [stem for name in names for stem in (name, PurePosixPath(name).stem,
                                                          IMAGE_NAME.sub('', PurePosixPath(name).stem))]
        id = next((name for name in candidates if name in by_id), None)
        if id is None:
            raise BadInput(f'{path} lists {line!r}, which has no photograph with a mask; add them, or remove the line')
        found.append(id)
    return list(dict.fromkeys(found))


def draw_split(ids: list[str], seed: int) -> tuple[dict[str, list[str]], str]:
    """Hold out every fifth photograph, drawn by a seed.

    Parameters
    ----------
    ids : list of str
        All photographs.
    seed : int
        Of the draw.

    Returns
    -------
    splits : dict
        `train` and `val` -> ids, sorted.
    note : str
        Says so.

    Raises
    ------
    BadInput
        There is only one photograph.
    """
    if len(ids) < 2:
        raise BadInput(f'there is one photograph with a mask, {ids[0]}; at least two are needed, one is held out to be '
                       'scored')
    order = np.random.default_rng(seed).permutation(len(ids))
    count = max(1, len(ids) // HELD_OUT)
    val = sorted(ids[i] for i in order[:count])
    return ({'train': sorted({*ids} - {*val}), 'val': val},
            f'no split came with the data: {count} of {len(ids)} photographs are held out, drawn by the seed {seed}')


def recognise(folder: Path, layout: Layout) -> None:
    """Give a layout its name, and the classes that it implies when `folder` has no list."""
    photo, mask = map(PurePosixPath, next(iter(next(iter(layout.splits.values())).values())))
    if mask.suffix.lower() == '.json':
        layout.name = annotations.format_of(read_json(folder / mask)).TITLE
        if layout.name == supervisely.TITLE and layout.classes is None:
            layout.classes = supervisely_classes(folder, mask)
    elif mask.stem.lower().endswith('gtfine_labelids'):
        layout.name, layout.closed = 'Cityscapes', layout.classes is None
        layout.classes = layout.classes or known(folder, cityscapes.NUMBERS)
    elif mask.stem.lower().endswith('gtfine_labeltrainids'):
        layout.name = 'Cityscapes, numbered for training'
        layout.classes = layout.classes or known(folder, dict(enumerate(cityscapes.SCORED)))
    elif mask.parent.name.lower() in ('trainannot', 'valannot', 'testannot'):
        layout.name, layout.closed = 'CamVid with 11 classes', layout.classes is None
        layout.classes = layout.classes or known(folder, dict(enumerate(CAMVID)))
    elif 'LabeledApproved_full' in mask.parts or (mask.parent.name == 'train_labels' and mask.stem.endswith('_L')):
        layout.name = 'CamVid'
    else:
        layout.name = 'one folder' if photo.parent == mask.parent else 'two folders'


def supervisely_classes(folder: Path, mask: PurePosixPath) -> ClassList | None:
    """The classes in the meta.json of Supervisely, in the folder of a mask or above; None without."""
    path = next((path for parent in mask.parents if (path := folder / parent / supervisely.META).is_file()), None)
    listed = supervisely.classes(read_json(path)) if path else []
    return exported.list_of(path, listed) if path and listed else None


def known(folder: Path, names: dict[int, str]) -> ClassList:
    """The classes of a known layout, number -> name, as if a list in `folder` named them."""
    return ClassList(folder / classlist.NAMES[0],
                     [classlist.Entry(name, name, number, None) for number, name in names.items()], True)
