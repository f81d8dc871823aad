"""Pictures of what came out: masks and errors of held-out photographs, none of which is shown, and curves."""
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from data_layers import VOID, Dataset
from data_layers.palette import colorize
from data_layers.reading import read_indices
from report.photographs import LOWERED, SIZES, STAGES
from report.pictures import error_map, sheet

SHOWN = 20              # photographs
THIN = 3                # pixels of a mask from one that is shown to the next
ERRING = STAGES[-1], LOWERED       # nets whose errors are shown too


def masks(dataset: Dataset, names: Sequence[str], runs: Sequence[Path], seed: int = 0) -> Image.Image:
    """Masks of photographs drawn by a seed: the truth, what nets make of them, and errors.

    Parameters
    ----------
    dataset : Dataset
        The held-out photographs.
    names : sequence of str
        Of the nets.
    runs : sequence of Path
        Their folders, with predictions.
    seed : int
    """
    grid, present = [], {VOID}
    for number in np.random.default_rng(seed).permutation(len(dataset))[:SHOWN]:
        id = dataset.ids[number]
        truth = dataset.read('label', id)[0][::THIN, ::THIN]
        line = [colorize(truth)]
        present.update(map(int, np.unique(truth)))
        for name, run in zip(names, runs, strict=True):
            mask = read_indices(run / f'evaluation/label/{id}.png')[::THIN, ::THIN]
            line += [colorize(mask), *([error_map(truth, mask, VOID)] if name in ERRING else [])]
            present.update(map(int, np.unique(mask)))
        grid.append(line)
    titles = ['truth', *(title for name in names for title in (
        name.removeprefix('FCN-8s on '), *(['its errors'] if name in ERRING else [])))]
    return sheet(grid, titles, np.array(sorted(present - {VOID})), dataset.classes['label'])


def curves(result: dict[str, Any]) -> Image.Image:
    """Mean IU over the common classes, and loss a pixel, by the steps of the nets at full size."""
    figure = Figure(figsize=(12, 4.5), layout='constrained')
    scored, lost = (figure.add_subplot(1, 2, place, xlabel='iteration') for place in (1, 2))
    scored.set(title='held-out photographs: mean IU over the common classes', ylim=(0, 1))
    lost.set(title='loss a pixel: held-out photographs, and those learnt from (dashed)')
    for name, entry in result[SIZES[0]].items():
        points = next(iter(entry['seeds'].values()))['curve']
        steps = [point['iteration'] for point in points]
        line, = scored.plot(steps, [point['common_iu'] for point in points], marker='.', label=name)
        lost.plot(steps, [point['pixel_loss'] for point in points], marker='.', color=line.get_color(), label=name)
        lost.plot(steps, [point['training_pixel_loss'] for point in points], '--', color=line.get_color())
    scored.legend()
    lost.set_ylim(bottom=0)
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=80)
    return Image.open(file)
