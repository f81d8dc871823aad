"""The recipe for GPU builds, without a card and without a compile: what it finds, chooses, refuses and edits."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from third_party.caffe import Problem, build, cuda, cudnn, recipe, source
from third_party.caffe import __main__ as setup

ROOT = Path(__file__).parents[1]


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


NVCC = """case "$1" in
--dryrun) echo '#$ _HERE_={root}/bin'; echo '#$ TOP={root}/bin/..' >&2;;
--version) echo "Cuda compilation tools, release {version}, V{version}.88";;
--list-gpu-arch) echo compute_80; echo compute_90; echo compute_103;;
esac"""


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """Make a folder that looks like a CUDA toolkit of some version, and nothing else of CUDA findable."""
    for name in ('CUDA_HOME', 'CUDA_ARCH', 'CUDAHOSTCXX', 'GPU'):
        monkeypatch.delenv(name, raising=False)
    program(tmp_path / 'bin/nvidia-smi', '')
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:/usr/bin:/bin')

    def make(version='12.8', name='cuda', gcc=14, libraries=('cudart',), headers=()):
        root = tmp_path / name
        program(root / 'bin/nvcc', NVCC.format(root=root, version=version))
        files = [f'lib64/lib{library}.so' for library in libraries] + [f'include/{header}' for header in headers]
        for file in files:
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).write_text('')
        header = root / 'include/crt/host_config.h'
        header.parent.mkdir(parents=True)
        header.write_text(f'#if __GNUC__ > {gcc}\n#error\n#endif /* __GNUC__ > {gcc} */\n')
        monkeypatch.setenv('CUDA_HOME', str(root))
        return root
    return make


# Substitutions

def test_substitutions_apply_once_each_to_the_real_source_and_to_gpu_builds_alone(tmp_path):
    """`source.prepare` stops at an edit that applies never or twice."""
    cache = build.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    source.prepare(tmp_path / 'gpu/source', cache, cuda.SUBSTITUTIONS)
    source.prepare(tmp_path / 'cpu/source', cache)
    for path in {edit.path for edit in cuda.SUBSTITUTIONS}:
        edited, original = ((tmp_path / which / 'source' / path).read_text() for which in ('gpu', 'cpu'))
        edits = [edit for edit in cuda.SUBSTITUTIONS if edit.path == path]
        assert all(edit.old not in edited and edited.count(edit.new) >= 1 and edit.why for edit in edits)
        for edit in edits:
            assert original.count(edit.old) == 1
            original = original.replace(edit.old, edit.new)
        assert edited == original
    code = '\n'.join(path.read_text() for path in (tmp_path / 'gpu/source/src/caffe').rglob('*.c[pu]*')
                     if 'test' not in path.relative_to(tmp_path / 'gpu').parts)    # tests in C++ are not compiled
    assert 'multiProcessorCount' in code    # a device property that CUDA 13 kept
    assert not any(f'.{name}' in code for name in ('clockRate', 'deviceOverlap', 'kernelExecTimeoutEnabled',
                                                   'computeMode', 'memoryClockRate'))


# The key

def test_the_key_of_the_cpu_build_does_not_depend_on_the_gpu_recipe(tmp_path, monkeypatch):
    before = build.key(build.facts('2.4.6'))
    for path in build.HERE.glob('*.py'):
        shutil.copy(path, tmp_path)
    (tmp_path / 'cuda.py').write_text('another')
    monkeypatch.setattr(build, 'HERE', tmp_path)
    assert build.key(build.facts('2.4.6')) == before


def test_keys_tell_cpu_and_gpu_builds_apart(kit):
    kit()

    def key(**changes):
        plan = cuda.plan('90')._replace(**changes)
        return build.key(build.facts('2.4.6') | {'cuda': plan.facts()})

    plan = cuda.plan('90')
    other_kit = plan.toolkit._replace(version=(12, 9))
    keys = [build.key(build.facts('2.4.6')), key(), key(architectures=('80', '90')),
            key(host_compiler='/usr/bin/g++-9'), key(toolkit=other_kit),
            key(pins={**plan.pins, 'cublas': 'nvidia-cublas-cu12==1'}), key(pins={})]
    assert len(set(keys)) == len(keys) and key() == keys[1]


# Toolkit

def test_toolkit_comes_from_cuda_home_then_path(kit, tmp_path, monkeypatch):
    root = kit('13.0', 'new')
    assert cuda.toolkit() == (root / 'bin/nvcc', root, (13, 0), ('80', '90', '103'))
    program(tmp_path / 'bin/nvcc', f'exec {kit("11.8", "old")}/bin/nvcc "$@"')     # a script that calls another
    assert cuda.toolkit().version == (11, 8)
    monkeypatch.setenv('CUDA_HOME', str(root))
    assert cuda.toolkit().version == (13, 0)
    monkeypatch.delenv('CUDA_HOME')
    assert cuda.toolkit() == (tmp_path / 'old/bin/nvcc', tmp_path / 'old', (11, 8), ('80', '90', '103'))


@pytest.mark.parametrize('version', ['10.2', '11.7', '14.0'])
def test_toolkits_of_other_versions_are_refused(kit, version):
    kit(version)
    with pytest.raises(Problem, match=rf'nvcc is of CUDA {version}; needed is 11.8 to 13') as refusal:
        cuda.toolkit()
    assert refusal.value.status == 2


def test_no_toolkit_is_one_line(kit, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    with pytest.raises(Problem, match='no CUDA compiler nvcc in CUDA_HOME, .*: install a CUDA toolkit') as refusal:
        cuda.toolkit()
    assert refusal.value.status == 2


@pytest.mark.parametrize(('limit', 'installed', 'expected'), [
    (14, {'g++': '12'}, 'g++'), (11, {'g++': '12', 'g++-11': '11'}, 'g++-11'),
    (11, {'g++': '12', 'g++-10': '10.2.1'}, 'g++-10'), (11, {'g++': '11'}, 'g++')])
def test_host_compiler_is_the_newest_that_the_toolkit_takes(kit, tmp_path, monkeypatch, limit, installed, expected):
    root = kit(gcc=limit)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    for name, version in installed.items():
        program(tmp_path / 'bin' / name, f'echo {version}')
    assert cuda.host_compiler(root) == str(tmp_path / 'bin' / expected)


def test_no_host_compiler_that_fits_is_one_line(kit, tmp_path, monkeypatch):
    root = kit(gcc=11)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    program(tmp_path / 'bin/g++', 'echo 12')
    with pytest.raises(Problem, match='works with g\\+\\+ up to 11, and g\\+\\+ is newer or missing: apt-get install'):
        cuda.host_compiler(root)
    other = program(tmp_path / 'other/c++', 'echo 10')
    monkeypatch.setenv('CUDAHOSTCXX', str(other))
    assert cuda.host_compiler(root) == str(other)


# Architectures

@pytest.mark.parametrize(('given', 'expected'), [('90', ('90',)), ('9.0', ('90',)),
                                                 ('103 80,9.0;80', ('80', '90', '103'))])
def test_cuda_arch_names_architectures(kit, given, expected):
    kit()
    assert cuda.choose_architectures(given, cuda.toolkit()) == expected


@pytest.mark.parametrize('given', ['70', '90a', 'Hopper', '90 70', '-'])
def test_architectures_that_the_toolkit_does_not_know_are_refused(kit, given):
    kit()
    with pytest.raises(Problem, match='CUDA 12.8 does not compile for architecture .*, only for 80 90 103') as refusal:
        cuda.choose_architectures(given, cuda.toolkit())
    assert refusal.value.status == 2


def test_without_cuda_arch_it_is_the_cards(kit, tmp_path):
    kit()
    with pytest.raises(Problem, match='no card is found .*CUDA_ARCH=90') as refusal:
        cuda.choose_architectures(None, cuda.toolkit())
    assert refusal.value.status == 2
    assert cuda.choose_architectures(None, cuda.toolkit(), '90') == ('90',)
    program(tmp_path / 'bin/nvidia-smi', 'echo 9.0; echo 8.0; echo 9.0')
    assert cuda.choose_architectures(None, cuda.toolkit(), '103') == ('80', '90')
    assert cuda.choose_architectures('103', cuda.toolkit()) == ('103',)
    program(tmp_path / 'bin/nvidia-smi', "echo NVIDIA-SMI has failed because it couldn\\'t communicate; exit 9")
    assert cuda.card_architectures() == ()


# Libraries

def test_every_library_has_a_pin_with_a_reason_for_every_major_version():
    lines = [line for line in cuda.PINS.read_text().splitlines() if line and not line.startswith('#')]
    assert all('#' in line and len(line.partition('#')[2]) > 10 for line in lines)
    pins = cuda.pinned(cuda.PINS.read_text())
    for library in cuda.LIBRARIES.values():
        assert set(library.packages) == {11, 12, 13} and set(library.packages.values()) <= set(pins)
    for major in (11, 12):
        assert pins[f'nvidia-cublas-cu{major}'].startswith(f'{major}.')
    assert pins['nvidia-cublas'].startswith('13.')


def test_libraries_of_the_toolkit_are_taken_and_only_the_others_fetched(kit):
    root = kit('13.1', libraries=('cudart', 'cublas', 'nccl'), headers=('cublas_v2.h', 'curand.h'))
    plan = cuda.plan('90')      # cuRAND has no library, NCCL no header
    assert plan.found == {'cublas': (root / 'include', root / 'lib64/libcublas.so')}
    pins = cuda.pinned(cuda.PINS.read_text())
    assert plan.pins == {'curand': f'nvidia-curand=={pins["nvidia-curand"]}',
                         'nccl': f'nvidia-nccl-cu13=={pins["nvidia-nccl-cu13"]}'}


def test_a_library_of_the_system_needs_no_folder_of_headers(kit, tmp_path, monkeypatch):
    kit('13.0', libraries=('cudart', 'cublas', 'curand'), headers=('cublas_v2.h', 'curand.h'))
    monkeypatch.setattr(cuda, 'SYSTEM', tmp_path / 'usr/include')
    (tmp_path / 'usr/include').mkdir(parents=True)
    (tmp_path / 'usr/include/nccl.h').write_text('')
    program(tmp_path / 'bin/g++', f'case $1 in *libnccl.so) echo {tmp_path}/usr/libnccl.so;; -d*) echo 12;; esac')
    (tmp_path / 'usr/libnccl.so').write_text('')
    plan = cuda.plan('90')
    assert plan.found['nccl'] == (tmp_path / 'usr/include', tmp_path / 'usr/libnccl.so') and not plan.pins
    variant = cuda.variant(plan, tmp_path, None)
    assert variant.include == (str(tmp_path / 'cuda/include'),)
    assert str(variant.options['NCCL_INCLUDE_DIR']) == str(tmp_path / 'usr/include')


@pytest.mark.parametrize(('version', 'suffix'), [('11.8', '-cu11'), ('12.9', '-cu12'), ('13.0', '')])
def test_packages_are_those_of_the_major_version(kit, version, suffix):
    kit(version)
    assert cuda.plan('90').pins['cublas'].partition('==')[0] == f'nvidia-cublas{suffix}'


# Stands in for `python -m pip install ... --target DIR REQUIREMENT ...`: leaves what the wheels hold.
PIP = """echo "$@" >> {tmp}/calls
while [ "$1" != --target ]; do shift; done
for library in cublas:cublas_v2.h:cu13 curand:curand.h:cu13 nccl:nccl.h:nccl; do
    IFS=: read name header folder <<END
$library
END
    mkdir -p "$2/nvidia/$folder/include" "$2/nvidia/$folder/lib"
    touch "$2/nvidia/$folder/include/$header" "$2/nvidia/$folder/lib/lib$name.so.13"
done
touch "$2/nvidia/cu13/lib/libcublasLt.so.13"
"""


def test_variant_names_every_library_by_its_path(kit, tmp_path):
    root = kit('13.0')
    python = program(tmp_path / 'python', PIP.format(tmp=tmp_path))
    plan, cache = cuda.plan('80 90'), tmp_path / 'cache'
    cache.mkdir()
    variant = cuda.variant(plan, cache, python)
    assert cuda.variant(plan, cache, python) == variant
    calls = (tmp_path / 'calls').read_text().splitlines()
    assert len(calls) == 1 and '--no-deps' in calls[0] and all(pin in calls[0] for pin in plan.pins.values())
    [folder] = cache.glob('cuda-*')
    described = variant.described['cuda']
    assert described == {
        'version': '13.0', 'nvcc': str(root / 'bin/nvcc'), 'host_compiler': '/usr/bin/g++',
        'architectures': ['80', '90'],
        'include': [str(root / 'include'), f'{folder}/nvidia/cu13/include', f'{folder}/nvidia/nccl/include'],
        'lib': [str(root / 'lib64'), f'{folder}/nvidia/cu13/lib', f'{folder}/nvidia/nccl/lib'],
        'libraries': {'cudart': str(root / 'lib64/libcudart.so'), 'cublas': f'{folder}/nvidia/cu13/lib/libcublas.so.13',
                      'curand': f'{folder}/nvidia/cu13/lib/libcurand.so.13',
                      'nccl': f'{folder}/nvidia/nccl/lib/libnccl.so.13'},
        'packages': list(plan.pins.values())}
    options = {name: str(value) for name, value in variant.options.items()}
    assert (options['CPU_ONLY'], options['USE_NCCL'], options['USE_CUDNN']) == ('OFF', 'ON', 'OFF')
    assert [options[f'CUDA_ARCH_{what}'] for what in ('NAME', 'BIN', 'PTX')] == ['Manual', '80 90', '80 90']
    assert options['CUDA_cublas_LIBRARY'] == described['libraries']['cublas']
    assert variant.substitutions == cuda.SUBSTITUTIONS and variant.include == tuple(described['include'])


def test_packages_that_pip_cannot_get_leave_nothing(tmp_path):
    python = program(tmp_path / 'python', 'mkdir -p "${10}"; echo "ERROR: No matching distribution for x" >&2; exit 1')
    (tmp_path / 'cache').mkdir()
    with pytest.raises(Problem, match=r'pip failed: No matching distribution for x .*pip\.log'):
        cuda.install(['x==1'], tmp_path / 'cache', python)
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == ['pip.log']


# cuDNN

@pytest.fixture
def cache(kit, tmp_path, monkeypatch):
    """An empty cache, a .venv whose pip leaves what cuDNN's wheel holds, and no cuDNN in the system."""
    kit('13.0')
    monkeypatch.delenv('CUDNN_HOME', raising=False)
    monkeypatch.delenv('FCN_CUDNN', raising=False)
    monkeypatch.setattr(cuda, 'SYSTEM', tmp_path / 'usr/include')
    monkeypatch.setattr(setup, 'VENV', tmp_path / 'venv')
    monkeypatch.setattr(setup, 'PYTHON', program(tmp_path / 'venv/bin/python', CUDNN_PIP.format(tmp=tmp_path)))
    (tmp_path / 'cache').mkdir()
    return tmp_path / 'cache'


CUDNN_PIP = """echo "$@" >> {tmp}/calls
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/nvidia/cudnn/include" "$2/nvidia/cudnn/lib" "$2/nvidia_cudnn_cu13-9.27.0.42.dist-info"
touch "$2/nvidia/cudnn/include/cudnn.h" "$2/nvidia/cudnn/lib/libcudnn.so.9"
"""


def test_cudnn_is_fetched_to_where_accel_finds_it(cache, tmp_path, monkeypatch):
    plan, pins = cuda.plan('90'), cuda.pinned(cuda.PINS.read_text())
    setup.fetch_cudnn(plan, cache)
    setup.fetch_cudnn(plan, cache)      # it is there
    calls = (tmp_path / 'calls').read_text().splitlines()
    assert len(calls) == 1 and f'nvidia-cudnn-cu13=={pins["nvidia-cudnn-cu13"]}' in calls[0].split()
    from accel import build as accel_build
    from accel import build_cudnn
    monkeypatch.setattr(accel_build, 'caffe_folder', lambda: cache / 'key')
    monkeypatch.setattr(accel_build, 'facts', lambda: {'cuda': {'version': '13.0', 'include': []}})
    [folder] = cache.glob('cuda-*/nvidia/cudnn')
    assert build_cudnn.find() == (folder / 'include', folder / 'lib/libcudnn.so.9')
    monkeypatch.setattr(accel_build, 'facts', lambda: {'cuda': {'version': '12.8', 'include': []}})
    monkeypatch.setattr('site.getsitepackages', lambda: [])
    monkeypatch.setattr(build_cudnn, '_system', lambda: None)
    assert build_cudnn.find() is None       # of another toolkit


@pytest.mark.parametrize('environment', [{'FCN_CUDNN': '0'}, {'CUDNN_HOME': '/opt/cudnn'}])
def test_cudnn_is_not_fetched_where_it_is_not_wanted(cache, tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    setup.fetch_cudnn(cuda.plan('90'), cache)
    assert not (tmp_path / 'calls').exists()


@pytest.mark.parametrize('place', ['venv/lib/python3.11/site-packages/nvidia/cudnn', 'usr'])
def test_a_cudnn_that_is_installed_is_not_fetched(cache, tmp_path, place):
    folder = tmp_path / place
    (folder / 'include').mkdir(parents=True)
    (folder / 'include/cudnn.h').touch()
    assert cudnn.requirement(cuda.plan('90'), cache, setup.VENV)     # a header alone is not enough
    (folder / 'lib').mkdir()
    (folder / 'lib/libcudnn.so').touch()
    program(tmp_path / 'bin/g++', f'case $1 in *libcudnn.so) echo {tmp_path}/usr/lib/libcudnn.so;; -d*) echo 12;; esac')
    assert cudnn.requirement(cuda.plan('90'), cache, setup.VENV) is None


def test_a_cudnn_that_pip_cannot_get_is_one_warning(cache, capsys):
    program(setup.PYTHON, 'echo "ERROR: No matching distribution for x" >&2; exit 1')
    setup.fetch_cudnn(cuda.plan('90'), cache)
    said = capsys.readouterr().err
    assert said.startswith("warning: no cuDNN, convolutions on a GPU are Caffe's own: pip failed: No matching")
    assert said.count('\n') == 1


# The command

@pytest.fixture
def stamped(tmp_path, monkeypatch):
    """A .venv whose last setup chose this."""
    def stamp(text):
        (tmp_path / 'setup.json').write_text(text)
        monkeypatch.setattr(setup, 'STAMP', tmp_path / 'setup.json')
    return stamp


@pytest.mark.parametrize(('last', 'gpu', 'arch', 'expected'), [
    ('{}', None, None, None), ('{}', '0', None, None), ('{}', '', '90', None),
    ('{}', '1', '90', ('90',)),
    ('{"cuda": "80 90"}', None, None, ('80', '90')),        # it stays what it is
    ('{"cuda": "80 90"}', '', '103', ('103',)),
    ('{"cuda": "80"}', '1', '90', ('90',)), ('{"cuda": "80"}', '0', None, None),
])
def test_the_choice_of_build_is_kept_until_changed(kit, stamped, monkeypatch, last, gpu, arch, expected):
    kit()
    stamped(last)
    for name, value in {'GPU': gpu, 'CUDA_ARCH': arch}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    plan = setup.gpu_plan(only_gpu=False)
    assert (plan and plan.architectures) == expected
    assert setup.gpu_plan(only_gpu=True).architectures == ((arch,) if arch else ('90',))


def test_a_gpu_build_whose_toolkit_is_gone_tells_the_way_back(kit, stamped, monkeypatch, tmp_path):
    stamped('{"cuda": "90"}')
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    with pytest.raises(Problem, match='no CUDA compiler .*; or go back to the CPU build: make setup GPU=0') as refusal:
        setup.gpu_plan(only_gpu=False)
    assert refusal.value.status == 2


@pytest.mark.parametrize(('environment', 'says'), [({'GPU': '1'}, 'no card is found'), ({'GPU': 'yes'}, 'GPU=yes'),
                                                   ({'GPU': '1', 'CUDA_ARCH': '20'}, "architecture '20'"),
                                                   ({'GPU': '1', 'CUDA_HOME': '/nowhere'}, 'no CUDA compiler')])
def test_wrong_settings_exit_2_with_one_line(kit, environment, says):
    kit()
    result = subprocess.run([sys.executable, '-m', 'third_party.caffe'], cwd=ROOT, env={**os.environ, **environment},
                            capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count('\n') == 1 and says in result.stderr


def test_a_build_that_has_no_cuda_is_not_called_a_gpu_build(tmp_path, capsys):
    if not setup.PYTHON.exists():
        pytest.skip('no .venv: make setup')
    (tmp_path / 'caffe').mkdir()
    (tmp_path / 'caffe/__init__.py').write_text('import _ctypes as _caffe')     # a library without CUDA
    with pytest.raises(Problem, match='does not load: remove that folder and run make build-gpu again'):
        setup.report(tmp_path)
    assert capsys.readouterr().out == 'has CUDA: no, cards: 0\n'


@pytest.mark.parametrize('status, cards', [(0, 2), (35, 0)])
def test_a_gpu_build_tells_how_many_cards_answer(tmp_path, capsys, status, cards):
    """A library with CUDA's function stands in for Caffe; 35 is the error of a machine without a driver."""
    if not setup.PYTHON.exists():
        pytest.skip('no .venv: make setup')
    (tmp_path / 'caffe').mkdir()
    (tmp_path / 'cards.c').write_text(f'int cudaGetDeviceCount(int* count) {{ *count = 2; return {status}; }}')
    subprocess.run(['gcc', '-shared', '-fPIC', '-o', tmp_path / 'caffe/_caffe.so', tmp_path / 'cards.c'], check=True)
    (tmp_path / 'caffe/__init__.py').write_text(
        'import types\n_caffe = types.SimpleNamespace(__file__=__file__.replace("__init__.py", "_caffe.so"))')
    setup.report(tmp_path)
    assert capsys.readouterr().out == f'has CUDA: yes, cards: {cards}\n'


def test_an_environment_with_another_caffe(tmp_path):
    """It has .venv's packages and this Caffe; .venv keeps its own."""
    if not setup.PYTHON.exists():
        pytest.skip('no .venv: make setup')
    (tmp_path / 'python/caffe').mkdir(parents=True)
    (tmp_path / 'python/caffe/__init__.py').write_text('other = True')
    before = Path(setup.site_packages(setup.PYTHON), 'fcn.pth').read_text()
    for _ in range(2):
        setup.layer(tmp_path / 'env', tmp_path / 'python')
        code = 'import caffe, numpy, accel.build; print(caffe.other, numpy.__version__, accel.build.__file__)'
        printed = subprocess.run([tmp_path / 'env/bin/python', '-c', code], cwd='/', capture_output=True, text=True,
                                 env={**os.environ, 'FCN_ACCEL': '0'}).stdout.split()
        assert printed[0] == 'True' and printed[2] == str(ROOT / 'accel/build.py')
    assert Path(setup.site_packages(setup.PYTHON), 'fcn.pth').read_text() == before


@pytest.mark.parametrize(('arguments', 'says'), [
    (['build-gpu', 'mine'], 'mine: not an environment that build-gpu made'),
    (['build-gpu', 'a', 'b'], "unknown arguments 'build-gpu a b'"), (['build'], "unknown arguments 'build'")])
def test_wrong_calls_touch_nothing(tmp_path, arguments, says):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/work.txt').write_text('mine')
    result = subprocess.run([sys.executable, '-m', 'third_party.caffe', *arguments], cwd=tmp_path, text=True,
                            capture_output=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert result.returncode == 2 and result.stderr.count('\n') == 1 and says in result.stderr
    assert (tmp_path / 'mine/work.txt').read_text() == 'mine'


def test_recipe_of_the_cpu_build_is_without_cuda():
    assert recipe.CMAKE_OPTIONS['CPU_ONLY'] == 'ON' and build.CPU == build.Variant()
    assert not {edit.path for edit in recipe.SUBSTITUTIONS} & {edit.path for edit in cuda.SUBSTITUTIONS}
