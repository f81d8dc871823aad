"""What is attacked: good input of every kind, written once, and the commands that read it."""
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import caffe
import matplotlib.pyplot  # noqa: F401 (as training has it, once it draws curves)
import numpy as np

import accel  # noqa: F401 (as every command has it)
import files
from cli import BadInput
from data_layers import __main__ as data_layers_main
from data_layers.own.folder import CARD
from nets import __main__ as nets_main
from nets import infer
from report import __main__ as report_main
from report import serve
from solvers import __main__ as solvers_main
from solvers import monitor, score, snapshot
from solvers.instance import instantiate
from solvers.loop import solve
from surgery import __main__ as surgery_main
from surgery import write_weights
from surgery.preparation import Preparation
from tests.helpers import annotations, datasets, deploy_nets, other_pictures, own, tiny
from tests.helpers.surgery_models import a_classifier, a_state, save_safetensors
from tests.helpers.surgery_nets import LENET, layer, randomise
from tests.helpers.torch_files import save_legacy, save_zip

from .harness import Call
from .mats import undated

SIZES = [(24, 32), (33, 20)]
SOLVE = '''from tests.helpers import tiny

training = tiny.training(1)
'''


@dataclass(frozen=True)
class Surface:
    """Good input and its readers.

    Parameters
    ----------
    build : callable
        Writes the input into a world.
    calls : tuple of Call
        A path below the world begins with '@' in their arguments.
    aim : str
        A pattern of the files to damage first; by default those that the arguments name.
    seal : callable, optional
        Makes the damaged input look unharmed, such as by the hashes that go with it.
    """
    build: Callable[[Path], None]
    calls: tuple[Call, ...]
    aim: str = ''
    seal: Callable[[Path], None] | None = None


def without_time(world):
    """Nothing in the input tells when it was made, so that a mutant is the same bytes tomorrow."""
    for path in sorted(world.rglob('*.mat')):
        path.write_bytes(undated(path.read_bytes()))
    for path in sorted(world.rglob('metrics.jsonl')):
        lines = map(json.loads, path.read_text().splitlines())
        path.write_text(''.join(json.dumps({key: 0.5 if 'second' in key or 'time' in key else value
                                            for key, value in line.items()}) + '\n' for line in lines))


# ----------------------------------------------------------------------------------------------------------- models

def build_onnx(world):
    (world / 'in/m.onnx').write_bytes(a_classifier().SerializeToString())


def build_state(world):
    save_safetensors(world / 'in/m.safetensors', a_state())


def build_pth(world):
    save_zip(world / 'in/m.pth', a_state())
    save_legacy(world / 'in/old.pt', {'state_dict': a_state(), 'epoch': 3})


def build_weights(world):
    numbers = np.random.default_rng(0)
    for name in 'ab':
        write_weights(world / f'in/{name}.caffemodel', {
            'conv1': [numbers.normal(size=(4, 1, 5, 5)), numbers.normal(size=4)],
            'score': [numbers.normal(size=(3, 4, 1, 1)), np.ones(3)], 'one': [np.ones(())]},
            {'conv1': 'Convolution', 'score': 'Convolution'})


def build_classifier(world):
    path = world / 'in/p.prototxt'
    path.write_text(LENET)
    net = caffe.Net(str(path), caffe.TEST)
    randomise(net)
    net.save(str(world / 'in/w.caffemodel'))
    own.photo(world / 'in/photo.png', (28, 28))


# ------------------------------------------------------------------------------------------------------- nets, runs

def build_tiny(world):
    """The tiny net by its name, its weights, and the data that it learns from."""
    folder = world / 'nets/tiny'
    folder.mkdir(parents=True)
    (folder / 'solve.py').write_text(SOLVE)
    rng, net = np.random.default_rng(0), instantiate(tiny.fcn('deploy'))
    write_weights(world / 'in/w.caffemodel',
                  {name: [rng.standard_normal(blob.data.shape).astype(np.float32) for blob in blobs]
                   for name, blobs in net.params.items() if not name.startswith('up')})
    datasets.write_voc(world / 'data/pascal/VOC2011', sizes=SIZES)
    datasets.write_sbd(world / 'data/sbdd/dataset', sizes=SIZES)


def build_deploy(world):
    """A foreign net, what its input wants, and a photograph to segment."""
    deploy_nets.write(world / 'in/net', deploy_nets.unet(3, layer('prob', 'Softmax', 'score')))
    Preparation((1.0, 2.0, 3.0), 0.01, 'rgb', 4, ('sky', 'sea', 'land')).write(world / 'in/net')
    own.photo(world / 'photo.png', (24, 32))


def build_masks(world):
    """Predictions, truths and the list of their classes."""
    rng = np.random.default_rng(0)
    for folder in ('guess', 'truth'):
        for name in ('a.png', 'deep/b.png', 'c.tif'):
            datasets.save_png(world / 'in' / folder / name, rng.integers(0, 3, (16, 20)).astype(np.uint8))
    datasets.save_lines(world / 'in/classes.txt', ('0 sky', '1 sea', '2 land', '255 void'))


def build_run(world):
    build_tiny(world)
    monitor.plot = lambda *_: None      # in this process, which only writes the input
    solve(replace(tiny.training(4), recipe=replace(tiny.training(4).recipe, score_every=2, snapshot=2)),
          world / 'in/run', ())
    about = json.loads((world / 'in/run/run.json').read_text())
    (world / 'in/run/run.json').write_text(json.dumps({**about, 'commit': None, 'versions': {}}))


def hashed(path):
    """Size and hash of a file; a wrong hash of one that is larger than anything here, since it would take hours."""
    size = files.check_regular(path).st_size
    return [size, files.sha256(path) if size < 1 << 26 else '']


def seal_snapshots(world):
    """The manifests of a run's snapshots name the files as they are now."""
    for manifest in world.glob(f'in/run/snapshots/*/{snapshot.MANIFEST}'):
        try:
            about = json.loads(manifest.read_text())
            about['files'] = {name: hashed(manifest.parent / name) for name in about['files']}
        except (BadInput, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue    # the manifest is what was damaged
        manifest.write_text(json.dumps(about))


def build_pictures(world):
    build_tiny(world)
    shutil.rmtree(world / 'data')
    for name in ('a.jpg', 'b.png', 'c.bmp', 'd.tif', 'e.webp'):
        own.photo(world / 'in/photos' / name, (24, 32))


# ------------------------------------------------------------------------------------------------------------- data

ANNOTATED = {'coco': '.json', 'coco-runs': '.json', 'coco-text': '.json', 'cvat': '.xml', 'label-studio': '.json',
             'supervisely': '.json', 'labelme': '.json'}     # annotation files, by how their names end
LAYOUTS = {'voc': datasets.write_voc, 'sbd': datasets.write_sbd, 'nyud': datasets.write_nyud,
           'siftflow': datasets.write_siftflow, 'pascalcontext': datasets.write_pascalcontext}


def build_layout(name, world):
    LAYOUTS[name](world / 'in' / name, sizes=SIZES)


def build_own(world, kind):
    """Someone's own photographs, their masks of a kind."""
    if kind in annotations.KINDS:
        annotations.write(kind, world / 'in/photos')
        return
    if kind != 'polygons':
        own.write(world / 'in/photos', kind)
        return
    for number in range(4):
        own.photo(world / f'in/photos/{number}.jpg', (24, 32))
        own.polygons(world / f'in/photos/{number}.json', (24, 32), [
            ('road', 'polygon', [[0, 0], [20, 1], [9, 20]]), ('car', 'rectangle', [[2, 2], [9, 9]]),
            ('car', 'circle', [[12, 12], [15, 12]])])


def build_bands(world):
    """Someone's own pictures of five bands of 16 bits, and their depth in files of its own."""
    other_pictures.folder(world / 'in/photos', 4, images=('.tif', 'u2', 5, 100, 4000), depth=('.png', 'u2', 1, 0, 9000))


def build_described(world):
    """Own data that `nets new` has looked at."""
    own.write(world / 'in/photos', 'palette')
    root = world / 'in/roads'
    root.mkdir()
    card = json.loads(json.dumps({'folder': '../photos', 'masks': 'index', 'classes': ['background', 'road', 'car'],
                                  'values': {'0': 'background', '1': 'road', '2': 'car', '255': None},
                                  'mean': [104.0, 116.5, 122.5]}))
    (root / CARD).write_text(json.dumps(card))
    lines = [f'photo{n}\timages/photo{n}.jpg\tmasks/photo{n}.png' for n in range(5)]
    datasets.save_lines(root / 'train.tsv', lines[:3])
    datasets.save_lines(root / 'val.tsv', lines[3:])


# --------------------------------------------------------------------------------------------------------- archives

def build_archives(world):
    """Downloads as tar and zip."""
    datasets.write_voc(world / 'VOCdevkit/VOC2011', sizes=SIZES)
    datasets.write_sbd(world / 'benchmark_RELEASE/dataset', sizes=SIZES)
    without_time(world)
    for top, name in (('VOCdevkit', 'VOC2011'), ('benchmark_RELEASE', 'benchmark')):
        members = [path for path in sorted((world / top).rglob('*')) if path.is_file()]
        with (tarfile.open(world / f'in/{name}.tar', 'w') as tar,
              zipfile.ZipFile(world / f'in/{name}.zip', 'w') as packed):
            for path in members:
                info = tarfile.TarInfo(str(path.relative_to(world)))
                info.size = path.stat().st_size
                tar.addfile(info, io.BytesIO(path.read_bytes()))
                packed.writestr(zipfile.ZipInfo(info.name), path.read_bytes())
        shutil.rmtree(world / top)


def build_downloads(world):
    """Downloads unpacked."""
    build_layout('nyud', world)
    metadata = world / 'in/nyud/benchmarkData/metadata'
    datasets.save_mat(metadata / 'nyusplits.mat', train=[[5001]], val=[[5002]], test=[[5003]])
    cell = np.empty((1, 1), object)
    cell[0, 0] = {'SegmentationClass': np.ones((24, 32), np.uint16), 'Boundaries': np.zeros((9, 8), bool)}
    datasets.save_mat(world / 'in/nyud/benchmarkData/groundTruth/img_5001.mat', groundTruth=cell)
    datasets.save_mat(metadata / 'classMapping40.mat', mapClass=np.arange(1, 41.0)[None])
    build_layout('siftflow', world)


# ------------------------------------------------------------------------------------------------------- all of them

def serve_until_ready(argv):
    """What `python -m report serve` does until it takes requests."""
    serve.Server.serve_forever = lambda *_: None
    serve.main(argv)


def commands(main, *lines, **options):
    return tuple(Call(main, tuple(line.split()), **options) for line in lines)


def new_nets(*options):
    return commands(nets_main.main, *(f'new roads --data @in/photos --workers 1 {option}' for option in options),
                    writes=('nets', 'data'))


def check_layouts(*names):
    return commands(data_layers_main.main, *(f'check {name} --root @in/{name} --workers 1' for name in names))


def prepare(*lines):
    return commands(data_layers_main.main, *(f'prepare {line} --to @out/data' for line in lines), keeps=True)


INFER = 'infer --cpu --net tiny --weights @in/w.caffemodel --out @out/masks'.split()[1:]
RESUMED = commands(nets_main.main, 'train tiny --run @in/run --resume --iterations 5 --cpu', rewrites=('in/run',))
SURFACES = {
    'onnx': Surface(build_onnx, commands(surgery_main.main, 'import @in/m.onnx --out @out/net --cpu')),
    'state': Surface(build_state, commands(surgery_main.main, 'import @in/m.safetensors --out @out/net --cpu')),
    'pth': Surface(build_pth, commands(surgery_main.main, 'import @in/m.pth --out @out/net --cpu',
                                       'import @in/old.pt --out @out/net --cpu')),
    'weights': Surface(build_weights, commands(
        surgery_main.main, 'show @in/a.caffemodel',
        'transplant --from @in/a.caffemodel --to @in/b.caffemodel --out @out/c.caffemodel',
        'expand --weights @in/a.caffemodel --layer score --classes 7 --out @out/c.caffemodel')),
    'prototxt': Surface(build_classifier, commands(
        surgery_main.main, *(f'convolutionalize --prototxt @in/p.prototxt --weights @in/w.caffemodel --out @out/net '
                             f'--grid 0 --cpu {option}' for option in ('', '--image @in/photo.png')),
        'export --prototxt @in/p.prototxt --weights @in/w.caffemodel --out @out/net.onnx')),
    'snapshot': Surface(build_run, RESUMED, aim='in/run/snapshots/*/train_*', seal=seal_snapshots),
    'run': Surface(build_run, (
        *commands(report_main.main, '@in/run --out @out/report.html --cpu', '@in/run @in/run --out @out/r.html --cpu',
                  rewrites=('in/run/evaluation',)),     # where it keeps what it scored
        *commands(solvers_main.main, 'runs @in', 'doctor @in/run --minutes 0.02 --cpu'),
        *commands(serve_until_ready, '--net @in/run --cpu --port 0'),
        *RESUMED)),
    'net': Surface(build_tiny, (
        *commands(score.main, '--net tiny --weights @in/w.caffemodel --cpu --json @out/s.json'),
        *commands(nets_main.main, 'train tiny --run @runs/new --cpu --iterations 1',
                  writes=('runs',), keeps=True))),
    'deploy': Surface(build_deploy, (
        *commands(infer.main, '--net @in/net ../photo.png --out @out/masks --cpu',
                  '--net @in/net ../photo.png --out @out/masks --cpu --tile 16 --flip --scales 0.5,1'),
        *commands(serve_until_ready, '--net @in/net --cpu --port 0'))),
    'predictions': Surface(build_masks, commands(
        score.main, '--predictions @in/guess --truth @in/truth --classes @in/classes.txt --json @out/s.json')),
    'images': Surface(build_pictures, (
        *commands(infer.main, ' '.join((*INFER, '@in/photos')), keeps=True),
        *commands(infer.main, *(' '.join((*INFER, f'@in/photos/{words}'))
                                for words in ('a.jpg', 'b.png --scores', 'e.webp --tile 16'))))),
    **{name: Surface(partial(build_layout, name), check_layouts(name)) for name in LAYOUTS},
    **{f'own-{kind}': Surface(partial(build_own, kind=kind), new_nets('', '--width 8', '--trunk alexnet'))
       for kind in ('index', 'palette', 'rgb', 'polygons')},
    'own-bands': Surface(build_bands, new_nets('--and depth', '--and depth --width 8', '--and depth --trunk alexnet')),
    **{f'own-{kind}': Surface(partial(build_own, kind=kind), new_nets('', '--width 8'), aim='*' + suffix)
       for kind, suffix in ANNOTATED.items()},
    'described': Surface(build_described, commands(data_layers_main.main, 'check @in/roads --workers 1',
                                                   'check @in/roads --json --workers 1')),
    'archives': Surface(build_archives, prepare(
        'voc --from @in/VOC2011.tar', 'voc --from @in/VOC2011.zip', 'sbd --from @in/benchmark.tar', 'sbd --from @in')),
    'downloads': Surface(build_downloads, prepare('nyud --from @in/nyud', 'siftflow --from @in/siftflow')),
}
