"""The sweep of single layers: it compares what it says, and its tables hold layers that Caffe makes."""
import json
import math

import pytest

pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
import cli  # noqa: E402
from bench import layer_shapes, layers  # noqa: E402
from bench.layer_shapes import BATCH_NORM, CONCAT, Case, conv, pool  # noqa: E402

pytestmark = [pytest.mark.caffe,
              pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())]
TINY = [Case('a', conv(4, 3, pad=1), ((1, 3, 5, 6),)), Case('a', CONCAT, ((1, 2, 5, 6), (1, 1, 5, 6))),
        Case('a', BATCH_NORM, ((2, 3, 4, 5),), in_place=True),
        Case('b', pool('MAX', 3, 2), ((1, 3, 7, 9),), phase='TEST'),
        Case('b', CONCAT, ((1, 2, 5, 6), (1, 1, 5, 6))), Case('b', 'type: "Split"', ((1, 2, 5, 6),), tops=3)]


def test_sweep():
    """Each distinct layer once, in both directions but for inference, with the worst ratio first."""
    rows = layers.sweep(TINY, 2)
    assert sorted((row['kind'], row['what']) for row in rows) == [
        ('BatchNorm', 'backward'), ('BatchNorm', 'forward'), ('Concat', 'backward'), ('Concat', 'forward'),
        ('Convolution', 'backward'), ('Convolution', 'forward'), ('Pooling', 'forward'), ('Split', 'backward'),
        ('Split', 'forward')]
    assert all(row['ours_s'] > 0 and row['caffe_s'] > 0 for row in rows)
    assert [row['ratio'] for row in rows] == sorted((row['ratio'] for row in rows), reverse=True)
    assert len(layers.worst_table(rows, 3).splitlines()) == 4 and 'BatchNorm' in layers.kinds_table(rows)


def test_it_tells_slow_from_quick():
    """Ten times the work is not taken for noise."""
    quick, slow = (layers.make(Case('', conv(16, 3, pad=1), ((images, 16, 40, 40),))) for images in (1, 10))
    assert min(layers.ratios(layers.compare((slow, quick), 'forward', 3))) > 2


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('FCN_RUNS', str(tmp_path))
    monkeypatch.setattr(layers, 'basket', lambda: TINY)
    monkeypatch.setattr(layers.os, 'environ', dict(layers.os.environ))
    assert cli.run(layers.main, ['--only', 'Concat', '--random', '0', '--samples', '1']) == 0
    written = json.loads((tmp_path / 'bench/layers.json').read_text())
    assert {row['kind'] for row in written['rows']} == {'Concat'} and 'layers.json' in capsys.readouterr().out
    assert cli.run(layers.main, ['--only', 'no such layer']) == 2
    assert cli.run(layers.main, ['--samples', '0']) == 2
    assert capsys.readouterr().err.count('\n') == 2


def test_tables_are_of_layers_that_caffe_makes():
    """All at the smallest size, and what is drawn; some kinds at least, and no blob that a small machine lacks."""
    cases = [case for case in layer_shapes.basket() if '97x130' in case.name]
    cases = list({case._replace(name=''): case for case in [*cases, *layer_shapes.random_cases(40)]}.values())
    assert len(cases) > 150 and len({case.layer.split('"')[1] for case in cases}) >= 15
    assert len({case._replace(name='') for case in layer_shapes.basket()}) > 400
    for case in cases:
        net = layers.make(case)
        assert all(1 <= math.prod(blob.shape) < 1 << 24 for blob in net.blobs.values()), case
    assert list(layer_shapes.random_cases(20)) == list(layer_shapes.random_cases(20))
