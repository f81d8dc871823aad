"""What cuDNN would compute all convolutions of all nets with, on a card that is described to it: no card is needed.

Needs a GPU build and cuDNN 9.8 or later. Where there is no driver, a library without content stands in for it.
"""
import ctypes
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import nets  # noqa: E402
from accel import build, build_cudnn  # noqa: E402
from nets.edits import narrow  # noqa: E402
from tests import NETS  # noqa: E402
from tests.helpers.whole_nets import build as build_net  # noqa: E402

FORWARD, TO_IMAGE, TO_WEIGHTS = range(3)
H100 = {
    'deviceName': 'H100', 'deviceVer': 900, 'multiProcessorCount': 132, 'totalGlobalMem': 84942979072,
    'smClockRateKHz': 1980000, 'memClockRateKHz': 2619000, 'memoryBusWidth': 5120, 'l2CacheSize': 52428800,
    'warpSize': 32, 'regsPerBlock': 65536, 'maxRegistersPerSM': 65536, 'maxCtasPerSM': 32, 'maxThreadsPerBlock': 1024,
    'maxThreadsPerSM': 2048, 'maxSharedMemoryPerBlock': 49152, 'maxSharedMemoryPerBlockOptin': 232448,
    'reservedSharedMemoryPerBlock': 1024, 'oversizedSharedMemoryPerBlock': 0, 'maxGridSize': [2147483647, 65535, 65535],
    'maxBlockSize': [1024, 1024, 64], 'pciDeviceId': 0, 'cudaDeviceId': 0, 'isTccDriver': 0, 'supportCoopLaunch': 1,
    'driverVer': 13000,
}


def why_not():
    cuda = build.facts().get('cuda')
    if cuda is None:
        return 'needs a GPU build of Caffe: make setup GPU=1'
    if 'include' not in cuda:
        return 'this Caffe came in a wheel, without headers'
    found = build_cudnn.find()
    if found is None:
        return 'needs cuDNN'
    version = build_cudnn.version(found)
    return '' if tuple(map(int, version.split('.'))) >= (9, 8) else f'needs cuDNN 9.8, not {version}'


pytestmark = [pytest.mark.caffe, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope='module')
def planner(tmp_path_factory):
    """A function from lines of passes to what is planned for each."""
    folder = tmp_path_factory.mktemp('plans')
    found, cuda = build_cudnn.find(), build.facts()['cuda']
    (folder / 'card.json').write_text(json.dumps(H100))
    build.run(['g++', '-std=c++14', '-Wall', '-Wextra', '-Werror', *(f'-isystem{path}' for path in cuda['include']),
               f'-isystem{found.include}', Path(__file__).parent / 'helpers/cudnn_plans.cpp', found.library,
               cuda['libraries']['cudart'], '-o', folder / 'plans'])
    libraries = [found.library.parent, *cuda['lib'], *driver(folder, found.library.parent)]

    def plan(lines):
        result = subprocess.run([folder / 'plans', folder / 'card.json'], input='\n'.join(lines), text=True,
                                capture_output=True,
                                env={**os.environ, 'LD_LIBRARY_PATH': ':'.join(map(str, libraries))})
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout.splitlines()
    return plan


def driver(folder, libraries):
    """Where to look for the driver's library: a folder with an empty one, unless there is a driver."""
    try:
        ctypes.CDLL('libcuda.so.1')
        return []
    except OSError:
        wanted = subprocess.run(['nm', '-D', '--undefined-only', *libraries.glob('*.so*')], capture_output=True,
                                text=True).stdout
        functions = sorted(set(re.findall(r' U (cu[A-Z]\w+)$', wanted, re.MULTILINE)))
        (folder / 'driver.c').write_text(''.join(f'int {name}(void) {{ return 100; }}\n' for name in functions))
        build.run(['gcc', '-shared', '-Wl,-soname,libcuda.so.1', '-o', folder / 'libcuda.so.1', folder / 'driver.c'])
        return [folder]


def shape(layer, bottom, top):
    """The numbers of a Shape in accel/gpu/shape.h."""
    p = layer.convolution_param
    image, columns = (top, bottom) if layer.type == 'Deconvolution' else (bottom, top)
    kernel = p.kernel_size[0]
    stride, pad, dilation = (list(getattr(p, name))[:1] or [default] for name, default in
                             (('stride', 1), ('pad', 0), ('dilation', 1)))
    return [*image, *columns[1:], kernel, kernel, *stride * 2, *pad * 2, *dilation * 2, p.group]


def shapes(name, size):
    """The convolutions of a net at a size of image."""
    training = nets.load(name)
    parameter = training.fcn(training.phases[0])
    outputs = {layer.name: layer.convolution_param.num_output for layer in parameter.layer}
    net = build_net(narrow(parameter, 16), (1, *size))    # sizes are those of the whole net, in less time
    for layer in parameter.layer:
        if layer.type in ('Convolution', 'Deconvolution'):
            bottom, top = (list(net.blobs[blobs[0]].shape) for blobs in (layer.bottom, layer.top))
            below = layer.bottom[0]
            bottom[1] = outputs[below] if below in ('fc6', 'fc7') else bottom[1]
            top[1] = layer.convolution_param.num_output
            yield shape(layer, bottom, top)


@pytest.fixture(scope='module')
def all_shapes():
    """Every different one, for two sizes of photograph."""
    return sorted({tuple(found) for name in NETS for size in ((375, 500), (281, 500))
                   for found in shapes(name, size)})


def planned(planner, all_shapes, tf32=0, megabytes=1024):
    lines = [' '.join(map(str, (which, tf32, megabytes, *numbers))) for numbers in all_shapes
             for which in (FORWARD, TO_IMAGE, TO_WEIGHTS)]
    found = planner(lines)
    assert len(found) == len(lines)
    return list(zip(lines, found, strict=True))


def test_every_pass_has_a_plan(planner, all_shapes):
    """In float32, with the same result each time, compiled beforehand, within the workspace."""
    found = planned(planner, all_shapes)
    assert len(all_shapes) > 40
    for line, plan in found:
        assert re.fullmatch(r'\d+ \d+ \d+', plan), f'{line}: {plan}'
        assert int(plan.split()[1]) <= 1 << 30
    print(len(all_shapes), 'shapes;', sum(int(plan.split()[2]) for _, plan in found) / len(found), 'us a plan')


def test_tensor_cores_are_asked_for(planner, all_shapes):
    """With TF32 the heuristics' first choice mostly needs them; without it none does, as the test above shows."""
    plans = [plan for _, plan in planned(planner, all_shapes, tf32=1)]
    assert sum('tensor_cores' in plan for plan in plans) > len(plans) / 2
    assert not any('none' in plan or 'varies' in plan or 'rounds' in plan for plan in plans)


def test_workspace_is_bounded(planner, all_shapes):
    """Less of it, other algorithms; where none fits, the plan says so and Caffe computes."""
    for _, plan in planned(planner, all_shapes, megabytes=0):
        assert plan.split()[1] == '0' or plan.startswith('none: cuDNN has no'), plan
