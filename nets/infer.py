"""Segment images of any size with a trained net.

    python -m nets.infer --net voc-fcn8s --weights FILE IMAGE_OR_DIR ... --out DIR

writes for each image `<name>.png`, the class of every pixel with the VOC palette, and `<name>_overlay.jpg`, the photo
under those colours with a legend; `--scores` adds `<name>.npz`, the softmax probability of every class.
"""
import sys
from pathlib import Path

import numpy as np

import cli
import nets
from data_layers.dataset import read_rgb, to_blob
from data_layers.palette import save_indexed
from nets.pictures import overlay
from solvers import device, solve
from solvers.instance import instantiate, load

IMAGES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}


def segment(net, image: np.ndarray, mean) -> np.ndarray:
    """Class scores, C x H x W, of an H x W x 3 uint8 RGB image."""
    data = to_blob(image[..., ::-1], mean)
    net.blobs['data'].reshape(1, *data.shape)
    net.blobs['data'].data[0] = data
    return net.forward()['score'][0]


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities over the first axis."""
    e = np.exp(scores - scores.max(0))
    return e / e.sum(0)


def images(paths) -> list[Path]:
    """The image files among `paths`, folders searched one level deep, sorted."""
    found = []
    for path in paths:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
        if not inside:
            raise cli.BadInput(f'{path}: no image in this folder; known are {", ".join(sorted(IMAGES))}')
        found += inside
    for path in found:
        if not path.is_file():
            raise cli.BadInput(f'{path}: no such image or folder')
    twice = {path.stem for path in found if [other.stem for other in found].count(path.stem) > 1}
    if twice:
        raise cli.BadInput(f'images of one name would overwrite each other in --out: {", ".join(sorted(twice))}')
    return found


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m nets.infer', description=__doc__)
    parser.add_argument('--net', required=True, help='a net of nets/, such as voc-fcn8s')
    parser.add_argument('--weights', required=True, type=Path, metavar='FILE', help='its caffemodel')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='where the pictures go')
    parser.add_argument('--scores', action='store_true', help='also write the probability of every class')
    parser.add_argument('--gpu', type=int, metavar='N', help='number of the GPU to use')
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE_OR_DIR')
    args = parser.parse_args(argv)
    training = nets.load(args.net)
    files = images(args.images)
    device.choose(args.gpu)
    if not args.weights.is_file():
        raise cli.BadInput(f'--weights {args.weights}: no such file')
    net = load(instantiate(training.fcn('deploy')), args.weights)
    dataset = solve.dataset_class(training)
    classes = next(iter(dataset.classes.values()))
    args.out.mkdir(parents=True, exist_ok=True)
    for path in cli.progress(files, unit='image', desc='segment'):
        image = read_rgb(path)
        scores = segment(net, image, next(iter(dataset.means.values())))
        labels = scores.argmax(0).astype(np.uint8)
        save_indexed(args.out / f'{path.stem}.png', labels)
        overlay(image, labels, classes).save(args.out / f'{path.stem}_overlay.jpg', quality=92)
        if args.scores:
            np.savez_compressed(args.out / f'{path.stem}.npz', probabilities=softmax(scores).astype(np.float32))
    print(f'{len(files)} images segmented into {args.out}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
