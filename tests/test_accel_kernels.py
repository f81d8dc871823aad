"""The kernels of every instruction set against plain loops in double precision, without Caffe; ARM's emulated."""
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from accel import build

SOURCE = Path(__file__).parent / 'helpers/kernels.cpp'
NAMES = {'avx512': 'AVX-512', 'avx2': 'AVX2', 'sse4': 'SSE4.2', 'neon': 'NEON'}
CROSS, EMULATOR = 'aarch64-linux-gnu-g++', 'qemu-aarch64-static'
pytestmark = pytest.mark.slow


def compiled(folder, machine, compiler, link=()):
    """The program that checks the kernels, for a kind of machine."""
    program = folder / 'kernels'
    units = [*build.kernels(machine), build.Unit(SOURCE, 'check', ())]
    build.compile_and_link(program, units, ['-fopenmp', *link], (), compiler, machine)
    return program


@pytest.fixture(scope='module')
def native(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp('native'), platform.machine(), 'g++')


@pytest.fixture(scope='module')
def cross(tmp_path_factory):
    missing = [name for name in (CROSS, EMULATOR) if not shutil.which(name)]
    if missing:
        pytest.skip(f'no {" and no ".join(missing)}: make arm')
    return compiled(tmp_path_factory.mktemp('cross'), 'aarch64', CROSS, ['-static'])


def run(command, rounds, **environment):
    """What the program prints, line by line: the instruction set, and each kernel with its largest difference."""
    result = subprocess.run([*command, str(rounds)], capture_output=True, text=True,
                            env={**os.environ, 'OMP_NUM_THREADS': '2', **environment})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def check(isa, command, rounds, **environment):
    """Assert that the program uses an instruction set, and that every kernel is right on all its shapes."""
    used, *lines = run(command, rounds, **environment)
    assert used == NAMES[isa]
    assert len(lines) == (build.SOURCES / 'kernel_list.h').read_text().count('\nKERNEL(')


@pytest.mark.parametrize('isa', build.INSTRUCTION_SETS.get(platform.machine(), {}))
def test_natively(isa, native):
    if isa in ('avx512', 'avx2') and run([native], 0, FCN_ACCEL_ISA=isa)[0] != NAMES[isa]:
        pytest.skip(f'this CPU has no {NAMES[isa]}')
    check(isa, [native], 8, FCN_ACCEL_ISA=isa)


@pytest.mark.parametrize('threads', [1, 3])
def test_on_arm(threads, cross):
    check('neon', [EMULATOR, cross], 4, OMP_NUM_THREADS=str(threads))


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='not an x86')
@pytest.mark.skipif(not shutil.which('qemu-x86_64-static'), reason='no qemu-x86_64-static: make arm')
def test_on_an_x86_without_avx(native):
    """Of 2009: SSE4.2 is chosen without being asked for, and what is compiled for any CPU has no later instruction."""
    check('sse4', ['qemu-x86_64-static', '-cpu', 'Nehalem', native], 2)
