"""The demo's photographs as somebody's own folder: whatever form the masks have, training gives the same result."""
import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput  # noqa: E402
from data_layers.palette import PALETTE, save_indexed  # noqa: E402
from data_layers.voc import CLASSES  # noqa: E402
from experiments import fetch  # noqa: E402
from tests.helpers.datasets import save_lines, save_png  # noqa: E402
from tests.helpers.own_nets import train_chain, write  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.slow]


@pytest.fixture
def demo(monkeypatch):
    """Photographs and convolutions of `make demo`, where that put them or puts them now."""
    with monkeypatch.context() as own:
        own.delenv('FCN_DATA')
        own.delenv('FCN_WEIGHTS')
        try:
            return fetch.photographs(0.5).resolve(), fetch.vgg16_convolutions().resolve()
        except BadInput as problem:
            pytest.skip(str(problem))


def export(voc, folder, masks):
    """images/, masks/ as 'index', 'palette' or 'rgb' PNG, and classes.txt."""
    (folder / 'masks').mkdir(parents=True)
    shutil.copytree(voc / 'JPEGImages', folder / 'images')
    for path in (voc / 'SegmentationClass').iterdir():
        label = np.asarray(Image.open(path))
        if masks == 'palette':
            save_indexed(folder / f'masks/{path.name}', label)
        else:
            save_png(folder / f'masks/{path.name}', PALETTE[label] if masks == 'rgb' else label)
    lines = list(CLASSES)
    if masks == 'rgb':
        lines = [f'{" ".join(map(str, PALETTE[number]))} {name}'
                 for number, name in [*enumerate(CLASSES), (255, 'void')]]
    save_lines(folder / 'classes.txt', lines)


def test_the_demos_photographs_train_to_the_same_result_three_ways(checkout, demo, tmp_path):
    """32s, 16s and 8s of `nets new` from VGG-16's convolutions: equal bytes of weights, losses and scores."""
    voc, convolutions = demo
    results = []
    for masks in ('index', 'palette', 'rgb'):
        export(voc, tmp_path / masks, masks)
        write(f'demo-{masks}', tmp_path / masks, checkout)
        results.append(train_chain(f'demo-{masks}', convolutions, tmp_path / 'runs', 3))
    for masks, mode in (('index', 'L'), ('palette', 'P'), ('rgb', 'RGB')):
        assert {Image.open(path).mode for path in (tmp_path / masks / 'masks').iterdir()} == {mode}
    truth = np.sum(results[0][1], axis=1)
    assert np.count_nonzero(truth) > 1 and truth.sum() < 250 * 190     # of one photograph, and void is none of it
    assert results[0] == results[1] == results[2]
