"""Caffe as a wheel: what goes into it, what setup refuses, and what it does where nothing else is installed."""
import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import nets
from tests.helpers import roots
from third_party.caffe import Problem, bundle, kit, wheel
from third_party.caffe import __main__ as setup

ROOT = Path(__file__).parents[1]
HERE = f'{wheel.python_tags()}-{wheel.platform_tag()}'


# Packing

def stage(folder, content=b'x'):
    for name in ('b/inner.so', 'a.py', 'p-1.dist-info/WHEEL'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_equal_folders_are_equal_wheels(tmp_path):
    wheel.pack(stage(tmp_path / 'one'), tmp_path / '1.whl')
    os.utime(stage(tmp_path / 'two') / 'a.py', (10, 10))
    wheel.pack(tmp_path / 'two', tmp_path / '2.whl')
    wheel.pack(tmp_path / 'two', tmp_path / '2.whl')    # a RECORD from before is not recorded
    assert (tmp_path / '1.whl').read_bytes() == (tmp_path / '2.whl').read_bytes()
    wheel.pack(stage(tmp_path / 'three', b'y'), tmp_path / '3.whl')
    assert (tmp_path / '1.whl').read_bytes() != (tmp_path / '3.whl').read_bytes()


def check_record(archive):
    """Every file but RECORD itself is there with its hash and size."""
    record = next(name for name in archive.namelist() if name.endswith('.dist-info/RECORD'))
    rows = list(csv.reader(io.TextIOWrapper(archive.open(record))))
    assert sorted(row[0] for row in rows) == sorted(archive.namelist())
    for name, digest, size in rows:
        if name != record:
            content = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')
            assert (digest, int(size)) == (f'sha256={expected}', len(content))


def test_the_record_lists_every_file(tmp_path):
    wheel.pack(stage(tmp_path / 'one'), tmp_path / '1.whl')
    with zipfile.ZipFile(tmp_path / '1.whl') as archive:
        check_record(archive)
        assert archive.getinfo('b/inner.so').external_attr >> 16 & 0o111


def test_accel_imports_its_own_copy_of_the_ground():
    text = 'import cli\nimport client\nfrom cli import BadInput\n    import cli\nfrom accel import ranks\n'
    assert wheel.import_from_accel(text) == ('from accel import cli\nimport client\nfrom accel.cli import BadInput\n'
                                             '    from accel import cli\nfrom accel import ranks\n')
    build = (ROOT / 'accel/build.py').read_text()
    assert wheel.import_from_accel(build) == build      # its text names the library's folder


def test_a_library_without_a_license_is_refused(tmp_path):
    with pytest.raises(Problem, match=r'libnone\.so: no Debian package has its license'):
        wheel.license_of(tmp_path / 'libnone.so')


@pytest.mark.skipif(not wheel.BOOST_HEADER.exists() or not shutil.which('dpkg-query'), reason='needs Debian\'s Boost')
def test_licenses_are_those_of_debians_packages(tmp_path):
    assert 'Boost Software License' in wheel.license_of(tmp_path / 'libboost_python399.so.1.0').read_text()
    assert 'GNU' in wheel.license_of(Path('/bin/sh').resolve()).read_text()


# Setup from one

@pytest.mark.parametrize(('name', 'says'), [
    ('numpy-2.0-cp311-cp311-linux_x86_64.whl', 'not a wheel of Caffe'),
    ('caffe-1.0.0.tar.gz', 'not a wheel of Caffe'),
    ('caffe-1.0.0+fcn.1-cp39-cp39-manylinux_2_36_x86_64.whl', r'for Python 3\.9, .*PYTHON=python3\.9'),
    (f'caffe-1.0.0+fcn.1-{HERE}.whl', 'no such file; make wheel writes'),
])
def test_what_is_no_wheel_for_this_python_is_refused(tmp_path, name, says):
    with pytest.raises(Problem, match=says) as problem:
        setup.wheel_key(tmp_path / name)
    assert problem.value.status == 2


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 and then nothing', b'x' * 1000])
def test_a_damaged_wheel_is_refused(tmp_path, content):
    (tmp_path / 'caffe.whl').write_bytes(content)
    with pytest.raises(Problem, match='damaged, or not a wheel'):
        setup.cuda_requirements(tmp_path / 'caffe.whl')


def test_cuda_packages_are_those_that_the_wheel_declares(tmp_path):
    with zipfile.ZipFile(tmp_path / 'caffe.whl', 'w') as archive:
        archive.writestr('caffe-1.dist-info/METADATA',
                         'Requires-Dist: numpy>=2\nRequires-Dist: nvidia-curand>=10,<11\n')
    assert setup.cuda_requirements(tmp_path / 'caffe.whl') == ['nvidia-curand>=10,<11']


@pytest.fixture
def stamp(tmp_path, monkeypatch):
    """What setup believes the last one did; WHEEL and GPU are not set."""
    for name in ('WHEEL', 'GPU'):
        monkeypatch.delenv(name, raising=False)
    done = {}
    monkeypatch.setattr(setup, 'stamp', lambda: done)
    return done


def test_a_wheel_is_kept_until_a_build_is_asked_for(tmp_path, monkeypatch, stamp):
    assert setup.chosen_wheel() is None
    monkeypatch.setenv('WHEEL', str(tmp_path / 'caffe.whl'))
    assert setup.chosen_wheel() == tmp_path / 'caffe.whl'
    monkeypatch.delenv('WHEEL')
    (tmp_path / 'wheel-1234').mkdir()
    stamp.update(caffe=str(tmp_path / 'wheel-1234'), interpreter=setup.interpreter())
    assert setup.chosen_wheel() == tmp_path / 'wheel-1234'
    monkeypatch.setenv('GPU', '0')
    assert setup.chosen_wheel() is None


def test_a_wheel_whose_folder_or_python_is_gone_is_one_line(tmp_path, stamp):
    stamp.update(caffe=str(tmp_path / 'wheel-1234'), interpreter=setup.interpreter())
    with pytest.raises(Problem, match='WHEEL=FILE again, or make setup GPU=0'):
        setup.chosen_wheel()
    (tmp_path / 'wheel-1234').mkdir()
    stamp['interpreter'] = '/opt/python 3.99'
    with pytest.raises(Problem, match=r'for /opt/python 3\.99.*another Python'):
        setup.chosen_wheel()


def test_wheel_and_gpu_exclude_each_other(monkeypatch, stamp):
    monkeypatch.setenv('WHEEL', 'caffe.whl')
    monkeypatch.setenv('GPU', '1')
    with pytest.raises(Problem, match='exclude each other'):
        setup.chosen_wheel()


def test_no_wheel_to_bundle_is_one_line(tmp_path):
    with pytest.raises(Problem, match='make wheel writes it'):
        bundle.make(tmp_path)
    (tmp_path / f'caffe-1.0.0+fcn.1-{HERE}.whl').write_text('of a CPU build')
    with pytest.raises(Problem, match='make wheel GPU=1 writes it'):
        kit.make(tmp_path)
    (tmp_path / f'caffe-1.0.0+fcn.1.cu13-{HERE}.whl').write_text('of a GPU build')
    assert bundle.newest_wheel(tmp_path, '.cu').name == f'caffe-1.0.0+fcn.1.cu13-{HERE}.whl'


# The one that make wheel wrote

@pytest.fixture(scope='module')
def made():
    found = sorted((path for path in (ROOT / 'dist').glob(f'caffe-*-{HERE}.whl') if '.cu' not in path.name),
                   key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip('no wheel for this Python in dist/: make wheel')
    return found[-1]


def test_what_is_inside(made):
    with zipfile.ZipFile(made) as archive:
        check_record(archive)
        names = archive.namelist()
        assert {'caffe/_caffe.so', 'caffe/build.json', 'accel/__init__.py', 'accel/cli.py',
                'accel/src/dispatch.cpp'} < set(names)
        assert any(name.startswith('caffe/accel/') and name.endswith('/libaccel.so') for name in names)
        own = [name for name in names if name.startswith(('caffe/', 'accel/', 'caffe.libs/libcaffe'))]
        for place in (str(ROOT), os.path.expanduser('~/')):
            assert [name for name in own if place.encode() in archive.read(name)] == []


@pytest.mark.slow
@pytest.mark.caffe
def test_packed_again_it_is_the_same(made, tmp_path):
    from accel import __main__ as accel_main
    assert wheel.make(accel_main.libraries(), tmp_path).read_bytes() == made.read_bytes()


@pytest.fixture(scope='module')
def prototxt(tmp_path_factory):
    """FCN-8s at its full width."""
    path = tmp_path_factory.mktemp('net') / 'deploy.prototxt'
    path.write_text(str(nets.load('voc-fcn8s').fcn('deploy')))
    return path


@pytest.fixture(scope='module')
def wheels(made, tmp_path_factory):
    """The wheel's own requirements and pytest, as the requirements pin them."""
    folder = tmp_path_factory.mktemp('wheels')
    result = subprocess.run([sys.executable, '-m', 'pip', 'download', '--quiet', '--only-binary', ':all:', '--dest',
                             str(folder), '--constraint', str(ROOT / 'requirements.txt'), str(made), 'pytest'],
                            capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f'pip download: {result.stderr.splitlines()[-1]}')
    return folder


@pytest.mark.slow
@pytest.mark.caffe
def test_a_bare_debian_without_network_computes_the_same(wheels, prototxt, tmp_path):
    """No Boost, glog, protobuf, OpenBLAS or compiler; the bytes of FCN-8s's scores are those of the build."""
    python = f'python{sys.version_info[0]}.{sys.version_info[1]}'
    if python not in roots.SUITES:
        pytest.skip(f'no Debian has {python}')
    root = roots.make(tmp_path / 'root', roots.SUITES[python], ['python3', 'python3-venv'])
    shutil.copytree(wheels, root / 'wheels')
    for file in (ROOT / 'tests/test_installed.py', ROOT / 'tests/helpers/forward.py', prototxt):
        shutil.copy(file, root / 'root')
    markers = '[pytest]\nmarkers =\n    wheel\n    caffe\n'
    (root / 'root/pytest.ini').write_text(markers)
    venv = roots.run(root, 'python3', '-m', 'venv', '/venv')
    assert venv.returncode == 0, venv.stdout
    assert shutil.which('g++', path=f'{root}/usr/bin') is None
    installed = roots.run(root, '/venv/bin/pip', 'install', '--quiet', '--no-compile', '--no-index', '--find-links',
                          '/wheels', 'caffe', 'pytest')
    assert installed.returncode == 0, installed.stdout
    tests = roots.run(root, '/venv/bin/python', '-m', 'pytest', '-q', '-m', 'wheel', 'test_installed.py')
    assert tests.returncode == 0 and ' skipped' not in tests.stdout, tests.stdout
    alike = {name: value for name, value in os.environ.items() if name in ('FCN_ACCEL', 'FCN_ACCEL_ISA')}
    alike |= roots.HERE | {'OMP_NUM_THREADS': '2', 'OPENBLAS_NUM_THREADS': '2'}
    there = roots.run(root, '/venv/bin/python', 'forward.py', 'deploy.prototxt', environment=alike).stdout
    here = subprocess.run([sys.executable, ROOT / 'tests/helpers/forward.py', prototxt], capture_output=True, text=True,
                          check=True, env=alike).stdout
    assert there == here and len(here) > 100


@pytest.mark.slow
def test_a_bundle_sets_up_without_network(made, tmp_path):
    """In a network namespace of its own, with empty home and cache."""
    if subprocess.run(['unshare', '--net', 'true'], capture_output=True).returncode:
        pytest.skip('a network namespace needs root')
    archive = next((ROOT / 'dist').glob(f'fcn-{made.stem}.tar.gz'), None)
    if archive is None:
        pytest.skip('no bundle in dist/: make bundle')
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter='data')
    top = next(tmp_path.iterdir())
    (tmp_path / 'home').mkdir()
    environment = {'PATH': os.environ['PATH'], 'HOME': str(tmp_path / 'home'), 'LANG': 'C.UTF-8'}
    done = subprocess.run(['unshare', '--net', 'sh', str(top / 'setup.sh'), sys.executable], env=environment,
                          cwd='/', capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert 'from a wheel' in done.stdout and 'accelerated layers' in done.stdout
    again = subprocess.run(['unshare', '--net', 'make', 'setup'], env=environment, cwd=top / 'fcn', capture_output=True,
                           text=True)
    assert again.returncode == 0 and 'from a wheel' in again.stdout and 'installing' not in again.stdout
    summary = subprocess.run(['.venv/bin/python', '-m', 'nets', 'summary', 'voc-fcn8s'], cwd=top / 'fcn',
                             env=environment, capture_output=True, text=True)
    assert summary.returncode == 0 and 'upscore8' in summary.stdout
