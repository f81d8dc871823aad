"""The benchmark's own code: the nets of the basket, the arithmetic of a net, tables and goals; no peers, no timing."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import accel  # noqa: E402
import cli  # noqa: E402
from bench import __main__ as bench  # noqa: E402
from bench import basket, busy, engines, floor, folder, passes, state_dicts, threads  # noqa: E402
from bench import table as tables  # noqa: E402
from bench.engines import Job, Settings  # noqa: E402
from bench.processes import ask, rounds  # noqa: E402
from solvers.instance import instantiate, load  # noqa: E402
from surgery import read_net  # noqa: E402
from surgery.export.engines import compared  # noqa: E402

pytestmark = pytest.mark.caffe
SIZE = 96


@pytest.fixture(scope='module', params=basket.NETS)
def made(request, tmp_path_factory):
    """A net of the basket with an eighth of its channels, for small images; and its folder."""
    place = tmp_path_factory.mktemp(request.param)
    basket.make(request.param, place, SIZE, divide=2 if request.param == 'squeezenet' else 8)   # it squeezes to 16
    return request.param, place


def forward(place):
    net = load(instantiate(read_net(place / basket.DEPLOY)), place / basket.WEIGHTS)
    net.blobs['data'].data[...] = np.load(place / basket.IMAGE)
    net.forward()
    return net


def test_activations_keep_their_scale(made):
    _, place = made
    net = forward(place)
    assert net.blobs['score'].data.shape == (1, basket.CLASSES, SIZE, SIZE)
    for name, blob in net.blobs.items():
        values = np.abs(blob.data)
        assert 1e-2 < np.sqrt(np.mean(values ** 2)) < 1e3, name
        assert (values == 0).mean() < 0.95, name
        assert not ((values > 0) & (values < np.finfo(np.float32).tiny)).any(), name


def test_batch_statistics_are_those_of_the_image(made):
    """So that a step, which normalises by the batch, sees what a forward pass does."""
    _, place = made
    parameter = read_net(place / basket.DEPLOY)
    tested, trained = forward(place), load(instantiate(basket.without_dropout(parameter), caffe.TRAIN),
                                           place / basket.WEIGHTS)
    trained.blobs['data'].data[...] = np.load(place / basket.IMAGE)
    trained.forward()
    there = tested.blobs['score'].data
    np.testing.assert_allclose(trained.blobs['score'].data, there, atol=1e-3 * np.abs(there).max())


def test_head_is_fcns(made):
    name, place = made
    net = read_net(place / basket.DEPLOY)
    facts = json.loads((place / basket.FACTS).read_text())
    assert facts['stride'] == 8 and len(facts['skips']) == {16: 1, 32: 2}[facts['feature_stride']]
    ups = [layer.convolution_param.stride[0] for layer in net.layer if layer.type == 'Deconvolution']
    assert ups == [2] * len(facts['skips']) + [8]
    assert [layer.convolution_param.num_output for layer in net.layer if layer.name in facts['scores']] == [
        basket.CLASSES] * (1 + len(facts['skips'])), name


def test_onnx_export_agrees(made):
    runtime = pytest.importorskip('onnxruntime', reason='it is a requirement: make setup')
    _, place = made
    session = runtime.InferenceSession(str(place / basket.ONNX), providers=['CPUExecutionProvider'])
    scores, = session.run(None, {'data': np.load(place / basket.IMAGE)})
    found = compared(scores, forward(place).blobs['score'].data)
    assert found['max_relative'] < 1e-4 and found['labels_differ'] == 0


def test_no_layer_clips_in_place(made):
    """Caffe's gradient of Clip reads its bottom."""
    _, place = made
    for layer in read_net(place / basket.TRAIN).layer:
        assert layer.type != 'Clip' or layer.bottom[0] != layer.top[0], layer.name


def test_gradient_is_that_of_the_loss(made):
    """By a difference quotient along it: so that a step that is timed is one that trains."""
    _, place = made
    parameter = basket.without_dropout(read_net(place / basket.TRAIN))
    with accel.off():
        net = load(instantiate(parameter, caffe.TRAIN), place / basket.WEIGHTS)
    net.blobs['data'].data[...] = np.load(place / basket.IMAGE)
    net.blobs['label'].data[...] = 3
    net.forward()
    net.backward()
    first = next(layer.name for layer in parameter.layer if layer.type == 'Convolution')
    weights = net.params[first][0]
    direction, step = weights.diff / np.linalg.norm(weights.diff), 1e-4 * np.linalg.norm(weights.data)
    slope, before, losses = np.vdot(weights.diff, direction), weights.data.copy(), []
    for sign in (1, -1):
        weights.data[...] = before + sign * step * direction
        losses.append(float(net.forward()['loss']))
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=0.1)


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """The folder of the smallest net."""
    place = tmp_path_factory.mktemp('small')
    basket.make('squeezenet', place, SIZE, divide=2)
    return place


def test_our_process_runs_a_net(small, tmp_path):
    scores = tmp_path / 'scores.npy'
    command = [sys.executable, '-m', 'bench.ours', 'forward', '--net', str(small), '--size', str(SIZE), '--runs', '2',
               '--threads', '1', '--scores', str(scores)]
    report = ask('ours', command, {'FCN_ACCEL': '0'})
    assert report['engine'] == 'caffe' and report['passes'] == 2 and 20 < report['peak_mb'] < 2000
    there = forward(small).blobs['score'].data
    np.testing.assert_allclose(np.load(scores), there, atol=1e-4 * np.abs(there).max())
    checked = ask('ours', [*command[:3], 'check', *command[4:-2]], {'FCN_ACCEL': '0'})
    assert checked['loss'] > 0 and checked['gradient'] > 0


def test_our_process_takes_steps(small):
    report = ask('ours', [sys.executable, '-m', 'bench.ours', 'step', '--net', str(small), '--size', str(SIZE),
                          '--runs', '1', '--threads', '1'], {'FCN_ACCEL': '1'})
    assert report['engine'] == 'ours' and report['passes'] == 1 and report['first_s'] > 0


# -------------------------------------------------------------------------------------------------- whole width

@pytest.mark.parametrize(('name', 'millions'), [
    ('resnet50', 25.557032), ('mobilenetv2', 3.504872), ('squeezenet', 1.235496), ('efficientnet_lite0', 4.652008)])
def test_state_dicts_have_the_published_size(name, millions):
    """Parameters as torchvision's and efficientnet_lite_pytorch's pages count them."""
    state = getattr(state_dicts, name)()
    assert sum(array.size for key, array in state.items() if 'running' not in key) == round(1e6 * millions)


# --------------------------------------------------------------------------------------------------- arithmetic

def parsed(text):
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format
    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_arithmetic_by_hand():
    net = parsed('''
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 6 } } }
        layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {
                num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 2 bias_term: false } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "r" }
        layer { name: "s" type: "Convolution" bottom: "r" top: "s" convolution_param { num_output: 3 kernel_size: 1 } }
        layer { name: "u" type: "Deconvolution" bottom: "s" top: "u" param { lr_mult: 0 } convolution_param {
                num_output: 3 kernel_size: 4 stride: 2 bias_term: false } }
        layer { name: "f" type: "InnerProduct" bottom: "u" top: "f" inner_product_param { num_output: 5 } }''')
    found = floor.work(net)
    c, s, u, f = 6 * 4 * 3 * 2 * 9, 3 * 4 * 3 * 6, 3 * 4 * 3 * 3 * 16, 5 * 3 * 10 * 8
    assert found.forward == c + s + u + f and found.upsampling == u
    # The first has no gradient to its bottom, the upsampling none to its weights.
    assert found.step == 2 * c + 3 * s + 2 * u + 3 * f
    assert found.weights == 4 * (6 * 2 * 9 + 3 * 6 + 3 + 3 * 3 * 16 + f + 5)
    # The image is read, the output written; what ReLU reads is no blob of its own.
    assert found.blobs == 4 * (4 * 8 * 6 + 2 * (6 * 4 * 3 + 3 * 4 * 3 + 3 * 10 * 8) + 5)


def test_arithmetic_of_vgg16():
    """15.5 billion multiply-adds at 224 pixels, as the literature has it: 13 convolutions and 3 inner products."""
    found = floor.work(basket.vgg16.classifier())
    assert found.forward == 15_470_264_320
    assert found.weights == 4 * 138_357_544


def test_arithmetic_does_not_depend_on_being_in_place():
    one = '''layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
             layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {
                     num_output: 2 kernel_size: 1 } }
             layer { name: "r" type: "ReLU" bottom: "c" top: "TOP" }
             layer { name: "d" type: "Convolution" bottom: "TOP" top: "d" convolution_param {
                     num_output: 2 kernel_size: 1 } }'''
    assert floor.work(parsed(one.replace('TOP', 'c'))) == floor.work(parsed(one.replace('TOP', 'r')))


# -------------------------------------------------------------------------------------------- passes and rounds

def test_passes_end_with_their_number_or_their_time():
    done = []
    found = passes.timed(lambda: done.append(1), lambda: None, runs=5, seconds=60)
    assert len(done) == 6 and found['passes'] == 5 and found['min_s'] <= found['median_s'] <= found['max_s']
    found = passes.timed(lambda: None, lambda: None, runs=5, seconds=0)
    assert found['passes'] == passes.FEWEST


def test_peak_is_the_process_own():
    """Not what its parent has, nor what is left of it."""
    large = bytearray(300 << 20)
    peaks = []
    for code in ('pass', 'bytearray(b"x" * (200 << 20))'):
        done = subprocess.run([sys.executable, '-c', f'{code}; from bench.passes import peak_mb; print(peak_mb())'],
                              capture_output=True, text=True, check=True, cwd=basket.ROOT)
        peaks.append(int(done.stdout))
    assert peaks[0] < 100 < 200 <= peaks[1] and len(large) >> 20 <= passes.peak_mb()


def test_rounds():
    called = []

    def measure(job):
        called.append(job)
        return None if job == 'fails' else {'job': job}

    found = rounds(['once', 'fails', 'always'], measure, 3, once=['once'])
    assert called == ['once', 'fails', 'always', 'always', 'always']
    assert {job: len(some) for job, some in found.items()} == {'once': 1, 'always': 3}


# ------------------------------------------------------------------------------------------------ table and goals

def reports(net, what, size=500, layers='accelerated layers (AVX2, 2 threads)', **seconds):
    """Reports of one net: engine=seconds, or engine=(seconds, megabytes)."""
    found = {}
    for engine, value in seconds.items():
        time, peak = value if isinstance(value, tuple) else (value, 100)
        found[Job(net, engine.replace('_', '-'), what, size)] = [
            {'median_s': factor * time, 'min_s': time / 2, 'first_s': 2 * time, 'peak_mb': peak + i, 'layers': layers}
            for i, factor in enumerate((1, 0.5, 2))]
    return found


def goal(found, **wanted):
    one, = (goal for goal in found if all(goal[key] == value for key, value in wanted.items()))
    return one


def test_rows_are_medians():
    row, = tables.summarise(reports('vgg16', 'forward', ours=(0.4, 70)))
    assert (row['seconds'], row['fastest'], row['slowest'], row['first'], row['peak_mb'], row['rounds']) == (
        0.4, 0.2, 0.8, 0.8, 72, 3)


def test_goals_of_each_net_and_of_the_mean():
    nets = dict(zip(basket.NETS, (0.5, 0.25, 1.0, 0.5, 0.25, 2.0, 1.0), strict=True))
    rows = tables.summarise({job: some for net, ours in nets.items() for job, some in (
        reports(net, 'forward', ours=ours, caffe=9, ort=1, openvino=3, torch=2)
        | reports(net, 'step', ours=ours, caffe=9, torch=2)).items()})
    found = tables.goals(rows)
    for net, ours in nets.items():
        one = goal(found, net=net, what='forward')
        assert one['value'] == ours and one['at_most'] == 0.9 and one['met'] is (ours <= 0.9)
    mean = 2 ** ((-1 - 2 + 0 - 1 - 2 + 1 + 0) / 7)
    forward, step = goal(found, net='', what='forward'), goal(found, net='', what='step')
    assert forward['value'] == pytest.approx(mean, abs=1e-3) and forward['met'] is True and forward['at_most'] == 0.75
    assert step['value'] == pytest.approx(mean / 2, abs=1e-3) and step['at_most'] == 0.6
    text = tables.table(rows, dict.fromkeys(nets, floor.Work(10 ** 9, 0, 3 * 10 ** 9, 0, 0)))
    assert 'ours: MobileNetV2 forward 2.00 of the best peer, at most 0.9: missed (1.0 GMAC in 2.000 s are 1 GF' in text
    assert 'ours: the basket forward 0.61 of the best peer, geometric mean of 7 nets, at most 0.75: met' in text


def test_goal_of_the_mean_waits_for_all_nets():
    found = tables.goals(tables.summarise(reports('vgg16', 'forward', ours=1, ort=2)))
    assert goal(found, net='')['met'] is None


@pytest.mark.parametrize(('isa', 'most'), [('AVX2', 0.45), ('AVX-512', 0.35)])
def test_goals_of_fcn8s(isa, most):
    layers = f'accelerated layers ({isa}, 2 threads)'
    found = tables.goals(tables.summarise(
        reports('fcn8s', 'forward', ours=(0.44, 900), ort=1, torch=3)
        | reports('fcn8s', 'forward', 1000, ours=(2, 1600), ort=3)
        | reports('fcn8s', 'step', ours=0.4, torch=1, layers=layers)))
    assert {(one['what'], one['goal']): (one['value'], one['at_most'], one['met']) for one in found} == {
        ('forward', 'of the best peer'): (0.44, 0.45, True), ('step', 'of PyTorch'): (0.4, most, most == 0.45),
        ('forward', 'MB at 500 pixels'): (902, 950, True), ('forward', 'MB at 1000 pixels'): (1602, 1500, False)}


def test_goals_of_each_instruction_set():
    found = tables.goals(tables.summarise(reports('vgg16', 'forward', ours=0.5, ours_avx2=0.8, ort=1)))
    assert goal(found, engine='ours-avx2', net='vgg16')['value'] == 0.8
    assert goal(found, engine='ours', net='vgg16')['value'] == 0.5
    assert engines.title('ours-avx2') == 'ours (AVX2)'


def test_record_keeps_what_other_calls_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, 'arithmetic', lambda net: floor.Work(1, 0, 3, 4, 8))
    where = tmp_path / 'bench/bench.json', tmp_path / 'bench/table.txt'
    about = {'machine': {'cpu': 'this'}, 'threads': 2}
    bench.Record(*where, about, keep=False).add(reports('vgg16', 'forward', ours=1, ort=2, caffe=3))
    later = bench.Record(*where, about, keep=True)
    later.add(reports('vgg16', 'forward', ours=0.5, ort=2))     # Caffe's row goes: it was of another time
    later.add(reports('resnet50', 'step', ours=1, torch=2))
    rows = json.loads(where[0].read_text())['rows']
    assert {(row['net'], row['engine'], row['what'], row['seconds']) for row in rows} == {
        ('vgg16', 'ours', 'forward', 0.5), ('vgg16', 'ort', 'forward', 2), ('resnet50', 'ours', 'step', 1),
        ('resnet50', 'torch', 'step', 2)}
    assert 'VGG-16' in where[1].read_text()
    with pytest.raises(cli.BadInput, match='measured on another machine or with other settings'):
        bench.Record(*where, {**about, 'threads': 1}, keep=True)
    assert json.loads(where[0].read_text())['rows'] == rows
    assert not bench.Record(*where, about, keep=False).rows


# ---------------------------------------------------------------------------------------------------- agreement

SETTINGS = Settings(None, 1, 1, 1.0)


def fake(monkeypatch, scores, **reports):
    """Engines whose processes give fixed scores and reports."""
    def measure(job, settings, *more):
        if '--scores' in more:
            np.save(more[1], scores[job.engine])
        return dict(reports.get(job.engine.replace('-', '_'), {}))
    monkeypatch.setattr(engines, 'measure', measure)


def test_engines_that_compute_something_else_are_left_out(tmp_path, monkeypatch, capsys):
    right = np.random.default_rng(0).normal(size=(1, 21, 5, 5)).astype('f')
    wrong = right + 0.01 * np.abs(right).max()
    fake(monkeypatch, {'caffe': right, 'ours': right * (1 + 1e-6), 'ort': wrong})
    agreement = engines.Agreement(SETTINGS, tmp_path)
    caffes, ours, ort = (Job('vgg16', engine, 'forward', 500) for engine in ('caffe', 'ours', 'ort'))
    assert agreement.measure(caffes) == {}
    assert 0 < agreement.measure(ours)['difference'] < 1e-5
    assert agreement.measure(ort) is None
    assert 'left out: VGG-16, forward at 500, ONNX Runtime: its scores differ from Caffe\'s by 0.01' in \
        capsys.readouterr().err
    fake(monkeypatch, {'ours-avx2': wrong})
    with pytest.raises(cli.Failed, match='its scores differ'):
        agreement.measure(Job('vgg16', 'ours-avx2', 'forward', 500))


def test_nothing_is_compared_without_caffe(tmp_path, monkeypatch):
    fake(monkeypatch, {'ours': np.zeros((1, 21, 5, 5))})
    with pytest.raises(cli.Failed, match='no scores of Caffe'):
        engines.Agreement(SETTINGS, tmp_path).measure(Job('vgg16', 'ours', 'forward', 500))


def test_steps_that_compute_something_else_are_left_out(tmp_path, monkeypatch, capsys):
    fake(monkeypatch, {}, caffe={'loss': 100, 'gradient': 10}, ours={'loss': 100.001, 'gradient': 10.02},
         torch={'loss': 100, 'gradient': 11})
    assert engines.Agreement(SETTINGS, tmp_path).same_step('vgg16', ['caffe', 'ours', 'torch']) == ['caffe', 'ours']
    assert 'PyTorch: its gradient differ from Caffe\'s by 0.1' in capsys.readouterr().err
    fake(monkeypatch, {}, caffe={'loss': 100, 'gradient': 10}, ours={'loss': 101, 'gradient': 10})
    with pytest.raises(cli.Failed, match='its loss differ'):
        engines.Agreement(SETTINGS, tmp_path).same_step('vgg16', ['caffe', 'ours'])


# -------------------------------------------------------------------------------------- busy, threads, photographs

def test_busy_rows():
    job = Job('vgg16', 'ours', 'forward', 500)
    row = busy.row(job, {'median_s': 1}, {'median_s': 4.5, 'max_s': 6})
    assert row['ratio'] == 4.5 and row['met'] is False
    assert busy.row(job, {'median_s': 1}, {'median_s': 4, 'max_s': 6})['met'] is True
    assert busy.row(job._replace(engine='ort'), {'median_s': 1}, {'median_s': 9, 'max_s': 9})['met'] is None
    assert 'missed' in busy.table([row])


def test_spinning_processes_share_the_cores_and_end():
    before = os.sched_getaffinity(0)
    with busy.held_to(1), busy.spinning(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
        assert [os.sched_getaffinity(process.pid) for process in processes] == 2 * [{min(before)}]
    assert all(process.returncode for process in processes) and os.sched_getaffinity(0) == before


def test_more_threads_than_cores():
    with pytest.raises(cli.BadInput, match='this machine has'), busy.held_to(1 + len(os.sched_getaffinity(0))):
        pass


def test_numbers_of_threads():
    assert [threads.counts(n) for n in (1, 2, 3, 4, 6, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6],
                                                               [1, 2, 4, 8]]
    some = {threads.Threaded(job, n): found for n, seconds in ((1, 1.0), (2, 0.625))
            for job, found in reports('vgg16', 'step', ours=seconds).items()}
    rows = threads.rows_of(some)
    assert [row['speed'] for row in rows] == [1, 1.6] and '0.80' in threads.table(rows)


def test_photographs(tmp_path):
    from PIL import Image
    paths = folder.write_photographs(tmp_path, 4)
    sizes = [Image.open(path).size for path in paths]
    assert sizes == [folder.WIDE] * 3 + [folder.TALL]
    assert all(20_000 < path.stat().st_size < 200_000 for path in paths)    # as photographs of this size have


def test_the_stages_of_a_photograph(small, tmp_path):
    photographs, out = tmp_path / 'photographs', tmp_path / 'out'
    photographs.mkdir()
    out.mkdir()
    names = [path.stem for path in folder.write_photographs(photographs, 2)]
    found = folder.stages(small, photographs, out)
    assert [*found] == [*folder.STAGES] and all(seconds > 0 for seconds in found.values())
    assert all(any(path.name.startswith(name) for path in out.iterdir()) for name in names)


@pytest.mark.parametrize('arguments', [['--nets', 'lenet'], ['--rounds', '0'], ['--seconds', '0'], ['--isa', 'mmx']])
def test_wrong_calls(arguments, capsys):
    with pytest.raises((SystemExit, cli.BadInput)) as caught:
        bench.arguments(arguments)
    assert getattr(caught.value, 'code', 2) == 2
