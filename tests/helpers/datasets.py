"""Writes tiny data sets in the formats the real ones have on disk, MATLAB structs included.

Each `write_*` takes the folder that becomes `root`, the ids, and the sizes of the images as (height, width), which are
used in turn; what it writes is a function of `seed` alone. It returns {id: {top: what was written}}: photographs
H x W x 3 RGB uint8 before JPEG compression, labels as they are stored in the file.
"""
from itertools import cycle
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from data_layers.palette import PALETTE, save_indexed
from data_layers.siftflow import CATEGORIES, GEOMETRIC, SEMANTIC

SIZES = ((40, 56), (48, 40), (36, 36))


def scene(rng, size, values, void=None):
    """A label map of a few rectangles over a ground, and a photograph coloured by it: H x W and H x W x 3."""
    height, width = size
    label = np.full(size, rng.choice(values))
    for value in rng.choice(values, 3):
        top, left = rng.integers(height), rng.integers(width)
        label[top:top + height // 2, left:left + width // 2] = value
    photo = (PALETTE[label.astype(int) * 7 % 251 + 1].astype(int) + rng.integers(-12, 13, (*size, 3))).clip(0, 255)
    if void is not None:
        label[0] = label[-1] = void
    return label, photo.astype(np.uint8)


def save_jpeg(path, photo):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path, quality=95, subsampling=0)


def save_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_mat(path, **variables):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables, do_compression=True)


def save_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines))


def write_voc(root, ids=('2007_000001', '2007_000002', '2008_000003'), sizes=SIZES, splits=None, seed=0, classes=21):
    """PASCAL VOC: JPEG and palette PNG. `splits` maps a name to ids; by default train, val and trainval have all."""
    root, rng, written = Path(root), np.random.default_rng(seed), {}
    for id, size in zip(ids, cycle(sizes), strict=False):
        label, photo = scene(rng, size, np.arange(classes), void=255)
        label = label.astype(np.uint8)
        save_jpeg(root / f'JPEGImages/{id}.jpg', photo)
        (root / 'SegmentationClass').mkdir(exist_ok=True)
        save_indexed(root / f'SegmentationClass/{id}.png', label)
        written[id] = {'data': photo, 'label': label}
    for split, members in (splits or dict.fromkeys(('train', 'val', 'trainval'), ids)).items():
        save_lines(root / f'ImageSets/Segmentation/{split}.txt', members)
    return written


def write_sbd(root, ids=('2008_000003', '2008_000004', '2009_000005'), sizes=SIZES, splits=None, seed=1, classes=21,
              png=()):
    """SBD: cls/ID.mat with the struct GTcls as its authors made it; the ids in `png` as converted PNG instead."""
    root, rng, written = Path(root), np.random.default_rng(seed), {}
    for id, size in zip(ids, cycle(sizes), strict=False):
        label, photo = scene(rng, size, np.arange(classes))
        label = label.astype(np.uint8)
        save_jpeg(root / f'img/{id}.jpg', photo)
        if id in png:
            (root / 'cls').mkdir(exist_ok=True)
            save_indexed(root / f'cls/{id}.png', label)
        else:
            present = np.setdiff1d(label, [0]).reshape(-1, 1).astype(np.uint8)
            edges = np.empty((20, 1), object)
            for number in range(20):
                edges[number, 0] = scipy.sparse.csc_matrix(label == number + 1)
            save_mat(root / f'cls/{id}.mat',
                     GTcls={'Boundaries': edges, 'Segmentation': label, 'CategoriesPresent': present})
        written[id] = {'data': photo, 'label': label}
    for split, members in (splits or dict.fromkeys(('train', 'val'), ids)).items():
        save_lines(root / f'{split}.txt', members)
    return written


def write_nyud(root, ids=('5001', '5002', '5003'), sizes=SIZES, splits=None, seed=2, classes=40):
    """NYUDv2: 8 bit photographs and HHA, 16 bit depth in millimetres with holes, labels 0 (void) to 40."""
    root, rng, written = Path(root), np.random.default_rng(seed), {}
    for id, size in zip(ids, cycle(sizes), strict=False):
        label, color = scene(rng, size, np.arange(1, classes + 1), void=0)
        hha = rng.integers(0, 256, (*size, 3), np.uint8)
        depth = rng.integers(700, 9000, size).astype(np.uint16)
        depth[2, 3:7] = 0
        for folder, pixels in (('images', color), ('hha', hha), ('depth', depth)):
            save_png(root / f'data/{folder}/img_{id}.png', pixels)
        label = label.astype(np.uint8)
        save_mat(root / f'segmentation/img_{id}.mat', segmentation=label)
        written[id] = {'color': color, 'hha': hha, 'depth': depth, 'label': label}
    for split, members in (splits or {'train': ids[:1], 'val': ids[1:2], 'test': ids[2:]}).items():
        save_lines(root / f'{split}.txt', members)
    return written


def write_siftflow(root, ids=('coast_natu975', 'highway_gre37', 'street_par177'), sizes=((40, 40),), splits=None,
                   seed=3):
    """SIFT Flow: JPEG and two MATLAB files, semantic 0 (void) to 33 and geometric -1, 0 (void) to 3, as doubles."""
    root, rng, written = Path(root), np.random.default_rng(seed), {}
    for id, size in zip(ids, cycle(sizes), strict=False):
        sem, photo = scene(rng, size, np.arange(1, 34), void=0)
        geo = sem % 3 + 1
        geo[0], geo[-1] = -1, 0
        save_jpeg(root / f'Images/{CATEGORIES}/{id}.jpg', photo)
        for folder, values, names in (('SemanticLabels', sem, SEMANTIC), ('GeoLabels', geo, GEOMETRIC)):
            save_mat(root / f'{folder}/{CATEGORIES}/{id}.mat', S=values.astype(np.float64),
                     names=np.array(names, object).reshape(-1, 1), metaData={})
        written[id] = {'data': photo, 'sem': sem, 'geo': geo}
    for split, members in (splits or {'trainval': ids[:-1], 'test': ids[-1:]}).items():
        save_lines(root / f'{split}.txt', members)
    return written


def write_cityscapes(root, ids=('aachen_000000_000019', 'bochum_000000_000313', 'frankfurt_000000_000294'), sizes=SIZES,
                     splits=None, seed=5):
    """Cityscapes: PNGs in folders of splits and cities, labels as numbers 0 to 33 of kinds of things."""
    root, rng, written = Path(root), np.random.default_rng(seed), {}
    for split, members in (splits or {'train': ids[:-1], 'val': ids[-1:]}).items():
        for id, size in zip(members, cycle(sizes), strict=False):
            label, photo = scene(rng, size, np.arange(34), void=3)
            place = f'{split}/{id.partition("_")[0]}/{id}'
            save_png(root / f'leftImg8bit/{place}_leftImg8bit.png', photo)
            save_png(root / f'gtFine/{place}_gtFine_labelIds.png', label.astype(np.uint8))
            save_png(root / f'gtFine/{place}_gtFine_instanceIds.png', (label * 1000).astype(np.uint16))
            written[id] = {'data': photo, 'label': label.astype(np.uint8)}
    return written


# Where the task's names stand among the 459 of labels.txt, by the names used there; other numbers get made-up names.
CONTEXT_NUMBERS = {
    'aeroplane': 2, 'bicycle': 23, 'bird': 25, 'boat': 31, 'bottle': 34, 'bus': 45, 'car': 59, 'cat': 65, 'chair': 72,
    'cow': 98, 'table': 397, 'dog': 113, 'horse': 207, 'motorbike': 258, 'person': 284, 'pottedplant': 308,
    'sheep': 347, 'sofa': 368, 'train': 416, 'tvmonitor': 427, 'bag': 9, 'bed': 18, 'bench': 22, 'book': 33,
    'building': 44, 'cabinet': 46, 'ceiling': 68, 'cloth': 80, 'computer': 85, 'cup': 104, 'door': 115, 'fence': 144,
    'floor': 158, 'flower': 159, 'food': 162, 'grass': 187, 'ground': 189, 'keyboard': 220, 'light': 232,
    'mountain': 259, 'mouse': 260, 'curtain': 105, 'platform': 296, 'sign': 355, 'plate': 295, 'road': 324,
    'rock': 326, 'shelves': 349, 'sidewalk': 354, 'sky': 360, 'snow': 366, 'bedclothes': 19, 'track': 415,
    'tree': 420, 'truck': 424, 'wall': 440, 'water': 445, 'window': 454, 'wood': 458}


def write_pascalcontext(root, ids=('2008_000002', '2008_000003', '2008_000007'), sizes=SIZES, splits=None, seed=4):
    """PASCAL-Context: `root` holds pascal/VOC2010 and pascal-context; labels are numbers of labels.txt, as uint16."""
    voc, context = Path(root) / 'pascal/VOC2010', Path(root) / 'pascal-context'
    rng, written = np.random.default_rng(seed), {}
    for id, size in zip(ids, cycle(sizes), strict=False):
        label, photo = scene(rng, size, np.array(sorted(CONTEXT_NUMBERS.values())))
        label[:, :4] = 1    # accordion: not in the task, so background
        save_jpeg(voc / f'JPEGImages/{id}.jpg', photo)
        save_mat(context / f'trainval/{id}.mat', LabelMap=label.astype(np.uint16))
        written[id] = {'data': photo, 'label': label}
    for split, members in (splits or {'train': ids[:-1], 'val': ids[-1:]}).items():
        save_lines(voc / f'ImageSets/Main/{split}.txt', members)
    names = {number: name for name, number in CONTEXT_NUMBERS.items()}
    save_lines(context / 'labels.txt', [f'{n}: {names.get(n, f"made up {n}")}' for n in range(1, 460)])
    task = {'table': 'diningtable', 'bedclothes': 'bedcloth', 'cloth': 'clothes'}
    save_lines(context / '59_labels.txt', [f'{n}: {task.get(name, name)}' for n, name in enumerate(CONTEXT_NUMBERS, 1)])
    return written
