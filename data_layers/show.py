"""A sheet of samples as the net gets them: each picture beside its labels over it, above a legend."""
import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

import cli
import files
from cli import BadInput
from data_layers import SEED, VOID, Dataset, augment, dataset_type, draw, is_training
from data_layers.dataset import CHECKOUT, runs_home
from data_layers.palette import PALETTE, palette_of, save, stamp, stamped
from data_layers.pictures import is_bare, strip

NETS = CHECKOUT / 'nets'
MOST = 200              # samples of a sheet
BOX = 240, 300          # pixels at most of the height and the width of a picture
WIDTH, NARROW = 1240, 240   # of a sheet, which takes as many samples beside each other as fit; and of one at least
GAP, SEAM, LINE = 12, 2, 22     # pixels between samples, between the pictures of one, and of a line of text
OPACITY = 0.55
INK, FAINT = (20, 20, 20), (110, 110, 110)
SOFTWARE = 'python -m data_layers show'     # what a sheet says it was made by

Picture = npt.NDArray[np.uint8]     # H x W x 3, RGB


@dataclass(frozen=True)
class Samples:
    """What a sheet shows.

    Attributes
    ----------
    dataset : Dataset
        The split.
    seed : int
        Of the stream.
    variation : dict
        Options of `augment`; empty for samples as they are on disk.
    """
    dataset: Dataset
    seed: int
    variation: dict[str, Any]

    def __iter__(self) -> Iterator[tuple[int, str, tuple[np.ndarray, ...]]]:
        """Position in the stream, id and arrays of one sample after the other, as `data_layers.layers` feeds them.

        A split that is not for training is gone through in its order. Samples that are not varied come once each.
        """
        dataset, photos = self.dataset, augment.photographs(self.dataset, **self.variation)
        ids = dataset.ids
        seen: set[str] = set()
        for position in itertools.count():
            id = ids[draw(self.seed, position, len(ids)) if is_training(dataset.split) else position % len(ids)]
            if not self.variation and id in seen:
                if len(seen) == len({*ids}):
                    return
                continue
            seen.add(id)
            sample = dataset.load(id)
            yield position, id, augment.augment(sample, self.seed, position, photos=photos, **self.variation)

    def title(self) -> str:
        """What the sheet shows, in a line."""
        order = f'drawn with seed {self.seed}' if is_training(self.dataset.split) else 'in order'
        how = augment.describe(self.variation).replace(',', ', ')
        return (f'{self.dataset.name} {self.dataset.split}: {order}, '
                f'{f"varied by {how}" if how else "as they are on disk"}')


def show(name: str, root: str | Path | None = None, split: str | None = None, tops: Sequence[str] | None = None,
         count: int = 8, vary: str | None = None, plain: bool = False, seed: int = SEED,
         out: Path | None = None) -> Path:
    """Write a sheet of samples.

    Parameters
    ----------
    name, root, split, tops
        As for `open_dataset`; by default the split and the tops that the nets train on, labels where there are any.
    count : int
        Samples at most.
    vary : str, optional
        Variations, as of `augment.parse`; by default those of the data set's own nets, in training.
    plain : bool
        Show them as they are on disk.
    seed : int
        Of the training stream.
    out : path, optional
        A .png; by default in `show` of the folder of the runs.

    Returns
    -------
    path
        The file that was written.

    Raises
    ------
    BadInput
        As of `Dataset` and `augment.parse`, or the call is wrong, or `out` is another's file.
    """
    kind = dataset_type(name, root)
    split = split or kind.training
    if tops is None and split in kind.unlabelled:
        tops = [top for top in kind.default_tops if top in kind.means]
    dataset = kind(split, root, tops)
    if not 1 <= count <= MOST or seed < 0:
        raise BadInput(f'--count {count} --seed {seed}: show 1 to {MOST} samples, of a seed of at least 0')
    if vary is not None and not is_training(split):
        raise BadInput(f'--vary {vary} is for training splits, and the samples of {split} reach the nets as they are')
    if not is_training(split) or plain:
        variation = {}
    else:
        variation = written_for(name) if vary is None else augment.parse(vary, longest_side(dataset))
    target = out or runs_home() / 'show' / f'{name if root is None else Path(root).resolve().name}-{split}.png'
    check_target(target)
    picture = sheet(Samples(dataset, seed, variation), count)
    with files.new_folder(target.absolute().parent):
        save(target, picture, 'PNG', pnginfo=stamp(Software=SOFTWARE))
    return target


def written_for(name: str) -> dict[str, Any]:
    """The variations that the nets of one's own data set train with: VARIED in the module of what they share.

    Parameters
    ----------
    name : str
        Of the data set.

    Returns
    -------
    dict
        Options of `augment`, read and never run; empty where there are no such nets.

    Raises
    ------
    BadInput
        VARIED is not written as a literal, or not what `augment` takes.
    """
    path = NETS / f'{name.replace("-", "_")}.py'
    if not re.fullmatch('[a-z0-9-]+', name) or not path.is_file():
        return {}
    try:
        found = [node.value for node in ast.parse(files.read_text(path)).body
                 if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
                 and any(isinstance(target, ast.Name) and target.id == 'VARIED'
                         for target in (node.targets if isinstance(node, ast.Assign) else [node.target]))]
        value = ast.literal_eval(found[-1]) if found else {}
        augment.check(**value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadInput(f'{path}: VARIED is not a literal of variations; show others with --vary, or none with --plain'
                       ) from None
    except BadInput as problem:
        raise BadInput(f'{path}: VARIED: {problem}') from None
    return dict(value)


def longest_side(dataset: Dataset) -> int:
    """The longest side of the images of a split, in pixels, as far as the heads of their files say it."""
    top = dataset.tops[0]
    sizes = (dataset.size_of(top, dataset.file(top, id)) for id in {*dataset.ids})
    return max((max(size) for size in sizes if size), default=augment.DEFAULTS['crop'])


def check_target(path: Path) -> None:
    """Refuse to write over anything but a sheet."""
    if path.suffix.lower() != '.png':
        raise BadInput(f'--out {path}: a sheet is a PNG; give it a name that ends in .png')
    cli.check_output_folder(path.parent)
    if path.exists():
        cli.check_output(path)
        if stamped(path).get('Software') != SOFTWARE:
            raise BadInput(f'{path} exists and is not a sheet of samples; remove it, or name another file with --out')


# Pictures.

def sheet(samples: Samples, count: int) -> Image.Image:
    """Samples in a grid, above the names of the classes that occur.

    Parameters
    ----------
    samples : Samples
    count : int
        Of those shown, at most.

    Returns
    -------
    Image
        RGB, on white.
    """
    dataset = samples.dataset
    occurring: dict[str, set[int]] = {top: set() for top in dataset.tops if top in dataset.classes}
    cells = []
    for position, id, sample in itertools.islice(
            cli.progress(samples, total=count, desc=f'show {dataset.name}', unit='image', leave=False), count):
        cells.append(cell(dataset, caption(dataset, position, id, sample), sample))
        for top, array in zip(dataset.tops, sample, strict=True):
            if top in occurring:
                occurring[top] |= occurring_in(array, dataset.overlapping)
    rows = in_rows(cells)
    width = max(sum(one.width + GAP for one in row) for row in rows) + GAP
    legends = {top: legend(dataset, top, values, width - 2 * GAP) for top, values in occurring.items()}
    below = [titled(one, top) for top, one in legends.items()] if len(legends) > 1 else [*legends.values()]
    heights = [max(one.height for one in row) + GAP for row in rows]
    place = LINE + 2 * GAP
    result = Image.new('RGB', (width, place + sum(heights) + sum(one.height for one in below) + GAP), 'white')
    text(result, (GAP, GAP + LINE / 2), samples.title(), 16, INK, width - 2 * GAP)
    for row, height in zip(rows, heights, strict=True):
        for number, one in enumerate(row):
            result.paste(one, (GAP + sum(other.width + GAP for other in row[:number]), place))
        place += height
    for one in below:
        result.paste(one, (GAP, place))
        place += one.height
    return result


def in_rows(cells: Sequence[Image.Image]) -> list[list[Image.Image]]:
    """Pictures in rows, in each as many as fit into `WIDTH`, and one at least."""
    rows: list[list[Image.Image]] = [[]]
    for one in cells:
        if rows[-1] and sum(other.width + GAP for other in (*rows[-1], one)) + GAP > WIDTH:
            rows.append([])
        rows[-1].append(one)
    return rows


def caption(dataset: Dataset, position: int, id: str, sample: Sequence[np.ndarray]) -> str:
    """Id, position in the stream, and size as the net gets it."""
    height, width = sample[0].shape[1:]
    where = f'   position {position}' if is_training(dataset.split) else ''
    return f'{width} x {height}{where}   {id}'


def cell(dataset: Dataset, title: str, sample: Sequence[np.ndarray]) -> Image.Image:
    """The pictures of a sample beside each other, under its title: images first, then its labels over the first.

    Parameters
    ----------
    dataset : Dataset
    title : str
    sample : sequence of array
        As of `Dataset.load`.

    Returns
    -------
    Image
        RGB.
    """
    arrays = dict(zip(dataset.tops, sample, strict=True))
    size = shown_size(*sample[0].shape[1:])
    images = [fit(visible(dataset, top, array), size) for top, array in arrays.items() if top in dataset.means]
    under = images[0] if images else np.full((*size, 3), 255, np.uint8)
    over = [paint(under, fit_label(array, size), dataset.overlapping, bare(dataset, top), palette(dataset, top))
            for top, array in arrays.items() if top in dataset.classes]
    pictures = [*images, *over]
    result = Image.new('RGB', (max(len(pictures) * (size[1] + SEAM) - SEAM, NARROW), size[0]), 'white')
    for number, picture in enumerate(pictures):
        result.paste(Image.fromarray(picture), (number * (size[1] + SEAM), 0))
    return titled(result, title)


def visible(dataset: Dataset, top: str, array: np.ndarray) -> Picture:
    """An image as colours: the mean added; a photograph from BGR, others by their first three channels, or one as grey.

    Parameters
    ----------
    dataset : Dataset
    top : str
    array : array
        C x H x W, float32, mean subtracted.
    """
    photograph = top == next(iter(dataset.means))
    pixels = array + np.array(dataset.means[top], np.float32).reshape(-1, 1, 1)
    grey = photograph and dataset.pictures is not None and not dataset.pictures.coloured
    if len(pixels) < 3 or grey:         # depth, say, is on a scale of its own
        pixels = pixels[:1]
        if not photograph:
            low, high = float(pixels.min()), float(pixels.max())
            pixels = (pixels - low) * (255 / max(high - low, 1e-6))
        pixels = np.repeat(pixels, 3, 0)
    pixels = pixels[:3][::-1] if photograph else pixels[:3]
    return np.ascontiguousarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture is shown: within `BOX`, and enlarged by whole factors alone."""
    factor = min(BOX[0] / height, BOX[1] / width)
    factor = float(int(factor)) if factor >= 1 else factor
    return max(1, round(height * factor)), max(1, round(width * factor))


def fit(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture at another size: smoothly smaller, or its pixels larger."""
    how = Image.Resampling.LANCZOS if size[0] < picture.shape[0] else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size[::-1], how))


def fit_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels, K x H x W, at another size, of the nearest pixels."""
    return np.stack([np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.NEAREST))
                     for plane in label])


def palette(dataset: Dataset, top: str) -> Picture:
    """The colours of the classes of a label top, 256 x 3."""
    return palette_of(dataset.colours.get(top, ()))


def bare(dataset: Dataset, top: str) -> bool:
    """Whether class 0 stays uncoloured over pictures: where it is the background."""
    return not dataset.overlapping and is_bare(0, dataset.classes[top])


def paint(photo: Picture, label: np.ndarray, planes: bool, bare: bool, palette: Picture = PALETTE) -> Picture:
    """Lay labels over a photograph: classes in their colours with a line between them, void hatched.

    Parameters
    ----------
    photo : array
        H x W x 3, uint8, RGB.
    label : array
        1 x H x W, class indices; or K x H x W, 1 where the class of a plane is, whose colours mix. 255 is void.
    planes : bool
        Which of the two.
    bare : bool
        Whether class 0 stays uncoloured.
    palette : array
        256 x 3, uint8: the colours of class indices.

    Returns
    -------
    array
        H x W x 3, uint8, RGB.
    """
    void = label[0] == VOID
    if planes:
        there = (label == 1).astype(np.float64)
        count = there.sum(0)
        colours = np.tensordot(there, palette[:len(label)].astype(float), (0, 0)) / np.maximum(count, 1)[..., None]
        shown = count > 0
    else:
        colours = palette[label[0]].astype(float)
        shown = ~void & ~((label[0] == 0) & bare)
    mixed = np.where(shown[..., None], (1 - OPACITY) * photo + OPACITY * colours, photo)
    mixed = np.where(void[..., None], hatch(photo), mixed)
    code = np.where(void, -1.0, np.where(shown, colours @ (65536.0, 256.0, 1.0), -2.0))
    edge = np.zeros(code.shape, bool)
    edge[:, 1:] |= code[:, 1:] != code[:, :-1]
    edge[1:] |= code[1:] != code[:-1]
    mixed[edge] = 0.25 * mixed[edge] + 0.75 * 255
    return mixed.round().astype(np.uint8)


def hatch(photo: Picture) -> npt.NDArray[np.float64]:
    """A photograph behind grey, and light lines from the lower left to the upper right."""
    rows, columns = np.indices(photo.shape[:2])
    lines = np.expand_dims((rows + columns) % 8 < 2, -1)
    return np.where(lines, 0.25 * photo + 0.75 * 235.0, 0.35 * photo + 0.65 * 60.0)


def occurring_in(label: np.ndarray, planes: bool) -> set[int]:
    """The classes, and perhaps void, that a label holds."""
    if not planes:
        return {*np.unique(label).tolist()}
    there = {number for number, plane in enumerate(label) if (plane == 1).any()}
    return there | ({VOID} if (label == VOID).any() else set())


def legend(dataset: Dataset, top: str, values: set[int], width: int) -> Image.Image:
    """The names of classes beside their colours, and void."""
    names = dataset.classes[top]
    entries: list[tuple[str, Picture]] = []
    for value in sorted(values):
        patch = np.full((24, 24, 3), 160, np.uint8)
        if value == VOID:
            entries.append(('void', hatch(patch).astype(np.uint8)))
        elif value == 0 and bare(dataset, top):
            entries.append((f'{cli.printable(names[0])} (bare)', np.full_like(patch, 255)))
        else:
            entries.append((cli.printable(names[value]), np.full_like(patch, palette(dataset, top)[value])))
    return strip(entries, width)


def titled(picture: Image.Image, title: str) -> Image.Image:
    """A picture below a line of text."""
    result = Image.new('RGB', (picture.width, LINE + picture.height), 'white')
    text(result, (0, LINE / 2 - 2), title, 13, FAINT, picture.width)
    result.paste(picture, (0, LINE))
    return result


def text(picture: Image.Image, place: tuple[float, float], words: str, size: int, colour: tuple[int, int, int],
         width: int) -> None:
    """Write a line, its end left out where it would be wider than `width`."""
    font, words = ImageFont.load_default(size), cli.printable(words)
    if font.getlength(words) > width:
        while words and font.getlength(words + ' ...') > width:
            words = words[:-1]
        words += ' ...'
    ImageDraw.Draw(picture).text(place, words, colour, font, anchor='lm')
