"""docs/bring-your-own-net.md, run as written on a small net and small photographs."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from tests.helpers import datasets, deploy_nets, own  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / 'docs/bring-your-own-net.md').read_text()


def blocks(kind):
    return re.findall(rf'^```{kind}\n(.*?)^```', TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_as_written(tmp_path):
    commands = [line for block in blocks('sh') for line in block.splitlines()]
    assert len(commands) == 8
    for name in ('one', 'two'):
        own.photo(tmp_path / f'photos/{name}.jpg', (45, 58))
    deploy_nets.write(tmp_path / 'unet', deploy_nets.unet())
    datasets.save_lines(tmp_path / 'classes.txt', ['sky', 'sea', 'land', 'ice'])
    written = datasets.write_voc(tmp_path / 'data/pascal/VOC2011', classes=4)
    for folder in ('predictions', 'truth'):
        for id, sample in written.items():
            datasets.save_png(tmp_path / folder / f'{id}.png', sample['label'])
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
                                'FCN_DATA': str(tmp_path / 'data')}
    for number, command in enumerate(commands):
        if number == 1:
            (tmp_path / 'unet/net.json').write_text(blocks('json')[0])
        if '--dataset voc' in command:      # which has 21 classes
            deploy_nets.write(tmp_path / 'unet', deploy_nets.unet(21))
            known = json.loads((tmp_path / 'unet/net.json').read_text())
            (tmp_path / 'unet/net.json').write_text(json.dumps(known | {'classes': []}))
        done = subprocess.run(['bash', '-c', command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    assert {path.name for path in (tmp_path / 'segmented').iterdir()} == {
        f'{name}{end}' for name in ('one', 'two') for end in ('.png', '_overlay.jpg')}
    assert json.loads((tmp_path / 'scores.json').read_text())['images'] == 3
    assert json.loads((tmp_path / 'pictures.json').read_text())['tasks']['label']['mean_iu'] == 1
    assert 'Confusion matrix' in (tmp_path / 'pictures.html').read_text()


def test_the_net_json_shown_is_one(tmp_path):
    from surgery import preparation
    (tmp_path / 'net.json').write_text(blocks('json')[0])
    assert preparation.read(tmp_path / 'net.json').mean == (104, 117, 123)
