"""Caffe's own Python tests on the accelerated layers; make setup runs them on Caffe's own."""
import os
import subprocess
import sys

import pytest

pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
from third_party.caffe import build, recipe, source  # noqa: E402

ARCHIVE = build.cache_folder() / recipe.ARCHIVE


@pytest.mark.caffe
@pytest.mark.slow
@pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())
@pytest.mark.skipif(not (os.environ.get('CAFFE_SRC') or ARCHIVE.is_file()),
                    reason='no source of Caffe: rm -r ~/.cache/fcn-caffe; make setup')
def test_caffes_own_tests(tmp_path):
    source.prepare(tmp_path / 'caffe', build.cache_folder())
    command, folder = build.prepare_own_tests(sys.executable, tmp_path / 'caffe',
                                              'import accel\nassert accel.enable()\n')
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0 and '51 passed' in result.stdout, result.stdout[-3000:]
