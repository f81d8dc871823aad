"""The whole story on real photographs in minutes: from a classifier's weights to FCN-32s, 16s and 8s.

Three photographs of VOC 2011 with their masks, the convolutions of ILSVRC VGG-16, Caffe's own solver. The nets are
those of nets/, but for fc6 and fc7, which are 512 wide and start at random because the classifier's own are not at
hand; conv1 to conv3 stay as they are. Writes runs/demo/summary.json and pictures. The scores are those of the three
training photographs: they show that the machinery works, they say nothing of accuracy on VOC.
"""
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import cli
import nets
from accel import device
from data_layers import open_dataset
from data_layers.palette import colorize, save_indexed
from experiments.fetch import IDS, photographs, vgg16_convolutions
from nets.edits import freeze, narrow
from report import page
from report.pictures import sheet
from solvers import weights
from solvers.instance import instantiate, load, segment
from solvers.loop import solve
from solvers.metrics import METRICS
from solvers.source import read_from
from solvers.training import Training

SCALE = 0.5         # of the photographs
WIDTH = 512         # of fc6 and fc7
FROZEN = ('conv1', 'conv2', 'conv3')


@dataclass(frozen=True)
class Stage:
    """One net of the demo and how it is trained."""
    net: str
    base_lr: float
    iterations: int


STAGES = (Stage('voc-fcn32s', 1e-9, 120), Stage('voc-fcn16s', 3e-11, 60), Stage('voc-fcn8s', 5e-13, 240))


def training(stage: Stage, root: Path) -> Training:
    """The published training of a net, on the demo's photographs and at the demo's size."""
    published = nets.load(stage.net)

    def fcn(split):
        local = {'train': 'train', 'val': 'val'}.get(split, split)
        net = read_from(published.fcn(split), dataset='voc', split=local, root=str(root))
        return freeze(narrow(net, WIDTH), FROZEN)

    return replace(published, fcn=fcn, recipe=replace(
        published.recipe, base_lr=stage.base_lr, iterations=stage.iterations, score_every=40, snapshot=stage.iterations,
        test_iter=len(IDS)))


def train(stage: Stage, root: Path, initial: Path, run: Path) -> dict:
    """Train one stage, unless that very stage was trained before; its scores, for the summary."""
    record = run / 'stage.json'
    if record.exists() and (known := json.loads(record.read_text()))['stage'] == asdict(stage):
        cli.say(f'{stage.net}: already trained in {run}; remove that folder to train it again')
        return known['result']
    begin = time.perf_counter()
    matrices = solve(training(stage, root), run, [initial], resume=True)
    scores = matrices['label'].compute().summary()
    result = {'net': stage.net, **scores, 'iterations': stage.iterations, 'seconds': time.perf_counter() - begin}
    record.write_text(json.dumps({'stage': asdict(stage), 'result': result}, indent=1) + '\n')
    return result


def show(stages, root: Path, out: Path) -> list[str]:
    """Segment the photographs with every stage; write index masks and side-by-side pictures, and return their names."""
    dataset = open_dataset('voc', 'val', root)
    rows = {id: [dataset.image(id), colorize(dataset.read('label', id)[0])] for id in dataset.ids}
    for stage in stages:
        run = out / stage.net
        net = load(instantiate(training(stage, root).fcn('deploy')), run / 'weights.caffemodel')
        for id in dataset.ids:
            labels = segment(net, {'data': dataset.read('data', id)})['score'].argmax(0).astype(np.uint8)
            save_indexed(run / f'{id}.png', labels)
            rows[id].append(colorize(labels))
    titles = ['photo', 'truth', *(f'FCN-{stage.net.removeprefix("voc-fcn")}' for stage in stages)]
    classes = dataset.classes['label']
    found = np.unique([k for id in dataset.ids for k in np.unique(dataset.read('label', id))])
    names = []
    for name, chosen in [('demo', list(rows)), *((id, [id]) for id in rows)]:
        sheet([rows[id] for id in chosen], titles, found, classes).save(out / f'{name}.png')
        names.append(f'{name}.png')
    return names


def table(results) -> str:
    """The scores of the stages, a line each, in percent."""
    head = f'{"net":12}' + ''.join(f'{name.replace("_", " "):>16}' for name in METRICS) + f'{"steps":>8}{"seconds":>9}'
    return '\n'.join([head, *(f'{r["net"]:12}' + ''.join(f'{100 * r[name]:16.1f}' for name in METRICS)
                              + f'{r["iterations"]:8}{r["seconds"]:9.0f}' for r in results)])


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m experiments.demo', description=__doc__)
    parser.add_argument('--iterations', type=int, nargs=3, metavar='N', help='steps of 32s, 16s and 8s: %(default)s',
                        default=[stage.iterations for stage in STAGES])
    parser.add_argument('--out', type=Path, default=weights.runs_folder() / 'demo', help='folder of the results')
    args = parser.parse_args(argv)
    out = args.out.resolve()
    print(f'computing on {device.choose()}', flush=True)
    root = photographs(SCALE).resolve()
    stages = [replace(stage, iterations=n) for stage, n in zip(STAGES, args.iterations, strict=True)]
    initial, results = vgg16_convolutions().resolve(), []
    for stage in stages:
        run = out / stage.net
        results.append(train(stage, root, initial, run))
        initial = run / 'weights.caffemodel'
    pictures = show(stages, root, out)
    (out / 'summary.json').write_text(json.dumps({'stages': results, 'images': pictures}, indent=1) + '\n')
    page.write([out / stage.net for stage in stages], out / 'report.html')
    print(table(results))
    print(f'These are scores on the {len(IDS)} photographs trained on, not VOC accuracy.')
    print(f'Look at {out / "report.html"} and {out / pictures[0]}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
