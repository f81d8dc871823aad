"""What the PASCAL VOC evaluation server takes: one index PNG an image of VOC 2012 test, in folders it knows."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.dataset import Dataset
from data_layers.palette import save_indexed
from data_layers.reading import open_picture, read_pixels, turned_size

FOLDER = 'results/VOC2012/Segmentation/comp6_test_cls'  # competition 6: trained on any data but the test set


class Submission:
    """Segmentations of the test split, written one by one and checked together.

    Parameters
    ----------
    dataset : Dataset
        VOC 2012 test.
    scored : sequence of sequence of str
        Names of the classes that the net scores, for each of its tasks; they must be VOC's.
    out : path
        Gets `results/VOC2012/...`; pack that folder for the server.

    Raises
    ------
    BadInput
        The net scores other classes.
    """

    def __init__(self, dataset: Dataset, scored: Sequence[Sequence[str]], out: Path) -> None:
        if [*map(list, scored)] != [[*names] for names in dataset.classes.values()]:
            found = ' and of '.join(', '.join(names[:3]) + ', ...' for names in scored)
            raise BadInput(f'a submission needs a net of the VOC classes, in that order, not of {found}')
        self.dataset, self.folder = dataset, out / FOLDER

    def images(self) -> list[Path]:
        """The photographs of the split."""
        return [self.dataset.file('data', id) for id in self.dataset.ids]

    def write(self, id: str, labels: np.ndarray) -> None:
        """Write the segmentation of an image.

        Parameters
        ----------
        id : str
            The image.
        labels : array
            H x W, uint8: the class of every pixel.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        save_indexed(self.folder / f'{id}.png', labels)

    def check(self) -> str:
        """Check every file as the server will.

        Returns
        -------
        str
            How many masks there are, and what to do with them.

        Raises
        ------
        BadInput
            Lists the files that are missing, of no test image, of another size than their image, or not class indices.
        """
        problems = [f'{path.name} is of no test image' for path in sorted(self.folder.glob('*'))
                    if path.suffix != '.png' or path.stem not in set(self.dataset.ids)]
        for id, photo in zip(self.dataset.ids, self.images(), strict=True):
            path = self.folder / f'{id}.png'
            if not path.is_file():
                problems.append(f'{path.name} is missing')
                continue
            mask = read_pixels(path)
            with open_picture(photo) as image:
                size = turned_size(image)[::-1]
            if mask.mode != 'P' or mask.size != size or np.asarray(mask).max() >= len(self.dataset.classes['label']):
                problems.append(f'{path.name} is not a {size[0]}x{size[1]} palette picture of class indices')
        if problems:
            raise BadInput(f'{self.folder}: ' + '; '.join(problems))
        return f'{len(self.dataset)} masks checked; pack {self.folder.parents[2]} as results.tgz for the server'
