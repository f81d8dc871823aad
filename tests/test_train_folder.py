"""`python -m solvers train DIR`: folders that surgery, the nets and people write, trained, killed, resumed, scored."""
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from solvers import __main__ as solvers  # noqa: E402
from solvers import monitor, preflight, snapshot  # noqa: E402
from solvers.folder import read_folder, read_training  # noqa: E402
from solvers.instance import instantiate, load  # noqa: E402
from solvers.loop import solve  # noqa: E402
from surgery import __main__ as surgery  # noqa: E402
from surgery import read_weights, write_weights  # noqa: E402
from tests.helpers import datasets, folders  # noqa: E402
from tests.helpers.commands import tree  # noqa: E402
from tests.helpers.surgery_nets import LENET, randomise  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
ROOT = Path(__file__).resolve().parent.parent


def train(*arguments):
    return cli.run(solvers.main, ['train', *map(str, arguments), '--cpu'])


@pytest.fixture
def own(tmp_path):
    folders.write_own(tmp_path / 'own')
    return tmp_path / 'own'


@pytest.fixture
def quiet(monkeypatch):
    """No report is made."""
    monkeypatch.setattr(solvers.solve, 'tell_finished', lambda *_: None)


def outcome(run):
    return (run / 'metrics.jsonl').read_text(), (run / 'weights.caffemodel').read_bytes()


def scores_of(run):
    return [line['scores']['label'] for line in monitor.read(run / 'metrics.jsonl') if 'scores' in line]


def counted(labels, predictions, classes):
    """Mean IU by sets of pixels, one class after the other."""
    ius = []
    for k in range(classes):
        both = either = true = 0
        for label, prediction in zip(labels, predictions, strict=True):
            known = label != 255
            both += int((known & (label == k) & (prediction == k)).sum())
            either += int((known & ((label == k) | (prediction == k))).sum())
            true += int((known & (label == k)).sum())
        if true:
            ius.append(both / either)
    return float(np.mean(ius))


# ------------------------------------------------------------------------------------------------------- a head

@pytest.fixture
def head(tmp_path):
    """What surgery writes for LeNet on VOC."""
    datasets.write_voc(tmp_path / 'voc', sizes=[(24, 32), (33, 20)], splits={
        'train': ['2007_000001', '2007_000002'], 'val': ['2008_000003']})
    (tmp_path / 'net.prototxt').write_text(LENET)
    net = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    randomise(net)
    net.save(str(tmp_path / 'net.caffemodel'))
    assert cli.run(surgery.main, [
        'convolutionalize', '--prototxt', str(tmp_path / 'net.prototxt'), '--weights', str(tmp_path / 'net.caffemodel'),
        '--out', str(tmp_path / 'head'), '--grid', '0', '--head', '2', '--classes', '21', '--data',
        str(tmp_path / 'voc')]) == 0
    solver = tmp_path / 'head/solver.prototxt'
    solver.write_text(solver.read_text().replace('snapshot: 4000', 'snapshot: 30'))
    return tmp_path / 'head'


def test_a_head_is_killed_and_ends_like_one_left_alone(head, quiet, tmp_path):
    before = {path: path.read_bytes() for path in head.iterdir()}
    command = [sys.executable, '-m', 'solvers', 'train', str(head), '--cpu', '--iterations', '120', '--run',
               str(tmp_path / 'killed')]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, 'OMP_NUM_THREADS': '1'})
    while not (tmp_path / 'killed/snapshots/00000030').exists():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert train(head, '--iterations', 120, '--run', tmp_path / 'killed', '--resume') == 0
    training = read_training(head)
    solve(replace(training, recipe=replace(training.recipe, iterations=120)), tmp_path / 'alone', [
        head / 'init.caffemodel'])
    assert outcome(tmp_path / 'killed') == outcome(tmp_path / 'alone')
    learnt, given = (read_weights(path) for path in (tmp_path / 'alone/weights.caffemodel', head / 'init.caffemodel'))
    assert np.abs(learnt['score_fr'][0]).max() > 0 and not np.array_equal(learnt['conv1'][0], given['conv1'][0])
    assert before == {path: path.read_bytes() for path in head.iterdir()}


@pytest.mark.slow
def test_a_run_is_listed_and_reported_and_goes_on_from_its_own_folder(head, tmp_path, capsys):
    assert train(head, '--iterations', 3) == 0
    run = tmp_path / 'runs/head'
    page = (run / 'report.html').read_text()
    assert 'aeroplane' in page and '<h1>head</h1>' in page
    assert cli.run(solvers.main, ['runs']) == 0
    assert 'finished  3/3' in capsys.readouterr().out
    assert train(run, '--run', run) == 2 and '--resume' in capsys.readouterr().err
    assert train(run, '--run', run, '--resume', '--iterations', 5) == 0
    assert json.loads((run / 'run.json').read_text())['net'] == 'head'
    training = read_training(head)
    training = replace(training, recipe=replace(training.recipe, iterations=5))
    solve(training, tmp_path / 'whole', [head / 'init.caffemodel'])
    assert [line for line in monitor.read(run / 'metrics.jsonl') if 'scores' not in line] == [
        line for line in monitor.read(tmp_path / 'whole/metrics.jsonl') if 'scores' not in line]
    assert outcome(run)[1] == outcome(tmp_path / 'whole')[1]
    # From a run's folder a new run starts as that one did.
    found = read_folder(run)
    assert found.initial == (head / 'init.caffemodel',) and found.training.recipe.iterations == 5
    assert {name: str(net) for name, net in found.training.prototxts().items() if name != 'solver'} == {
        name: str(net) for name, net in training.prototxts().items() if name != 'solver'}


@pytest.mark.parametrize('about, said', [
    ('[' * 99999, 'RecursionError'), ('{}', 'KeyError'), ('{"net": "../x", "initial": [], "recipe": %s}', "'../x'"),
    ('{"net": "/x", "initial": [], "recipe": %s}', "'/x'"), ('{"net": "x", "initial": 3, "recipe": %s}', 'TypeError'),
    ('{"net": "..", "initial": [], "recipe": %s}', "'..'"), ('{"net": "x", "initial": [], "recipe": {"iterations": 0, '
     '"score_every": 1, "snapshot": 1, "seed": 1}}', 'other numbers')])
def test_a_hostile_run_is_no_folder_to_train_from(about, said, own, tmp_path, capsys):
    folder = folders.write(tmp_path / 'net', own)
    (folder / 'run.json').write_text(about.replace('%s', json.dumps(
        {'iterations': 5, 'score_every': 1, 'snapshot': 1, 'seed': 1})))
    assert train(folder) == 2
    told = capsys.readouterr().err
    assert said in told and 'run.json is damaged' in told and len(told.splitlines()) == 1


def test_a_net_of_the_project_trains_from_its_folder(head, voc, tmp_path, quiet, capsys):
    from nets.__main__ import main as nets
    assert cli.run(nets, ['emit', 'voc-fcn32s', '--out', str(tmp_path / 'emitted')]) == 0
    folder = tmp_path / 'emitted/voc-fcn32s'
    for name in ('train', 'val', 'deploy'):       # as narrow as a test needs it
        path = folder / f'{name}.prototxt'
        text = path.read_text()
        for wide in (64, 128, 256, 512, 4096):
            text = text.replace(f'num_output: {wide}\n', 'num_output: 4\n')
        path.write_text(text)
    rng = np.random.default_rng(0)
    write_weights(tmp_path / 'w.caffemodel', {'conv1_1': [rng.standard_normal((4, 3, 3, 3), np.float32)]})
    assert train(folder, '--iterations', 1, '--weights', tmp_path / 'w.caffemodel') == 0
    told = capsys.readouterr().err
    assert 'no weights for' in told and 'stay at zero' in told and 'fillers' not in told
    assert 'conv1_1' in (tmp_path / 'runs/voc-fcn32s/init.txt').read_text()


# ------------------------------------------------------------------------------------------------------ solvers

KINDS = {
    'Adam': 'type: "Adam" momentum2: 0.99 lr_policy: "step" gamma: 0.5 stepsize: 3 momentum: 0.9',
    'AdaDelta': 'type: "AdaDelta" momentum: 0.95 delta: 1e-6 lr_policy: "multistep" gamma: 0.1 stepvalue: [2, 5]',
    'Nesterov': 'type: "Nesterov" lr_policy: "poly" power: 0.9 momentum: 0.9 iter_size: 2',
    'RMSProp': 'solver_type: RMSPROP rms_decay: 0.9 lr_policy: "inv" gamma: 0.1 power: 0.75',
    'AdaGrad': 'type: "AdaGrad" lr_policy: "exp" gamma: 0.9 regularization_type: "L1"',
    'SGD': 'lr_policy: "sigmoid" gamma: 0.5 stepsize: 4 momentum: 0.9 clip_gradients: 0.5 random_seed: 3',
}
COMMON = ('train_net: "train.prototxt" test_net: "val.prototxt" test_iter: 2 test_interval: 4 base_lr: 0.01 '
          'max_iter: 8 weight_decay: 0.0005 snapshot: 2 snapshot_prefix: "x" ')


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_solver_resumes_to_the_same_bytes_and_is_caffes(kind, own, tmp_path, monkeypatch):
    training = read_training(folders.write(tmp_path / 'net', own, solver=COMMON + KINDS[kind]))
    solve(training, tmp_path / 'whole')
    part = replace(training, recipe=replace(training.recipe, iterations=3))
    solve(part, tmp_path / 'parts')
    solve(training, tmp_path / 'parts', resume=True)
    lines, weights = outcome(tmp_path / 'whole')
    assert [line for line in outcome(tmp_path / 'parts')[0].splitlines() if '"iteration": 3, "loss"' not in line] == [
        line for line in lines.splitlines() if '"iteration": 3, "loss"' not in line]
    assert outcome(tmp_path / 'parts')[1] == weights
    assert len(scores_of(tmp_path / 'whole')) == 2          # test_interval: 4
    # Caffe's own solver, stepped by hand over the same samples.
    monkeypatch.chdir(tmp_path / 'net')
    caffe.set_random_seed(training.recipe.seed)
    theirs = caffe.get_solver('solver.prototxt')
    from data_layers import layers
    layers.seek(0)
    theirs.step(0)
    theirs.step(8)
    learnt = read_weights(tmp_path / 'whole/weights.caffemodel')
    for name, blobs in theirs.net.params.items():
        for blob, mine in zip(blobs, learnt[name], strict=True):
            np.testing.assert_array_equal(mine, blob.data)


def test_what_a_solver_file_leaves_open_or_says_in_vain_is_told(own, tmp_path):
    solver = ('train_net: "a/b/train.prototxt" test_net: "val.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 50 '
              'solver_mode: GPU debug_info: true')
    found = read_folder(folders.write(tmp_path / 'net', own, solver=solver))
    notes = '\n'.join(found.notes)
    for said in ('solver_mode does not count', 'debug_info does not count',
                 'no snapshot interval: one is taken every 5 ', 'no test_interval: the test split is scored every 5 ',
                 'no deploy.prototxt: it is derived'):
        assert said in notes
    recipe = found.training.recipe
    assert (recipe.snapshot, recipe.score_every, recipe.iterations, recipe.seed) == (5, 5, 50, 1337)
    assert [one.type for one in found.training.fcn('deploy').layer] == ['Input', 'Convolution', 'ReLU', 'Convolution']


# ---------------------------------------------------------------------------------------------------- hand-written

LOSSES = (folders.loss('aux_loss', 'aux', extra='loss_weight: 0.25')
          + folders.loss('shown', 'aux', extra='loss_weight: 0') + folders.loss())


def test_a_hand_written_unet_with_two_losses(own, tmp_path, quiet, capsys):
    folder = folders.write(tmp_path / 'unet', own, folders.unet(), LOSSES)
    assert train(folder, '--run', tmp_path / 'whole') == 0
    assert 'layers start from their fillers' in capsys.readouterr().err
    training = read_training(folder)
    solve(replace(training, recipe=replace(training.recipe, iterations=6)), tmp_path / 'parts')
    solve(training, tmp_path / 'parts', resume=True)
    assert outcome(tmp_path / 'whole')[1] == outcome(tmp_path / 'parts')[1]
    learnt = read_weights(tmp_path / 'whole/weights.caffemodel')
    assert learnt['down_bn'][2][0] == pytest.approx(sum(0.999 ** k for k in range(8)), rel=1e-5)    # eight images seen
    np.testing.assert_array_equal(learnt['aux'][0][0, 0], np.full((2, 2), 0.25))    # bilinear, of kernel 2
    assert np.abs(learnt['up'][0][0, 1:]).max() > 0.3           # has a filler: it is not bilinear
    # Scores are those of the last loss, and an independent count gives them.
    labels = [folders.write_own(tmp_path / 'same')[id] for id in ('p2', 'p3')]
    scores = list(folders.predict(training, tmp_path / 'whole/weights.caffemodel', own, ('p2', 'p3')))
    assert counted(labels, [one.argmax(0) for one in scores], 3) == pytest.approx(
        scores_of(tmp_path / 'whole')[-1]['mean_iu'])
    # The loss is that of the objective: each by its weight.
    val = load(instantiate(training.fcn('val')), tmp_path / 'whole/weights.caffemodel')
    from data_layers import layers
    layers.rewind()
    total = 0.0
    for _ in range(2):
        val.forward()
        total += 0.25 * float(val.blobs['aux_loss'].data) + float(val.blobs['loss'].data)
    told = [line['loss'] for line in monitor.read(tmp_path / 'whole/metrics.jsonl') if 'scores' in line][-1]
    assert told == pytest.approx(total / 2, rel=1e-6)


def test_one_file_with_include_rules(own, tmp_path, quiet, capsys):
    folder = folders.write(tmp_path / 'both', own)
    rule = 'include {{ phase: {} {} }}'.format
    (folder / 'train_val.prototxt').write_text(
        folders.data(own, 'train', rule('TRAIN', '')) + folders.data(own, 'val', rule('TEST', ''))
        + folders.simple() + folders.loss() + folders.layer('accuracy', 'Accuracy', ['score', 'label'],
                                                            extra=rule('TEST', 'stage: "deep"')))
    for name in ('train', 'val'):
        (folder / f'{name}.prototxt').unlink()
    (folder / 'solver.prototxt').write_text(folders.SOLVER.replace(
        'train_net: "train.prototxt" test_net: "val.prototxt"',
        'net: "models/both/train_val.prototxt" test_state { stage: "deep" }'))
    assert train(folder, '--run', tmp_path / 'whole') == 0
    told = capsys.readouterr().err
    assert 'left out are accuracy' in told and 'deploy.prototxt: it is derived' in told
    training = read_training(folder)
    solve(replace(training, recipe=replace(training.recipe, iterations=4)), tmp_path / 'parts')
    solve(training, tmp_path / 'parts', resume=True)
    assert outcome(tmp_path / 'whole') == outcome(tmp_path / 'parts')
    # The same net in two files is the same training.
    solve(read_training(folders.write(tmp_path / 'apart', own)), tmp_path / 'two')
    assert outcome(tmp_path / 'two') == outcome(tmp_path / 'whole')


def test_an_old_generation_of_prototxt(own, tmp_path):
    folder = folders.write(tmp_path / 'old', own)
    old = """name: "old" input: "data" input_dim: [1, 3, 24, 32]
      layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
               convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
      layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
      layers { name: "score" type: CONVOLUTION bottom: "conv1" top: "score"
               convolution_param { num_output: 3 kernel_size: 1 } }
      layers { name: "prob" type: SOFTMAX bottom: "score" top: "prob" }"""
    (folder / 'deploy.prototxt').write_text(old)
    deploy = read_training(folder).fcn('deploy')
    assert [one.type for one in deploy.layer] == ['Input', 'Convolution', 'ReLU', 'Convolution']    # up to the scores
    assert [param.lr_mult for param in deploy.layer[1].param] == [1, 2]


def test_parameters_that_layers_share_are_resumed(own, tmp_path):
    shared = folders.simple() + folders.layer('again', 'ReLU', 'score')
    twice = ''.join(folders.layer(name, 'Convolution', bottom, extra='param { name: "w" } param { name: "b" } '
                                  f'convolution_param {{ num_output: 3 kernel_size: 1 {folders.MSRA} }}')
                    for name, bottom in (('s1', 'again'), ('s2', 's1')))
    training = read_training(folders.write(tmp_path / 'net', own, shared + twice, folders.loss(score='s2')))
    solve(training, tmp_path / 'whole')
    solve(replace(training, recipe=replace(training.recipe, iterations=4)), tmp_path / 'parts')
    solve(training, tmp_path / 'parts', resume=True)
    assert outcome(tmp_path / 'whole') == outcome(tmp_path / 'parts')
    learnt = read_weights(tmp_path / 'whole/weights.caffemodel')
    np.testing.assert_array_equal(learnt['s1'][0], learnt['s2'][0])


# ----------------------------------------------------------------------------------------------- several processes

def child(*arguments, ranks=1, **environment):
    command = [sys.executable, '-m', 'solvers', 'train', *map(str, arguments), '--cpu']
    if ranks > 1:
        command = [MPIRUN, '--allow-run-as-root', '--oversubscribe', '-n', str(ranks), *command]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', **environment})


MPIRUN = shutil.which('mpirun', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')


def same(one, other, but=()):
    for name, blobs in read_weights(one).items():
        if name not in but:
            for blob, twin in zip(blobs, read_weights(other)[name], strict=True):
                assert np.linalg.norm(blob - twin) <= 1e-4 * np.linalg.norm(blob), name


@pytest.mark.mpi
@pytest.mark.slow
def test_two_ranks_are_one_with_two_images_a_step(own, tmp_path):
    """BatchNorm gathers what both have seen, so it alone differs from one rank that sees them one after the other."""
    pytest.importorskip('mpi4py', reason='no MPI: make mpi')
    if not MPIRUN:
        pytest.skip('no MPI: make mpi')
    net = folders.unet().replace('scale_param {', 'param { lr_mult: 0 } param { lr_mult: 0 } scale_param {')
    folder = folders.write(tmp_path / 'net', own, net, LOSSES)
    done = child(folder, '--iterations', 4, '--run', tmp_path / 'two', ranks=2)
    assert done.returncode == 0, done.stderr
    again = folders.write(tmp_path / 'one', own, net, LOSSES, folders.SOLVER + 'iter_size: 2')
    solve(read_training(again), tmp_path / 'alone')
    first = [line['loss'] for line in monitor.read(tmp_path / 'two/metrics.jsonl') if 'scores' not in line]
    second = [line['loss'] for line in monitor.read(tmp_path / 'alone/metrics.jsonl') if 'scores' not in line]
    assert first == pytest.approx(second[:4], rel=1e-4)
    newest = snapshot.weights(snapshot.list_snapshots(tmp_path / 'alone/snapshots')[1])
    same(tmp_path / 'two/weights.caffemodel', newest, ('down_bn', 'deep_bn', 'fine_bn'))


def test_scale_layers_that_miss_images_of_a_step_are_told(own, tmp_path, capsys):
    """What Caffe's Scale does: with two passes a step its gradient is that of the second, as here."""
    folder = folders.write(tmp_path / 'net', own, folders.unet(), LOSSES, folders.SOLVER + 'iter_size: 2')
    training = read_training(folder)
    solve(replace(training, recipe=replace(training.recipe, iterations=1)), tmp_path / 'run')
    assert "Scale layers (down_scale, deep_scale, fine_scale)" in capsys.readouterr().err
    assert preflight.accumulation(training.fcn('train'), 1) is None


@pytest.mark.slow
def test_caffes_own_layers_train_the_same(own, tmp_path):
    folder = folders.write(tmp_path / 'net', own, folders.unet(), LOSSES)
    done = child(folder, '--run', tmp_path / 'theirs', FCN_ACCEL='0')
    assert done.returncode == 0, done.stderr
    solve(read_training(folder), tmp_path / 'ours')
    same(tmp_path / 'ours/weights.caffemodel', tmp_path / 'theirs/weights.caffemodel')


# ------------------------------------------------------------------------------------------------------- refusals

def change(name, old, new):
    """Replace text in a file of the folder."""
    def apply(folder):
        path = folder / name
        assert old in path.read_text(), (name, old)
        path.write_text(path.read_text().replace(old, new))
    return apply


def net(old, new):
    """Replace text in both nets."""
    def apply(folder):
        for name in ('train.prototxt', 'val.prototxt'):
            change(name, old, new)(folder)
    return apply


def feeder(text):
    """Another data layer in the net that trains."""
    def apply(folder):
        whole = (folder / 'train.prototxt').read_text()
        (folder / 'train.prototxt').write_text(text + whole[whole.index('layer { name: "conv1"'):])
    return apply


def deploy(text):
    return lambda folder: (folder / 'deploy.prototxt').write_text(text)


IMAGE = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 24, 32] } } } '
SCORE = 'bottom: "data" top: "%s" convolution_param { num_output: 3 kernel_size: 1 } }'
EXTRA = 'layer { name: "loss"'
solver_says, train_net = 'solver.prototxt', 'train.prototxt'
BROKEN = {
    'no solver': (lambda folder: (folder / solver_says).unlink(), 'has no solver.prototxt'),
    'no prototxt': (lambda folder: (folder / solver_says).write_bytes(b'\xff\0'), 'solver.prototxt: not a text'),
    'an unknown field': (change(solver_says, 'base_lr', 'base_rate'), 'no field named "base_rate"'),
    'an unknown type': (change(solver_says, 'max_iter', 'type: "LAMB" max_iter'), "type 'LAMB': write one of SGD"),
    'an unknown policy': (change(solver_says, '"fixed"', '"cosine"'), "lr_policy 'cosine': write one of fixed"),
    'no stepsize': (change(solver_says, '"fixed"', '"step" gamma: 0.1'), 'needs stepsize'),
    'no rate': (change(solver_says, 'base_lr: 0.01', ''), 'no base_lr above 0'),
    'a rate of nan': (change(solver_says, 'base_lr: 0.01', 'base_lr: nan'), 'base_lr is nan'),
    'no passes': (change(solver_says, 'max_iter', 'iter_size: 0 max_iter'), 'iter_size is 0'),
    'momentum in AdaGrad': (change(solver_says, 'max_iter', 'type: "AdaGrad" max_iter'), 'without momentum'),
    'two test nets': (change(solver_says, 'test_net', 'test_net: "x.prototxt" test_net'), 'several test nets'),
    'no test net': (change(solver_says, 'test_net: "val.prototxt"', ''), 'no test_net'),
    'a net inside': (change(solver_says, 'train_net: "train.prototxt"', 'train_net_param { name: "x" }'), 'to a file'),
    'a net elsewhere': (change(solver_says, '"train.prototxt"', '"models/other.prototxt"'), 'other.prototxt, which is'),
    'ImageData': (feeder('layer { name: "data" type: "ImageData" top: "data" top: "label" }'),
                  'data (ImageData) reads what is not read here: write layer { name: "data" type: "Python"'),
    'HDF5Data': (feeder('layer { name: "h5" type: "HDF5Data" top: "data" top: "label" }'), 'h5 (HDF5Data)'),
    'DenseImageData': (feeder('layer { name: "data" type: "DenseImageData" top: "data" top: "label" '
                              'dense_image_data_param { source: "x" } }'), "'DenseImageData', which BVLC Caffe lacks"),
    'a foreign Python layer': (feeder('layer { name: "data" type: "Python" top: "data" top: "label" python_param { '
                                      'module: "os" layer: "system" } }'), "of the Python module 'os'"),
    'fed by hand': (feeder('layer { name: "data" type: "Input" top: "data" top: "label" input_param { shape { dim: [1, '
                           '3, 24, 32] } shape { dim: [1, 1, 24, 32] } } }'), 'has no data layer: write layer'),
    'Upsample': (net(EXTRA, 'layer { name: "up" type: "Upsample" bottom: "conv1" top: "up" upsample_param { scale: 2 } '
                            '} ' + EXTRA), 'a Deconvolution with kernel_size: 2'),
    'BN': (net(EXTRA, 'layer { name: "bn" type: "BN" bottom: "conv1" top: "bn" } ' + EXTRA), 'write BatchNorm'),
    'a writer': (net(EXTRA, 'layer { name: "out" type: "HDF5Output" bottom: "conv1" hdf5_output_param { file_name: "x" '
                            '} } ' + EXTRA), "'HDF5Output', which is not let in"),
    'EuclideanLoss': (net('type: "SoftmaxWithLoss"', 'type: "EuclideanLoss"'), "'EuclideanLoss', which is not let in"),
    'a loss of another kind': (net('top: "conv1"  ', 'top: "conv1" loss_weight: 1 '), 'has a loss_weight'),
    'no loss that counts': (net(' }\n' + EXTRA, ' }\n' + EXTRA + ' loss_weight: 0'), 'no loss that counts'),
    'ignore_label': (net('ignore_label: 255', 'ignore_label: 0'), 'need ignore_label: 255'),
    'too many classes': (net('num_output: 3 ', 'num_output: 4 '), 'scores 4 classes, but folder has 3 in label'),
    'labels of no data set': (net('bottom: "label"', 'bottom: "data"'), 'not a score and one of the labels'),
    'an input that nothing feeds': (net(EXTRA, IMAGE.replace('"data"', '"more"') + EXTRA), 'its Input layer more'),
    'tops of another name': (change(train_net, 'top: "label"', 'top: "truth"'), 'as data, truth: call its tops'),
    'a split that is drawn': (change('val.prototxt', "'split': 'val'", "'split': 'train'"), 'is drawn at random'),
    'a split in order': (change(train_net, "'split': 'train'", "'split': 'val'"), 'is read in order'),
    'no such split': (change(train_net, "'split': 'train'", "'split': 'train2'"), 'no split train2'),
    'no such data set': (change(train_net, "'root': '", "'root': '/nowhere"), '/nowhere'),
    'param_str that is code': (change(train_net, '"{\'dataset\'', '"__import__(\'os\') or {\'dataset\''), 'never run'),
    'a window too large': (net(EXTRA, 'layer { name: "p" type: "Pooling" bottom: "conv1" top: "p" pooling_param { '
                                      'kernel_size: 99 } } ' + EXTRA), 'layer p (Pooling)'),
    'scores of half the size': (net('kernel_size: 3 pad: 1', 'kernel_size: 3 pad: 1 stride: 2'),
                                'a score of 1x3x12x16 beside a label of 1x1x24x32'),
    'no bottom': (net('bottom: "conv1" top: "score"', 'bottom: "conv9" top: "score"'), "'conv9' comes from no layer"),
    'a layer that only scores': (change('val.prototxt', 'name: "score"', 'name: "other"'), 'layer other has the param'),
    'both rules at once': (net(EXTRA, EXTRA + ' include { phase: TRAIN } exclude { phase: TEST }'), 'include and ex'),
    'a filler that Caffe lacks': (net('type: "msra"', 'type: "orthogonal"'), 'Unknown filler name: orthogonal'),
    'no way back': (net(EXTRA + ' type: "SoftmaxWithLoss" bottom: "score"', 'layer { name: "hard" type: "Threshold" '
                        'bottom: "score" top: "hard" } ' + EXTRA + ' type: "SoftmaxWithLoss" bottom: "hard"'),
                    'step with it'),
    'damaged weights': (lambda folder: (folder / 'init.caffemodel').write_bytes(b'\xa2\x06\xff'), 'init.caffemodel'),
    'weights of another net': (lambda folder: write_weights(folder / 'init.caffemodel', {'fc9': [np.ones(3, 'f')]}),
                               'none of the layers of the weights (fc9) is in the net'),
    'weights of another shape': (lambda folder: write_weights(folder / 'init.caffemodel', {'conv1': [np.ones(3, 'f')]}),
                                 'conv1'),
    'weights that are missing': (change(solver_says, 'max_iter', 'weights: "x/zoo.caffemodel" max_iter'), 'no such ca'),
    'deploy without scores': (deploy(IMAGE + 'layer { name: "conv1" type: "Convolution" ' + SCORE % 'conv1'),
                              'has no blob score'),
    'deploy of other layers': (deploy(IMAGE + 'layer { name: "conv7" type: "Convolution" ' + SCORE % 'score'),
                               'layer conv7 has the parameters'),
    'sigmoid without planes': (net('type: "SoftmaxWithLoss"', 'type: "SigmoidCrossEntropyLoss"'), "'planes': True"),
    'planes without sigmoid': (net("'split'", "'planes': True, 'split'"), 'as SigmoidCrossEntropyLoss takes them'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_folder_is_one_line_and_nothing_is_left(name, own, tmp_path, capsys):
    folder = folders.write(tmp_path / 'net', own)
    damage, said = BROKEN[name]
    damage(folder)
    before = tree(tmp_path)
    assert train(folder) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1 and told.startswith('error: '), told
    assert tree(tmp_path) == before


def test_wrong_calls_are_one_line(own, tmp_path, capsys):
    folder = folders.write(tmp_path / 'net', own, solver=folders.SOLVER.replace('"fixed"', '"poly" power: 0.9'))
    for options, said in ((('--iterations', 0), 'at least 1'), (('--iterations', 9), 'ends at max_iter 8'),
                          (('--run', folder), 'would be replaced'), (('--weights', 'x.caffemodel'), 'x.caffemodel')):
        before = tree(tmp_path)
        assert train(folder, *options) == 2
        told = capsys.readouterr().err
        assert said in told.splitlines()[-1] and tree(tmp_path) == before


def test_a_size_that_the_net_does_not_take_is_found_before_the_first_step(own, tmp_path, capsys):
    """Caffe would end the process at the first image of odd height, perhaps after days."""
    folders.save_jpeg(own / 'images/p1.jpg', np.zeros((25, 32, 3), np.uint8))
    folders.save_indexed(own / 'masks/p1.png', np.zeros((25, 32), np.uint8))
    folder = folders.write(tmp_path / 'unet', own, folders.unet())
    assert train(folder) == 2
    assert 'p1.jpg, which it gets as 32x25 pixels' in capsys.readouterr().err and not (tmp_path / 'runs').exists()
    change(train_net, "'split'", "'crop': 16, 'split'")(folder)
    read = read_training(folder)
    from solvers.foreign import check_phase
    check_phase(read.fcn('train'), True)
    change(train_net, "'crop': 16, 'split'", "'scale': (0.5, 1.0), 'split'")(folder)
    with pytest.raises(cli.BadInput, match='does not take'):
        check_phase(read_training(folder).fcn('train'), True)
