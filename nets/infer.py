"""Segment images of any size with a trained net.

    python -m nets.infer --net voc-fcn8s --weights FILE IMAGE_OR_DIR ... --out DIR

writes for each image `<name>.png`, the class of every pixel with the VOC palette, and `<name>_overlay.jpg`, the photo
under those colours with a legend; `--scores` adds `<name>.npz`, the softmax probability of every class. A net of two
tasks writes both, as `<name>_sem.png` and `<name>_geo.png`. A net that sees more than the photograph finds the rest
beside its folder, as NYUDv2 has it: images/img_5001.png, depth/img_5001.png, hha/img_5001.png.
"""
import sys
from pathlib import Path

import numpy as np

import cli
import nets
from data_layers.dataset import read_rgb
from data_layers.palette import save_indexed
from data_layers.pictures import image_files, overlay
from solvers import device, solve
from solvers.instance import instantiate, load, segment, softmax


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
    files = image_files(args.images)
    device.choose(args.gpu)
    net = load(instantiate(training.fcn('deploy')), args.weights)
    source = solve.Source(training)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in cli.progress(files, unit='image', desc='segment'):
        for name, scores in segment(net, source.read(path)).items():
            stem = args.out / (path.stem + name.removeprefix('score'))
            write(stem, path, scores, source.classes(name), args.scores)
    print(f'{len(files)} images segmented into {args.out}')


def write(stem: Path, photo: Path, scores: np.ndarray, classes, probabilities: bool) -> None:
    """Write what K x H x W scores say of a photograph, in files that begin with `stem`."""
    labels = scores.argmax(0).astype(np.uint8)
    save_indexed(f'{stem}.png', labels)
    overlay(read_rgb(photo), labels, classes).save(f'{stem}_overlay.jpg', quality=92)
    if probabilities:
        np.savez_compressed(f'{stem}.npz', probabilities=softmax(scores).astype(np.float32))


if __name__ == '__main__':
    sys.exit(cli.run(main))
