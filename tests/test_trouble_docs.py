"""docs/trouble.md: the messages that it quotes are provoked and compared, and the commands that it gives exist."""
import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from nets import __main__ as nets_main  # noqa: E402
from nets import infer  # noqa: E402
from solvers import __main__ as solvers  # noqa: E402
from solvers import capacity  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import folders, own  # noqa: E402
from tests.helpers.commands import ROOT  # noqa: E402
from tests.helpers.datasets import save_lines, save_png  # noqa: E402
from tests.helpers.surgery_nets import layer  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
PAGE = (ROOT / 'docs/trouble.md').read_text()
SECTIONS = {title: text for title, text in re.findall(r'^## (?:\d+\. )?(.*)\n((?:(?!## ).*\n)*)', PAGE, re.MULTILINE)}
NUMBERED = [(int(number), title) for number, title in re.findall(r'^## (\d+)\. (.*)', PAGE, re.MULTILINE)]
# A line that is quoted whole, with what differs from case to case: words with a slash or a dot in them, and numbers.
NAMES = re.compile(r'[\w.-]*/[\w./-]*|\b[\w-]+\.(?:prototxt|txt|png|jpg)\b|\b(?:mine|roads|folder)\b')
NUMBERS = re.compile(r'\d[\d.,]*(?:e[-+]?\d+)?')


def plain(line):
    """A message without its names and numbers."""
    return NUMBERS.sub('#', NAMES.sub('PATH', line))


def quoted(text):
    """The messages of the project in the blocks of a section; `...` is where one was cut."""
    blocks = re.findall(r'^```\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(('error: ', 'warning: '))]


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(solvers.solve, 'tell_finished', lambda *_: None)


@pytest.fixture
def said(tmp_path, capsys):
    """Trains a folder, or runs another command, and gives what it says; `said.folder` writes one."""
    folders.write_own(tmp_path / 'own')

    class Said:
        count = 0
        root = tmp_path

        def folder(self, **parts):
            self.count += 1
            return folders.write(tmp_path / f'net{self.count}', tmp_path / 'own', **parts)

        def __call__(self, main, *words):
            cli.run(main, [*map(str, words)])
            return capsys.readouterr().err.splitlines()

        def train(self, *words, **parts):
            return self.trained(self.folder(**parts), *words)

        def trained(self, folder, *words):
            return self(solvers.main, 'train', folder, '--cpu', '--run', tmp_path / f'run-{folder.name}', *words)

        def new(self, change, classes=own.CLASSES):
            """`nets new` on data whose masks are changed."""
            data = tmp_path / 'data-of-mine'
            own.write(data)
            save_lines(data / 'classes.txt', classes)
            for path in (data / 'masks').iterdir():
                change(path, np.asarray(Image.open(path)))
            return self(nets_main.main, 'new', 'mine', '--data', data)

        def infer(self, net, weights):
            (tmp_path / 'deploy.prototxt').write_text(INPUTS.partition('\n')[0] + net)
            write_weights(tmp_path / 'w.caffemodel', weights)
            return self(infer.main, '--prototxt', tmp_path / 'deploy.prototxt', '--weights', tmp_path / 'w.caffemodel',
                        tmp_path / 'own/images/p0.jpg', '--out', tmp_path / 'out', '--cpu')

    return Said()


def solver(rate, steps=8, snapshot=250):
    return (folders.SOLVER.replace('base_lr: 0.01', f'base_lr: {rate}').replace('max_iter: 8', f'max_iter: {steps}')
            .replace('test_interval: 4', f'test_interval: {steps}').replace('snapshot: 2', f'snapshot: {snapshot}'))


def filled(filler):
    return folders.simple().replace('type: "msra"', filler)


def loss(parameters):
    return folders.loss().replace('ignore_label: 255', parameters)


def edited(folder, old, new):
    for path in (folder / 'train.prototxt', folder / 'val.prototxt'):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    return folder


def feeding(folder, line):
    """The folder with another data layer."""
    for path in (folder / 'train.prototxt', folder / 'val.prototxt'):
        path.write_text(line + '\n' + path.read_text().partition('layer { name: "conv1"')[1]
                        + path.read_text().partition('layer { name: "conv1"')[2])
    return folder


def chance(said, _):
    return said.train(net=filled('type: "gaussian" std: 0.0001'), solver=solver(1e-6, 200))


def nan(said, _):
    return said.train(losses=loss('ignore_label: 255 normalize: false'), solver=solver(1, 200, 1))


def rates(said, _):
    return said.train(solver=solver(1e-10, 1)) + nan(said, _)


def zero(said, _):
    return said.train(net=filled('type: "constant" value: 0'), solver=solver(0.01, 1))


def unmatched(said, _):
    write_weights(said.root / 'w.caffemodel', {'fc': [np.ones((2, 3), 'f')]})
    return said.train('--weights', said.root / 'w.caffemodel')


def mismatch(said, _):
    write_weights(said.root / 'w.caffemodel', {'score': [np.ones((21, 6, 1, 1), 'f'), np.ones(21, 'f')]})
    return said.train('--weights', said.root / 'w.caffemodel') + said.train(net=folders.simple(4))


def shifted(said, _):
    wide = folders.simple().replace('pad: 1', 'pad: 5').replace('"score"', '"fine"')
    return said.train(net=wide + layer('score', 'Crop', ['fine', 'data'], extra='crop_param { axis: 2 offset: 19 }'))


def from_one(said, _):
    return said.new(lambda path, mask: save_png(path, np.where(mask == 255, 255, mask + 1).astype(np.uint8)))


def ignored(said, _):
    return said.train(losses=loss('normalize: true')) + said.train(net=folders.simple().replace('pad: 1', 'pad: 0'))


def smoothed(said, _):
    def change(path, mask):
        Image.fromarray((mask * 80).astype(np.uint8)).save(path.with_suffix('.jpg'), quality=90)
        path.unlink()
    return said.new(change)


def black_and_white(said, _):
    lines = said.new(lambda path, mask: save_png(path, ((mask == 1) * 255).astype(np.uint8)), ['background', 'road'])
    colours = np.array([[128, 0, 0], [0, 128, 0], [0, 0, 0]], np.uint8)
    (said.root / 'data-of-mine').rename(said.root / 'before')
    return lines + said.new(lambda path, mask: save_png(path, colours[np.where(mask == 255, 0, mask)]))


def parting(_, __):
    from solvers.monitor import Splits
    splits = Splits()
    for trained, held_out in ((0.3, 0.41), (0.25, 0.44), (0.22, 0.48), (0.19, 0.52)):
        splits.add(trained, scored=False)
        splits.add(held_out, scored=True)
    return [f'warning: {splits.parted()}']


def memory(said, monkeypatch):
    folders.write_own(said.root / 'large', size=(240, 320))
    folder = folders.write(said.root / 'net', said.root / 'large')
    monkeypatch.setattr(capacity, 'available', lambda: 6_000_000)
    return said.trained(folder)


def fixed_size(said, _):
    inner = layer('ip', 'InnerProduct', 'score', extra='inner_product_param { num_output: 5 }')
    return said.infer(folders.simple() + inner, {'conv1': [np.ones((6, 3, 3, 3), 'f')]})


def unknown(said, _):
    lines = []
    for name, kind in (('up', 'Interp'), ('unpool', 'Upsample'), ('bn', 'BN')):
        folder = edited(said.folder(), 'name: "relu1" type: "ReLU"', f'name: "{name}" type: "{kind}"')
        lines += said.trained(folder)
    images = 'layer { name: "data" type: "ImageData" top: "data" top: "label" }'
    return lines + said.trained(feeding(said.folder(), images))


def old(said, _):
    return said.trained(edited(said.folder(), 'layer { name: "relu1"', 'layers { name: "relu1"'))


def python(said, _):
    return said.trained(edited(said.folder(), 'module: "data_layers.layers"\n  layer: "SegmentationData"',
                               'module: "voc_layers" layer: "VOCSegDataLayer"'))


def resumed(said, _):
    folder = said.folder(solver=solver(0.01, 2, 2))
    lines = said.trained(folder) + said.trained(folder) + said.trained(folder, '--resume', '--base-lr', 0.5)
    return lines + said.trained(edited(folder, 'num_output: 6', 'num_output: 7'), '--resume')


CASES = {1: chance, 2: nan, 4: rates, 5: zero, 6: zero, 7: unmatched, 8: mismatch, 11: shifted, 13: from_one,
         14: ignored, 15: smoothed, 16: black_and_white, 18: parting, 19: memory, 21: fixed_size, 22: unknown, 23: old,
         24: python, 25: resumed}


@pytest.mark.slow
@pytest.mark.parametrize('number', CASES)
def test_the_messages_are_those_that_are_printed(number, said, monkeypatch):
    lines = quoted(SECTIONS[dict(NUMBERED)[number]])
    printed = [plain(line) for line in CASES[number](said, monkeypatch)]
    for line in lines:
        start = plain(line.removesuffix('...'))
        assert any(start in other if line.endswith('...') else re.fullmatch(pattern(start), other)
                   for other in printed), f'{start}\n\n' + '\n'.join(printed)
    assert lines


def pattern(text):
    """What a plain message may differ in: how many numbers or names a list has."""
    return re.escape(text).replace(re.escape(', #'), '(?:, #)*?')


def test_every_quoted_message_is_provoked():
    assert {number for number, title in NUMBERED if quoted(SECTIONS[title])} == set(CASES)
    assert [number for number, _ in NUMBERED] == list(range(1, len(NUMBERED) + 1)) and len(NUMBERED) >= 20


def test_links_lead_to_sections():
    for page, anchor in re.findall(r'\]\((?:([\w./-]+\.md))?#([\w-]+)\)', PAGE):
        text = (ROOT / 'docs' / page).read_text() if page else PAGE
        titles = [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')
                  for title in re.findall(r'^#+ (.*)', text, re.MULTILINE)]
        assert anchor in titles, f'{page}#{anchor}'
    for page in re.findall(r'\]\(([\w./-]+\.md)', PAGE):
        assert (ROOT / 'docs' / page).is_file()


# ------------------------------------------------------------------------------------------------ Caffe's own messages

INPUTS = '''layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 dim: 20 dim: 32 } } }
'''
SCORE = layer('score', 'Convolution', 'data', extra='convolution_param { num_output: 3 kernel_size: 3 }')
CAFFES_OWN = {      # prototxt after INPUTS -> the section that quotes what Caffe says of it
    11: layer('x', 'Crop', ['data', 'label'], extra='crop_param { axis: 2 offset: 19 }'),
    14: SCORE + layer('x', 'SoftmaxWithLoss', ['score', 'label']),
    19: layer('x', 'Convolution', 'data', extra='convolution_param { num_output: 2000000000 kernel_size: 1 }'),
    22: layer('x', 'Interp', 'data'),
    23: layer('x', 'ReLU', 'data').replace('layer {', 'layers {'),
    24: layer('x', 'Python', 'data', extra='python_param { module: "voc_layers" layer: "VOCSegDataLayer" }')}


@pytest.mark.slow
@pytest.mark.parametrize('number', CAFFES_OWN)
def test_caffe_says_so(number, tmp_path):
    (tmp_path / 'n.prototxt').write_text(INPUTS + CAFFES_OWN[number])
    done = subprocess.run([sys.executable, '-c', 'import caffe; caffe.Net("n.prototxt", caffe.TEST)'], cwd=tmp_path,
                          capture_output=True, text=True)
    section = SECTIONS[dict(NUMBERED)[number]]
    found = [line for line in section.splitlines() if line.startswith(('Check failed', 'ModuleNotFound'))]
    assert done.returncode and any(line in done.stderr for line in found), done.stderr


@pytest.mark.slow
def test_caffe_says_so_of_weights(tmp_path):
    (tmp_path / 'n.prototxt').write_text(INPUTS + SCORE)
    write_weights(tmp_path / 'w.caffemodel', {'score': [np.ones((21, 3, 3, 3), 'f'), np.ones(21, 'f')]})
    done = subprocess.run([sys.executable, '-c', 'import caffe; caffe.Net("n.prototxt", caffe.TEST, weights='
                           '"w.caffemodel")'], cwd=tmp_path, capture_output=True, text=True)
    message = "Cannot copy param 0 weights from layer 'score'; shape mismatch"
    assert message in done.stderr and f'`{message}`' in PAGE


# ------------------------------------------------------------------------------------------------------- the commands

COMMANDS = [line for block in re.findall(r'^```sh\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
            for line in block.splitlines()]


@cache
def help_of(*words):
    done = subprocess.run([sys.executable, '-m', *words, '--help'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def called(line):
    """The module and subcommand of a line, and the options that it gives."""
    line = re.sub(r'^make \S+( ARGS="(.*)")?', r'python -m solvers train \2', line).partition('#')[0]     # as it takes
    words = line.split()
    assert words[:2] == ['python', '-m'], line
    subcommand = [] if '.' in words[2] else [words[3]]
    return [words[2], *subcommand], [word for word in words if word.startswith('--')]


@pytest.mark.slow
@pytest.mark.parametrize('line', COMMANDS)
def test_the_commands_take_their_options(line):
    words, options = called(line)
    known = help_of(*words)
    for option in options:
        assert re.search(rf'{option}\b', known), option


def test_there_are_commands():
    assert len(COMMANDS) > 25 and {called(line)[0][0] for line in COMMANDS} >= {
        'nets', 'solvers', 'surgery', 'data_layers', 'nets.infer', 'report'}
