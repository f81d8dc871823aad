"""A first look at your own data: every photograph and mask is read, and the usual mistakes are told apart.

The mistakes people make with masks have each a cause and a remedy: colours where class numbers are expected, 0 and 255
for no and yes, numbers that begin at 1, masks of another size than their photograph, a class that the list lacks.
"""
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from cli import BadInput, printable, progress, table
from data_layers.bands import Bands, beside
from data_layers.own import annotations, channels, turned
from data_layers.own.classlist import VOID_NAMES, ClassList, Entry
from data_layers.own.evidence import Evidence, measure_masks
from data_layers.own.folder import Card
from data_layers.own.layouts import Layout
from data_layers.own.masks import Colourful, read_stored, stored_size
from data_layers.own.readings import Question, doubts, looks_void, question, unnamed
from data_layers.own.shapes import GROUND, IGNORED
from data_layers.reading import LARGE, VOID, open_picture, picture_size, read_rgb
from workers import spread

Job = tuple[str, str, str, str]     # split, id, photograph and mask
MEASURED = 32       # masks, evenly spaced, by which it is decided what their values are
BLURRED = 20        # values that no class has, from which on they are taken for the traces of a lossy format


@dataclass
class Found:
    """What one photograph and its mask hold.

    Attributes
    ----------
    label : str
        File of the mask, below the folder.
    size, masked : (int, int)
        Width and height of the photograph and of the mask, in pixels.
    turned : bool
        Whether EXIF says that the photograph is to be turned, so that height and width change places.
    uncertain : bool
        Whether it has such a note, and nothing tells whether the mask was drawn before it is turned or after.
    sums : array
        3, float64: the sums of B, G and R, of colours of 8 bits.
    drawn : list of array
        Of other pictures, some values of each channel, as of `channels.sample`.
    values : dict
        Value stored in the mask -> pixels.
    colourful : bool
        Whether class numbers were expected and colours found.
    problem : str, optional
        Why a file could not be read.
    """
    label: str
    size: tuple[int, int] = (0, 0)
    masked: tuple[int, int] = (0, 0)
    turned: bool = False
    uncertain: bool = False
    sums: np.ndarray = field(default_factory=lambda: np.zeros(3))
    drawn: list[np.ndarray] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    colourful: bool = False
    problem: str | None = None


@dataclass
class Survey:
    """What a folder holds.

    Attributes
    ----------
    folder : path
        With the photographs and masks.
    layout : Layout
        What the names say.
    card : Card
        The description that follows.
    found : dict
        Split -> id -> what the photograph and its mask hold.
    mistakes : list of str
        A line each; the description can be used if it is empty.
    lists : list of str
        The lists of classes, whole, between which the user is to decide, if there is such a mistake.
    """
    folder: Path
    layout: Layout
    card: Card
    found: dict[str, dict[str, Found]]
    mistakes: list[str]
    lists: list[str] = field(default_factory=list)

    @property
    def pixels(self) -> int:
        """Pixels of a training photograph, the median."""
        return int(median(one.size[0] * one.size[1] for one in self.found['train'].values()))

    def counts(self, split: str) -> list[Counter[str | None]]:
        """For each photograph of a split, the pixels of each class and of void (None)."""
        result = [Counter[str | None]() for _ in self.found[split]]
        for counter, one in zip(result, self.found[split].values(), strict=True):
            for key, pixels in one.values.items():
                counter[self.card.values.get(key)] += pixels
        return result

    def balance(self) -> list[float]:
        """Weights of the classes by the median of their frequencies (Eigen and Fergus, ICCV 2015).

        The frequency of a class is its share of the labelled pixels in the training photographs that show it; one that
        none shows weighs 1.

        Returns
        -------
        list of float
            In the order of the classes.
        """
        counts = self.counts('train')
        shares = []
        for name in self.card.classes:
            shown = [one for one in counts if one.get(name)]
            labelled = sum(pixels for one in shown for other, pixels in one.items() if other is not None)
            shares.append(sum(one[name] for one in shown) / labelled if shown else None)
        middle = median(share for share in shares if share)
        return [round(middle / share, 4) if share else 1.0 for share in shares]

    def __str__(self) -> str:
        lines = [f'{self.folder}: {self.layout.name}, {self.card.masks} masks',
                 *(f'  {split:<12}{len(found):>8} photographs' for split, found in self.found.items())]
        widths, heights = (sorted(one.size[axis] for found in self.found.values() for one in found.values())
                           for axis in (0, 1))
        lines.append(f'  sizes       {widths[0]}x{heights[0]} to {widths[-1]}x{heights[-1]} pixels')
        counts = [one for split in self.found for one in self.counts(split)]
        total = sum(counts, Counter[str | None]())
        labelled = max(sum(total.values()) - total[None], 1)
        lines.append(f'{"classes":<20}{"% of pixels":>12}{"images":>9}   (void '
                     f'{100 * total[None] / max(sum(total.values()), 1):.2f} %)')
        stored: dict[str | None, list[str]] = {}
        for key, name in self.card.values.items():
            stored.setdefault(name, []).append(key)
        lines += [f'  {name:<18}{100 * total[name] / labelled:>12.3f}{sum(1 for one in counts if one.get(name)):>9}'
                  f'   stored as {", ".join(stored.get(name, ["nothing"])[:6])}' for name in self.card.classes]
        if self.card.pictures:
            lines += picture_lines(self.card.pictures, self.card.mean)
        else:
            lines.append(f'mean (B, G, R): {", ".join(f"{value:.3f}" for value in self.card.mean)}')
        lines += [f'note: {note}' for note in self.layout.notes] + self.lists
        return '\n'.join(map(printable, lines))


def picture_lines(pictures: Bands, mean: tuple[float, ...]) -> list[str]:
    """What the channels of pictures are that are not colours of 8 bits, a line each."""
    rows = [('channels', 'band', 'window', 'mean'), *(
        (f'  {name}', str(band), f'{low:g} to {high:g}', f'{value:.3f}') for name, band, (low, high), value in zip(
            pictures.channels, pictures.bands, pictures.window, mean, strict=True))]
    also = [f'bands are counted through each picture and its files in {", ".join(pictures.also)}'] if (
        pictures.also) else []
    return [*table(rows).split('\n'), *also]


def survey(folder: Path, layout: Layout, workers: int | None = None, also: Sequence[str] = (),
           alpha: bool = False) -> Survey:
    """Read every photograph and mask of a layout, in parallel.

    Parameters
    ----------
    folder : path
        With the photographs and masks.
    layout : Layout
        As of `layouts.find`; gets notes about classes that no training photograph shows.
    workers : int, optional
        Processes; by default one a core.
    also, alpha
        As of `channels.find`.

    Returns
    -------
    Survey
        With the `mistakes`, each a line that says what is wrong and what to do.

    Raises
    ------
    BadInput
        The masks are of two kinds; or a file killed the process that read it.
    """
    masks = mask_kind(folder, layout)
    pictures, notes = channels.find(folder, [pair[0] for pairs in layout.splits.values() for pair in pairs.values()],
                                    also, alpha)
    layout.notes += notes
    jobs = [(split, id, *pair) for split, pairs in layout.splits.items() for id, pair in pairs.items()]
    found: dict[str, dict[str, Found]] = {split: {} for split in layout.splits}
    inspected = inspect_all(folder, masks, jobs, workers, pictures)
    for split, id, one in progress(inspected, total=len(jobs), desc='look at', unit='image'):
        found[split][id] = one
    every = [one for split in found.values() for one in split.values()]
    classes, values = meanings(layout, masks, every)
    evidence = gather(folder, layout, masks, values, every, workers)
    asked = open_question(folder, layout, masks, values, every, evidence)
    wrong = mistakes(folder, layout, masks, values, classes, every, asked, evidence)
    sums = np.sum([one.sums for one in found['train'].values()], axis=0)
    pixels = sum(one.size[0] * one.size[1] for one in found['train'].values())
    mean = tuple(round(float(value), 3) for value in sums / max(pixels, 1))
    if pictures:
        pictures, mean = seen_through(folder, layout, pictures, found, workers)
    card = Card(folder, masks, classes, values, mean, colours_of(layout, classes), pictures)
    result = Survey(folder, layout, card, found, wrong, list(asked.lists) if asked else [])
    if not wrong:
        layout.notes += doubts(values, evidence, layout.classes)
    for name in classes:
        if not any(one.get(name) for one in result.counts('train')):
            layout.notes.append(f'no training photograph shows {name}: it will not be learnt')
    return result


def seen_through(folder: Path, layout: Layout, pictures: Bands, found: dict[str, dict[str, Found]],
                 workers: int | None) -> tuple[Bands, tuple[float, ...]]:
    """The windows of pictures that are not colours of 8 bits, and the mean of each channel after that."""
    whole = {id: one for id, one in found['train'].items() if one.drawn}
    if not whole:       # which the mistakes tell
        return pictures, (0.0,) * len(pictures.channels)
    pictures = channels.with_windows(pictures, [one.drawn for one in whole.values()])
    return pictures, channels.means(folder, [layout.splits['train'][id][0] for id in whole], pictures, workers)


def mask_kind(folder: Path, layout: Layout) -> str:
    """How the masks are to be read.

    Parameters
    ----------
    folder : path
        With the masks.
    layout : Layout
        Which files are masks.

    Returns
    -------
    str
        One of `masks.KINDS`.

    Raises
    ------
    BadInput
        The masks are of two kinds.
    """
    paths = [folder / pair[1] for pairs in layout.splits.values() for pair in pairs.values()]
    drawn = [path for path in paths if annotations.is_drawn(path)]
    if drawn:
        if len(drawn) < len(paths):
            other = next(path for path in paths if path not in drawn)
            raise BadInput(f'{folder} has masks of two kinds, {drawn[0]} and {other}; leave one kind there')
        return 'polygons'
    modes = {mode_of(path) for path in paths}
    if layout.classes and layout.classes.coloured and (
            modes & {'RGB', 'RGBA'} or ('P' in modes and not layout.classes.numbered)):
        return 'colour'
    return 'index'


def mode_of(path: Path) -> str:
    """The mode of a picture, from its first bytes; '' when it is none that can be read."""
    try:
        with open_picture(path) as picture:
            return picture.mode
    except BadInput:    # reported when it is read
        return ''


def inspect_all(folder: Path, masks: str, jobs: list[Job], workers: int | None, pictures: Bands | None = None,
                ) -> Iterator[tuple[str, str, Found]]:
    """Inspect all pairs, in order, in several processes."""
    few = len(jobs) < 16        # for which no process is worth its start
    return spread(inspect, jobs, 1 if few else workers, lambda job: folder / job[2],
                  (folder, masks, pictures, len(jobs)))


def inspect(folder: Path, masks: str, pictures: Bands | None, count: int, job: Job) -> tuple[str, str, Found]:
    """Read one photograph and its mask.

    Parameters
    ----------
    folder : path
        Where both are.
    masks : str
        The kind of the masks, one of `masks.KINDS`.
    pictures : Bands, optional
        What the photographs are where they are not colours of 8 bits.
    count : int
        How many pairs there are.
    job : (str, str, str, str)
        Split, id, photograph and mask.

    Returns
    -------
    split, id : str
        The same.
    found : Found
        What they hold; what cannot be read is its problem.
    """
    split, id, photo, label = job
    found = Found(label)
    try:
        if unequal(found, picture_size(folder / photo), stored_size(folder / label)):
            found.turned = turned.note_of(folder / photo) > 4
            return split, id, found
        look_at(found, folder / photo, pictures, count)
        try:
            positions, keys = read_stored(folder / label, masks)
        except Colourful:
            found.colourful = True
            positions, keys = read_stored(folder / label, 'colour')
        found.masked = positions.shape[1], positions.shape[0]
        found.turned = found.masked != found.size and turned.note_of(folder / photo) > 4
        found.uncertain = found.masked == found.size and turned.uncertain(folder / photo, folder / label)
        found.values = dict(zip(keys, np.bincount(positions.ravel(), minlength=len(keys)).tolist(), strict=True))
    except BadInput as problem:
        found.problem = str(problem)
    return split, id, found


def look_at(found: Found, photo: Path, pictures: Bands | None, count: int) -> None:
    """Note the size of a photograph, and what its mean or its window is found from; arguments as of `inspect`."""
    if pictures:
        for other in pictures.also:
            turned.check(photo, beside(photo, other))
        planes = pictures.values(photo)
        found.size = planes[0].shape[1], planes[0].shape[0]
        found.drawn = channels.sample(pictures, planes, count)
    else:
        image = read_rgb(photo)
        found.size = image.shape[1], image.shape[0]
        found.sums = image[:, :, ::-1].sum((0, 1), dtype=np.float64)


def unequal(found: Found, photo: tuple[int, int] | None, mask: tuple[int, int] | None) -> bool:
    """Whether a photograph and its mask, one of them `LARGE`, differ in size, so that neither need be decoded.

    Parameters
    ----------
    found : Found
        Gets both sizes if so.
    photo, mask : (int, int), optional
        Height and width in pixels, as the heads of the files say.
    """
    if not photo or not mask or photo == mask or max(photo[0] * photo[1], mask[0] * mask[1]) <= LARGE:
        return False
    found.size, found.masked = photo[::-1], mask[::-1]
    return True


def meanings(layout: Layout, masks: str, found: list[Found]) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """What the values stored in the masks mean.

    Parameters
    ----------
    layout : Layout
        With the list of classes, if there is one.
    masks : str
        The kind of the masks, one of `masks.KINDS`.
    found : list of Found
        Of all masks.

    Returns
    -------
    classes : tuple of str
        In the order of the net's output.
    values : dict
        Value, as dataset.json writes it -> its class, or None for void.
    """
    seen = sorted({key for one in found if not one.colourful for key in one.values}, key=natural)
    values: dict[str, str | None]
    if layout.classes:
        values = {key_of(entry, masks): entry.name for entry in layout.classes.entries
                  if masks != 'colour' or entry.colour}
    elif masks == 'polygons':
        values = {key: None if key.lower() in VOID_NAMES else key for key in seen if key != GROUND}
    else:
        values = {key: f'class {key}' for key in seen if key != str(VOID)}
    if masks == 'polygons' and GROUND not in values:
        values = {GROUND: 'background', **values}
    if masks == 'polygons' and IGNORED in seen:
        values.setdefault(IGNORED, None)
    if masks == 'index':
        values.setdefault(str(VOID), None)
        if layout.closed:
            values |= {key: None for key in seen if key not in values}
    classes = tuple(dict.fromkeys(name for name in values.values() if name is not None))
    return classes, values


def colours_of(layout: Layout, classes: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """The colours that a list gives the classes, of each the first; empty where it gives none."""
    listed = layout.classes.entries if layout.classes else []
    first = {entry.name: entry.colour for entry in reversed(listed) if entry.colour}
    return tuple(first[name] for name in classes) if all(name in first for name in classes) else ()


def key_of(entry: Entry, masks: str) -> str:
    """How dataset.json writes what stands for a class in the masks."""
    if masks == 'colour':
        return ' '.join(map(str, entry.colour or ()))
    return entry.written if masks == 'polygons' else str(entry.number)


def natural(key: str) -> tuple[int, int, str]:
    """Sort key: numbers as numbers, before words; names of very many digits are words."""
    return (0, int(key), '') if key.isdecimal() and len(key) < 20 else (1, 0, key)


def mistakes(folder: Path, layout: Layout, masks: str, values: dict[str, str | None], classes: tuple[str, ...],
             found: list[Found], asked: Question | None, evidence: Evidence) -> list[str]:
    """What is wrong with the masks.

    Parameters
    ----------
    folder : path
        With the photographs and masks.
    layout : Layout
        With the list of classes, if there is one.
    masks : str
        The kind of the masks, one of `masks.KINDS`.
    values, classes
        As of `meanings`.
    found : list of Found
        Of all masks.
    asked : Question, optional
        As of `open_question`.
    evidence : Evidence
        As of `gather`.

    Returns
    -------
    list of str
        A line each: the mistake, where it shows, the remedy.
    """
    lines = [one.problem for one in found if one.problem]
    lines += different_sizes(folder, found)
    if unsure := [one for one in found if one.uncertain]:
        lines.append(f'{some(len(unsure), "photograph has", "photographs have")} a note (EXIF) to turn them, which is '
                     f'followed here, and nothing shows whether {folder / unsure[0].label} was drawn before or after; '
                     f'{turned.REMEDY}')
    if any(one.colourful for one in found):
        return [*lines, colours_for_numbers(folder, layout, found)]
    strange = Counter(key for one in found for key in one.values if key not in values)
    listed = layout.classes.path if layout.classes else folder / 'classes.txt'
    if strange:
        lines.append(asked.line if asked else
                     missing_class(folder, layout.classes, listed, masks, strange, found, evidence))
    elif masks == 'index' and (two := no_and_yes(folder, listed, layout.classes, found)):
        lines.append(two)
    elif not lines and not 2 <= len(classes) <= VOID:
        lines.append(f'{folder} has {len(classes)} classes; a net tells apart at least 2 and at most {VOID}: correct '
                     f'{listed}, or the masks')
    return lines


def different_sizes(folder: Path, found: list[Found]) -> list[str]:
    """The line, if any, about masks of another size than their photograph."""
    wrong = [one for one in found if one.size != one.masked and not one.problem]
    if not wrong:
        return []
    one = wrong[0]
    remedy = ('the photograph has a note (EXIF) to turn it, which is followed here, and the mask is of the pixels as '
              'they are stored: turn the mask alike, or save the photograph without the note'
              if one.turned and one.size == one.masked[::-1] else
              'make both of one size; masks may only be resized with nearest neighbours, else new values appear')
    return [f'{some(len(wrong), "mask has", "masks have")} another size than the photograph: {folder / one.label} is '
            f'{one.masked[0]}x{one.masked[1]} pixels, the photograph {one.size[0]}x{one.size[1]}; {remedy}']


def colours_for_numbers(folder: Path, layout: Layout, found: list[Found]) -> str:
    """The line about RGB masks without a list that says which colour is which class."""
    wrong = [one for one in found if one.colourful]
    most = sum((Counter(one.values) for one in wrong), Counter[str]()).most_common(BLURRED + 1)
    begin = (f'{some(len(wrong), "mask holds", "masks hold")} colours, not class numbers ({folder / wrong[0].label}), '
             'and no list says which colour is which class; ')
    if len(most) > BLURRED:
        return begin + (f'with more than {BLURRED} colours they may be photographs, or saved in a lossy format: save '
                        'the masks as PNG, without smoothing')
    path = layout.classes.path if layout.classes else folder / 'classes.txt'
    names = [entry.written for entry in layout.classes.entries] if layout.classes else []
    example = ', '.join(f'"{key} {names[i] if i < len(names) else "NAME"}"' for i, (key, _) in enumerate(most[:5]))
    return begin + (f'write a line for each of the {len(most)} colours into {path}, such as {example} (see that the '
                    'names fit)')


def no_and_yes(folder: Path, path: Path, classes: ClassList | None, found: list[Found]) -> str | None:
    """The line, if any, about masks of 0 and 255 alone, when 255 would be void."""
    seen = {key for one in found for key in one.values}
    if str(VOID) not in seen or not seen <= {'0', str(VOID)} or (
            classes and any(entry.number == VOID for entry in classes.entries)):
        return None
    listed = [entry.written for entry in classes.entries] if classes else []
    names = listed if len(listed) == 2 else ['background', listed[0] if len(listed) == 1 else 'NAME']
    return (f'the masks have the values 0 and 255 alone ({folder / found[0].label}), as pictures in black and '
            f'white have; 255 would be void, and one class would be left: write the lines "0 {names[0]}" and '
            f'"255 {names[1]}" into {path}')


def open_question(folder: Path, layout: Layout, masks: str, values: dict[str, str | None], found: list[Found],
                  evidence: Evidence) -> Question | None:
    """How masks are read that have other values than a list without numbers; None where the values fit or never could.

    Parameters
    ----------
    folder, layout, masks, values, found, evidence
        As of `mistakes`.
    """
    seen = Counter(key for one in whole(found) for key in one.values)
    strange = seen.keys() - values.keys()
    if masks != 'index' or not strange or layout.classes is None or layout.classes.numbered or (
            len(strange) > BLURRED or any(one.colourful for one in found)):
        return None
    return question(layout.classes, sorted(seen, key=natural), evidence,
                    lambda key: str(folder / next(one.label for one in found if key in one.values)))


def whole(found: list[Found]) -> list[Found]:
    """Those whose photograph and mask can be read and are of one size."""
    return [one for one in found if one.values and not one.problem and one.size == one.masked]


def gather(folder: Path, layout: Layout, masks: str, values: dict[str, str | None], found: list[Found],
           workers: int | None) -> Evidence:
    """What masks say of their values: measured on `MEASURED` that have strange ones, and as many of all.

    Parameters
    ----------
    folder, layout, masks, values, found
        As of `mistakes`.
    workers : int, optional
        Processes.

    Returns
    -------
    Evidence
        Empty where nothing is to be decided: of polygons, of known layouts, of colours or values without end.
    """
    used = whole(found)
    strange = {key for one in used for key in one.values if key not in values}
    evidence = Evidence(len(used))
    seen = {key for one in used for key in one.values}
    if masks == 'polygons' or layout.closed or len(strange) > BLURRED or len(seen) > VOID + 1 or any(
            one.colourful for one in found):
        return evidence
    odd, every = [one.label for one in used if strange & one.values.keys()], [one.label for one in used]
    chosen = {labels[at * len(labels) // MEASURED] for labels in (odd, every) for at in range(MEASURED) if labels}
    evidence += measure_masks(folder, masks, sorted(chosen), workers)
    for one in used:
        evidence.sums['stored'].update(one.values)
        evidence.sums['images'].update(one.values.keys())
    return evidence


def missing_class(folder: Path, classes: ClassList | None, path: Path, masks: str, strange: Counter[str],
                  found: list[Found], evidence: Evidence) -> str:
    """The line about values that no class of the list has; `strange` is how many masks have each."""
    key, count = strange.most_common(1)[0]
    one = next(one for one in found if key in one.values)
    what = {'index': 'value', 'colour': 'colour', 'polygons': 'name'}[masks]
    names = ', '.join(sorted(strange, key=natural)[:8])
    begin = f'the masks have {some(len(strange), what, what + "s")} that {path} lacks'
    where = f'in {some(count, "mask", "masks")}, {folder / one.label} for one'
    if len(strange) > BLURRED and masks != 'polygons':
        return (f'{begin}, such as {names} ({where}): as many come from a lossy format or from smoothing when '
                'resizing; save the masks as PNG, resize them with nearest neighbours')
    example = key
    if masks != 'polygons':
        example = unnamed(key, 'NAME', classes.entries if classes and masks == 'index' else [])
    unnumbered = masks == 'index' and classes and not classes.numbered
    if len(strange) == 1 and masks != 'polygons' and (figures := looks_void(key, evidence)):
        return (f'{begin}: {names} ({where}); it looks like void ({figures}): add the line "{key} void", or '
                f'"{example}" if it is a class' + ', and give the other lines their numbers too' * bool(unnumbered))
    return (f'{begin}: {names} ({key} {where}); add a line for each, such as "{example}", or '
            + ('name them like a class that is there' if masks == 'polygons' else f'"{key} void" to leave it out')
            + (', and give the other lines their numbers too' if unnumbered else ''))


def some(count: int, one: str, more: str) -> str:
    """A number and the word for as many."""
    return f'{count} {one if count == 1 else more}'
