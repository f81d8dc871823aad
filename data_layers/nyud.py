"""NYUDv2, indoor scenes with depth, in the 40 class task of Gupta et al.: color, depth and HHA, in any combination.

HHA encodes depth as horizontal disparity, height above ground and angle with gravity: three channels that take the
place of colour but are not colours, so they keep their order, where a photograph's are swapped to BGR. `depth` is the
natural logarithm of the depth in millimetres, minus its mean. Pixels without a measurement (0 in the file) become 0
there, the mean, where the logarithm would feed minus infinity to the net.
"""
from pathlib import Path

import numpy as np

from cli import BadInput
from data_layers.dataset import Dataset
from data_layers.reading import read_mat, read_pixels, read_rgb, to_blob, to_classes

CLASSES = ('wall', 'floor', 'cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf', 'picture',
           'counter', 'blinds', 'desk', 'shelves', 'curtain', 'dresser', 'pillow', 'mirror', 'floor mat', 'clothes',
           'ceiling', 'books', 'refridgerator', 'television', 'paper', 'towel', 'shower curtain', 'box', 'whiteboard',
           'person', 'night stand', 'toilet', 'sink', 'lamp', 'bathtub', 'bag', 'otherstructure', 'otherfurniture',
           'otherprop')     # spelled as in the data set
NUM_CLASSES = len(CLASSES)


class NYUD(Dataset):
    """NYUDv2, with the image tops `color`, `hha` and `depth`: see `Dataset`."""

    name = 'nyud'
    title = 'NYUDv2'
    source = ('nyud.tar.gz from http://dl.caffe.berkeleyvision.org/nyud.tar.gz, which has every part; or '
              'eccv14-data.tgz from http://www.cs.berkeley.edu/~sgupta/eccv14/eccv14-data.tgz, which has no HHA')
    licence = ('no licence is stated; to be cited: Silberman et al., Indoor Segmentation and Support Inference from '
               'RGBD Images, ECCV 2012, and Gupta et al., Perceptual Organization and Recognition of Indoor Scenes '
               'from RGB-D Images, CVPR 2013')
    layout = ('data/images/img_ID.png, data/depth/img_ID.png (16 bit, millimetres), data/hha/img_ID.png, '
              'segmentation/img_ID.mat, {train,val,trainval,test}.txt')
    home = 'nyud'
    places = ('', 'nyud')
    marker = 'segmentation'
    means = {'color': (116.190, 97.203, 92.318), 'hha': (132.431, 94.076, 118.477), 'depth': (7.844,)}
    classes = {'label': CLASSES}
    stored = ('segmentation',)
    default_tops = ('color', 'label')
    published = {'train': 381, 'val': 414, 'trainval': 795, 'test': 654}
    training, scored = 'trainval', 'test'

    @classmethod
    def splits(cls, root: str | Path | None = None) -> list[str]:
        """The published splits present; trainval also when train and val are."""
        present = super().splits(root)
        return present + ['trainval'] * ({'train', 'val'} <= {*present} and 'trainval' not in present)

    def split_ids(self, split: str) -> list[str]:
        """The ids of a split, from its list; those of trainval also from train and val."""
        if split == 'trainval' and not (self.root / 'trainval.txt').is_file():
            return super().split_ids('train') + super().split_ids('val')
        return super().split_ids(split)

    def file(self, top: str, id: str) -> Path:
        folder = {'color': 'data/images', 'hha': 'data/hha', 'depth': 'data/depth', 'label': 'segmentation'}[top]
        return self.root / folder / (f'img_{id}.mat' if top == 'label' else f'img_{id}.png')

    @classmethod
    def read_image(cls, top: str, path: Path) -> np.ndarray:
        """Read an image top: `color`, BGR, and `hha`, in its order, are 3 x H x W; `depth` is as of `log_depth`."""
        if top == 'hha':
            return to_blob(read_rgb(path), cls.means['hha'])
        if top == 'depth':
            return log_depth(read_depth(path), cls.means['depth'][0])
        return super().read_image(top, path)

    def read_label(self, top: str, path: Path) -> np.ndarray:
        return to_classes(read_mat(path, *self.stored), NUM_CLASSES, path, first=1, void=(0,))


def read_depth(path: Path) -> np.ndarray:
    """Read a 16 bit depth picture.

    Returns
    -------
    array
        H x W integers: millimetres, 0 where depth is unknown.

    Raises
    ------
    BadInput
        The file is missing or corrupt, or has 8 bits.
    """
    picture = read_pixels(path)
    if not picture.mode.startswith('I'):
        raise BadInput(f'{path} is a {picture.mode} picture, not a 16 bit one; depth is stored in millimetres')
    return np.asarray(picture)


def log_depth(depth: np.ndarray, mean: float) -> np.ndarray:
    """Turn depth into what a net takes.

    Parameters
    ----------
    depth : array
        H x W, millimetres, 0 where depth is unknown.
    mean : float
        Of the natural logarithm of the depth in millimetres.

    Returns
    -------
    array
        1 x H x W, float32: the logarithm minus its mean, and 0 where depth is unknown.
    """
    blob = np.full(depth.shape, mean)
    np.log(depth, out=blob, where=depth > 0)
    return (blob - mean).astype(np.float32)[np.newaxis]
