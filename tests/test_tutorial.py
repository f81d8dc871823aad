"""docs/tutorial.ipynb, run from top to bottom; and what it holds."""
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from data_layers.dataset import CHECKOUT  # noqa: E402
from data_layers.palette import save_indexed  # noqa: E402
from experiments import tutorial  # noqa: E402
from experiments.fetch import IDS  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers.commands import ROOT  # noqa: E402
from tests.helpers.datasets import write_voc  # noqa: E402
from tests.helpers.own_nets import convolutions  # noqa: E402

pytestmark = pytest.mark.caffe
KEPT = json.loads(tutorial.NOTEBOOK.read_text())
CODE = [cell for cell in KEPT['cells'] if cell['cell_type'] == 'code']
DEMO = CHECKOUT / 'data/demo/VOC2011-0.5', CHECKOUT / 'weights/vgg16-convolutions.caffemodel'


def kinds(cells):
    """What each cell of code shows: 'stdout', or a type of content."""
    return [[output.get('name') or min(output['data']) for output in cell['outputs']] for cell in cells]


def test_it_is_small_and_was_run():
    assert tutorial.NOTEBOOK.stat().st_size < 400_000
    assert [cell['execution_count'] for cell in CODE] == [*range(1, len(CODE) + 1)]
    assert KEPT['nbformat'] == 4 and len({cell['id'] for cell in KEPT['cells']}) == len(KEPT['cells'])
    assert sum(kinds(CODE), []).count('image/jpeg') >= 4
    text = tutorial.NOTEBOOK.read_text()
    assert str(ROOT) not in text and 'Traceback' not in text and '/root' not in text


def test_its_links_lead_somewhere():
    text = '\n'.join(''.join(cell['source']) for cell in KEPT['cells'] if cell['cell_type'] == 'markdown')
    links = re.findall(r'\]\(([^)#]+)', text)
    assert len(links) >= 4 and all((ROOT / 'docs' / link).exists() for link in links)


def test_a_cell_is_run_as_a_kernel_does():
    names = {'shell': tutorial.shell}
    text, value = tutorial.run_cell('!echo one; echo two >&2\nprint("three")\nx = 2\nx + 1', names)
    assert text['text'] == ['one\n', 'two\n', 'three\n'] and value['data'] == {'text/plain': ['3']}
    assert tutorial.run_cell('x += 1', names) == [] and names['x'] == 3
    picture, = tutorial.run_cell('from PIL import Image\nImage.new("RGB", (8, 4))', names)
    assert sorted(picture['data']) == ['image/jpeg', 'text/plain'] and '8x4' in picture['data']['text/plain'][0]
    with pytest.raises(tutorial.cli.Failed, match='status 3'):
        tutorial.run_cell('!exit 3', names)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    """On the demo's photographs and VGG-16 where they are here, else on drawn scenes and random convolutions."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'FCN_RUNS': str(tmp_path / 'runs')}
    real = all(path.exists() for path in DEMO)
    if real:
        environment |= {'FCN_DATA': str(CHECKOUT / 'data'), 'FCN_WEIGHTS': str(CHECKOUT / 'weights')}
    else:
        make_demo(tmp_path)
    out = tmp_path / 'run.ipynb'
    done = subprocess.run([sys.executable, '-m', 'experiments.tutorial', '--out', out], cwd=ROOT, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = [cell for cell in json.loads(out.read_text())['cells'] if cell['cell_type'] == 'code']
    assert kinds(cells) == kinds(CODE)
    assert [cell['source'] for cell in cells] == [cell['source'] for cell in CODE]
    text = '\n'.join(''.join(output.get('text', [])) for cell in cells for output in cell['outputs'])
    assert 'no problems' in text and 'have the same class as in Caffe' in text
    if real:
        right, total = (int(text.partition(' pieces of the same')[0].split()[i]) for i in (-3, -1))
        assert right > 0.6 * total      # chance is a quarter


def make_demo(folder):
    """Three scenes in the place of the demo's photographs, and random convolutions in that of VGG-16's."""
    root = folder / 'data/demo/VOC2011-0.5'
    for id, written in write_voc(root, IDS, sizes=[(72, 96)], classes=4).items():
        values = np.array([0, 15, 6, 9], np.uint8)[written['label'] % 4]     # background, person, bus, chair
        save_indexed(root / f'SegmentationClass/{id}.png', np.where(written['label'] == 255, 255, values).astype('u1'))
    (folder / 'weights').mkdir()
    write_weights(folder / 'weights/vgg16-convolutions.caffemodel', convolutions())
