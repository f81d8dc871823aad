"""The whole story on real photographs in minutes: from a classifier's weights to FCN-32s, 16s and 8s.

Three photographs of VOC 2011 with their masks, the convolutions of ILSVRC VGG-16, Caffe's own solver. The nets are
those of nets/, but for fc6 and fc7, which are 512 wide and start at random because the classifier's own are not at
hand; conv1 to conv3 stay as they are. Writes runs/demo/summary.json and pictures. The scores are those of the three
training photographs: they show that the machinery works, they say nothing of accuracy on VOC.
"""
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import cli
import files
import nets
from accel import device
from data_layers import open_dataset
from data_layers.palette import colorize, save, save_indexed
from experiments.fetch import IDS, photographs, vgg16_convolutions
from experiments.training import shrink
from experiments.training import train as train_net
from report import page
from report.pictures import sheet
from solvers import weights
from solvers.instance import instantiate, load, segment
from solvers.metrics import METRICS
from solvers.source import read_from
from solvers.training import Training

SCALE = 0.5         # of the photographs
WIDTH = 512         # of fc6 and fc7


@dataclass(frozen=True)
class Stage:
    """One net of the demo and how it is trained.

    Parameters
    ----------
    net : str
        Such as 'voc-fcn32s'.
    base_lr : float
        Learning rate.
    iterations : int
        Steps.
    """
    net: str
    base_lr: float
    iterations: int


STAGES = (Stage('voc-fcn32s', 1e-9, 120), Stage('voc-fcn16s', 3e-11, 60), Stage('voc-fcn8s', 5e-13, 240))


def training(stage: Stage, root: Path) -> Training:
    """The published training of a net, on the demo's photographs and at the demo's size.

    Parameters
    ----------
    stage : Stage
        The net, and the rate and steps that replace the published ones.
    root : Path
        The VOC folder of the photographs.
    """
    published = nets.load(stage.net)

    def fcn(split: str) -> Any:
        local = {'train': 'train', 'val': 'val'}.get(split, split)
        net = read_from(published.fcn(split), dataset='voc', split=local, root=str(root))
        return shrink(net, WIDTH)

    return replace(published, fcn=fcn, recipe=replace(
        published.recipe, base_lr=stage.base_lr, iterations=stage.iterations, score_every=40, snapshot=stage.iterations,
        test_iter=len(IDS)))


def train(stage: Stage, root: Path, initial: Path, run: Path) -> dict[str, Any]:
    """Train one stage, unless that very stage was trained before.

    Parameters
    ----------
    stage : Stage
    root : Path
        The VOC folder of the photographs.
    initial : Path
        The caffemodel it starts from.
    run : Path
        The run's folder, which also gets `stage.json`.

    Returns
    -------
    dict
        For the summary: `net`, the metrics as fractions of 1, `iterations`, `seconds`.
    """
    record = run / 'stage.json'
    if record.exists() and (known := json.loads(files.read_text(record)))['stage'] == asdict(stage):
        cli.say(f'{stage.net}: already trained in {run}; remove that folder to train it again')
        return dict(known['result'])
    scores, seconds = train_net(training(stage, root), run, initial, 'demo')
    result = {'net': stage.net, **scores, 'iterations': stage.iterations, 'seconds': seconds}
    files.write_json(record, {'stage': asdict(stage), 'result': result})
    return result


def show(stages: Sequence[Stage], root: Path, out: Path) -> list[str]:
    """Segment the photographs with every stage; write index masks, and sheets of pictures side by side.

    Parameters
    ----------
    stages : sequence of Stage
        Trained ones.
    root : Path
        The VOC folder of the photographs.
    out : Path
        Folder of the stages' runs, which get the masks; it gets the sheets.

    Returns
    -------
    list of str
        File names of the sheets; the first shows all photographs, the others one each.
    """
    dataset = open_dataset('voc', 'val', root)
    rows = {id: [dataset.image(id), colorize(dataset.read('label', id)[0])] for id in dataset.ids}
    for stage in stages:
        run = out / stage.net
        net = load(instantiate(training(stage, root).fcn('deploy'), read=()), run / 'weights.caffemodel')
        for id in dataset.ids:
            labels = segment(net, {'data': dataset.read('data', id)})['score'].argmax(0).astype(np.uint8)
            save_indexed(run / f'{id}.png', labels)
            rows[id].append(colorize(labels))
    titles = ['photo', 'truth', *(f'FCN-{stage.net.removeprefix("voc-fcn")}' for stage in stages)]
    classes = dataset.classes['label']
    found = np.unique([k for id in dataset.ids for k in np.unique(dataset.read('label', id))])
    names = []
    for name, chosen in [('demo', list(rows)), *((id, [id]) for id in rows)]:
        save(out / f'{name}.png', sheet([rows[id] for id in chosen], titles, found, classes), 'PNG')
        names.append(f'{name}.png')
    return names


def table(results: Sequence[dict[str, Any]]) -> str:
    """The scores of the stages, a line each, in percent."""
    head = f'{"net":12}' + ''.join(f'{name.replace("_", " "):>16}' for name in METRICS) + f'{"steps":>8}{"seconds":>9}'
    return '\n'.join([head, *(f'{r["net"]:12}' + ''.join(f'{100 * r[name]:16.1f}' for name in METRICS)
                              + f'{r["iterations"]:8}{r["seconds"]:9.0f}' for r in results)])


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m experiments.demo', description=__doc__)
    parser.add_argument('--iterations', type=int, nargs=3, metavar='N', help='steps of 32s, 16s and 8s: %(default)s',
                        default=[stage.iterations for stage in STAGES])
    parser.add_argument('--out', type=Path, default=weights.runs_folder() / 'demo', help='folder of the results')
    args = parser.parse_args(argv)
    out = args.out.resolve()
    cli.show(f'computing on {device.choose()}')
    root = photographs(SCALE).resolve()
    stages = [replace(stage, iterations=n) for stage, n in zip(STAGES, args.iterations, strict=True)]
    initial, results = vgg16_convolutions().resolve(), []
    for stage in stages:
        run = out / stage.net
        results.append(train(stage, root, initial, run))
        initial = run / 'weights.caffemodel'
    pictures = show(stages, root, out)
    files.write_json(out / 'summary.json', {'stages': results, 'images': pictures})
    page.write([out / stage.net for stage in stages], out / 'report.html')
    cli.show(*table(results).split('\n'))
    cli.show(f'These are scores on the {len(IDS)} photographs trained on, not VOC accuracy.')
    cli.show(f'Look at {out / "report.html"} and {out / pictures[0]}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
