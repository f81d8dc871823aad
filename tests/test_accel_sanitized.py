"""The tests of the accelerated layers and solver once more, compiled with AddressSanitizer."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
from accel import build  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TESTS = ('tests/test_accel_layers.py', 'tests/test_accel_solver.py')
RUN = '''
import pathlib
import sys
import accel
accel.build.library = lambda: pathlib.Path(sys.argv[1])
assert accel.enable(), accel.status()
import pytest
wanted = 'not environment and not lesser and not stops'
sys.exit(pytest.main([*sys.argv[2:], '-p', 'no:cacheprovider', '-k', wanted]))
'''


def runtime(name: str) -> str:
    """A library of gcc's, its bare name if it is not there."""
    return subprocess.run(['g++', f'-print-file-name={name}'], capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope='module')
def library():
    """The layers with AddressSanitizer, built once for these sources: it lies beside the ordinary library."""
    path = build.library().with_name('libaccel_sanitized.so')
    if not path.is_file():
        build.compile_library(path, ('-fsanitize=address', '-g'))
    return path


@pytest.mark.caffe
@pytest.mark.slow
@pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())
@pytest.mark.skipif(not os.path.isabs(runtime('libasan.so')), reason='gcc came without AddressSanitizer')
@pytest.mark.parametrize('isa', [pytest.param('avx512', marks=pytest.mark.skipif(
    'AVX-512' not in accel.status(), reason='this CPU has no AVX-512')), 'avx2', 'sse4'])
def test_no_access_out_of_bounds(library, isa, tmp_path):
    # The interpreter is not linked with C++'s runtime, which the sanitizer looks for at the start. What is found goes
    # to a file, since pytest keeps what a test prints. Leaks are not looked for: the interpreter keeps what it has.
    preload = f'{runtime("libasan.so")} {runtime("libstdc++.so.6")}'
    result = subprocess.run([sys.executable, '-c', RUN, str(library), *TESTS], cwd=ROOT, capture_output=True, text=True,
                            env={**os.environ, 'FCN_ACCEL': '0', 'FCN_ACCEL_ISA': isa, 'LD_PRELOAD': preload,
                                 'ASAN_OPTIONS': f'detect_leaks=0:log_path={tmp_path}/found'})
    found = ''.join(path.read_text() for path in tmp_path.glob('found*'))
    assert not found, found[:3000]
    assert result.returncode == 0 and ' passed' in result.stdout, result.stdout[-3000:] + result.stderr[-3000:]
