"""PASCAL-Context: whole-scene labels for VOC 2010, of which the 59 most frequent classes are learnt.

The files number 459 classes (labels.txt); the task names 59 of them (59_labels.txt), in the order of the net's output
after background, which is all the rest. The two lists are joined by name, and three names differ between them.
"""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.dataset import Dataset
from data_layers.reading import read_lines, read_mat, to_integers

CLASSES = ('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
           'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor',
           'bag', 'bed', 'bench', 'book', 'building', 'cabinet', 'ceiling', 'clothes', 'computer', 'cup', 'door',
           'fence', 'floor', 'flower', 'food', 'grass', 'ground', 'keyboard', 'light', 'mountain', 'mouse', 'curtain',
           'platform', 'sign', 'plate', 'road', 'rock', 'shelves', 'sidewalk', 'sky', 'snow', 'bedcloth', 'track',
           'tree', 'truck', 'wall', 'water', 'window', 'wood')
NUM_CLASSES = len(CLASSES)
IN_LABELS = {'diningtable': 'table', 'bedcloth': 'bedclothes', 'clothes': 'cloth'}    # task's name -> labels.txt's
DIGITS = 5      # of a class's number, which are 1 to 459
VOC2010 = ('VOC2010', '../pascal/VOC2010', '../VOC2010', '../pascal/VOCdevkit/VOC2010', '../VOCdevkit/VOC2010')


class PASCALContext(Dataset):
    """PASCAL-Context, the 59 class task: see `Dataset`."""

    name = 'pascalcontext'
    title = 'PASCAL-Context'
    source = ('trainval.tar.gz, labels.txt and 59_labels.txt from https://cs.stanford.edu/~roozbeh/pascal-context/, '
              'and VOCtrainval_03-May-2010.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2010/')
    licence = ('photographs from flickr (VOC 2010), to be used under its terms; the annotations come without a stated '
               'licence, to be cited: Mottaghi et al., The Role of Context for Object Detection and Semantic '
               'Segmentation in the Wild, CVPR 2014')
    layout = ('trainval/ID.mat, labels.txt, 59_labels.txt, and in $FCN_DATA/pascal or beside them '
              'VOC2010/JPEGImages/ID.jpg, VOC2010/ImageSets/Main/{train,val}.txt')
    home = 'pascal-context'
    places = ('', 'pascal-context')
    marker = 'trainval'
    means = {'data': (104.007, 116.669, 122.679)}
    classes = {'label': CLASSES}
    stored = ('LabelMap',)
    published = {'train': 4998, 'val': 5105}
    left_out = 'background'     # by the scores of the 59 class task

    def __init__(self, split: str, root: str | Path | None = None, tops: Sequence[str] | None = None) -> None:
        folder = self.locate(root)
        self.voc = self.voc2010(folder)
        names, self.class_of = join_names(folder / 'labels.txt', folder / '59_labels.txt')
        self.classes = {'label': names}
        super().__init__(split, root, tops)

    @classmethod
    def voc2010(cls, root: Path) -> Path:
        """Find the folder of VOC 2010, beside the labels or where VOC lies in `$FCN_DATA`.

        Parameters
        ----------
        root : path
            The folder of the labels.

        Raises
        ------
        BadInput
            No such folder; says what to download.
        """
        for place in VOC2010:
            if (root / place / 'ImageSets/Main').is_dir():
                return root / place
        raise cls.absent(root, ' or '.join(VOC2010))

    @classmethod
    def lists(cls, root: Path) -> Path:
        return cls.voc2010(root) / 'ImageSets/Main'

    def file(self, top: str, id: str) -> Path:
        return self.voc / f'JPEGImages/{id}.jpg' if top == 'data' else self.root / f'trainval/{id}.mat'

    def read_label(self, top: str, path: Path) -> np.ndarray:
        numbers = to_integers(read_mat(path, *self.stored), path)
        wrong = numbers[(numbers < 0) | (numbers >= len(self.class_of))]
        if wrong.size:
            raise BadInput(f'{path} has label value {wrong[0]}, which is not in labels.txt (1 to '
                           f'{len(self.class_of) - 1}); restore it from the download')
        classes: np.ndarray = self.class_of[numbers]
        return classes


def join_names(all_path: Path, task_path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Join the numbered names of labels.txt with those of the task.

    Parameters
    ----------
    all_path, task_path : path
        labels.txt and 59_labels.txt.

    Returns
    -------
    names : tuple of str
        The task's classes, background first.
    class_of : array
        uint8: the class of every number in the label files, 0 (background) for the numbers that are not in the task.

    Raises
    ------
    BadInput
        A file is missing or corrupt, or the two do not fit together.
    """
    numbers = {name: number for number, name in read_numbered(all_path)}
    names = [name for _, name in read_numbered(task_path) if name != 'background']
    class_of = np.zeros(max(numbers.values()) + 1, np.uint8)
    if len(names) != NUM_CLASSES - 1:
        raise BadInput(f'{task_path} names {len(names)} classes, not {NUM_CLASSES - 1}; restore it')
    for index, name in enumerate(names, 1):
        number = numbers.get(IN_LABELS.get(name, name), numbers.get(name))
        if number is None:
            raise BadInput(f'{task_path} names the class {name}, which is not in {all_path}; restore both files')
        class_of[number] = index
    if np.count_nonzero(class_of) != len(names):
        raise BadInput(f'{task_path} names {len(set(names))} classes, not {NUM_CLASSES - 1}; restore it')
    return ('background', *names), class_of


def read_numbered(path: Path) -> list[tuple[int, str]]:
    """Read a file of lines `number: name`; names come without their spaces.

    Raises
    ------
    BadInput
        The file is missing, or a line is not of that form.
    """
    pairs = []
    for line in read_lines(path):
        number, _, name = line.partition(':')
        if not number.strip().isdecimal() or not name.strip():
            raise BadInput(f'{path} has the line {line[:80]!r}, which is not of the form number: name')
        if len(number.strip()) > DIGITS:
            raise BadInput(f'{path} has the line {line[:80]!r}; no class has a number of {len(number.strip())} digits')
        pairs.append((int(number), name.replace(' ', '')))
    if not pairs:
        raise BadInput(f'{path} names no class; restore it from the download')
    return pairs
