"""What is built, from what, and how: constants only."""
from __future__ import annotations

from typing import NamedTuple

COMMIT = '99bd997'  # the last change to Caffe's code; only a README line changed after it

# The source package of that commit, and the last release of each distribution that carries it.
DEBIAN_PACKAGE, SUITES = 'caffe', {'debian': 'bullseye', 'ubuntu': 'focal'}
ARCHIVE = 'caffe_1.0.0+git20180821.99bd997.orig.tar.gz'
ARCHIVE_SHA256 = 'e0eb3f06794f7402c77b7dec8e8480273ee1a1bb192e9122b621a69d4147ad0c'
# The project's own page, where no mirror has that package.
REPOSITORY, REVISION = 'https://github.com/BVLC/caffe', '99bd99795dcdf0b1d3086a8d67ab1782a8a08383'

# The files that are checked, copied and compiled: these, and in these folders all with the suffixes below. Of docs,
# examples, matlab and tools nothing is built.
PARTS = ('CMakeLists.txt', 'LICENSE', 'cmake', 'include', 'python', 'src', 'docs/CMakeLists.txt',
         'examples/CMakeLists.txt', 'matlab/CMakeLists.txt', 'tools/CMakeLists.txt')
SUFFIXES = {'.cc', '.cmake', '.cpp', '.cu', '.cuh', '.h', '.hpp', '.in', '.proto', '.py', '.txt'}
GENERATED = ('python/caffe/proto/',)  # an earlier build inside a checkout leaves these
# The hash of what `sha256sum` prints for those files, in byte order of their paths.
TREE_SHA256 = '3f8c1fd84237962bf9580f2a95b072ec0a13a4256de2333a8ce14b97338b8a87'

PACKAGES = (
    'cmake', 'g++', 'make',
    'libboost-filesystem-dev', 'libboost-python-dev', 'libboost-system-dev', 'libboost-thread-dev',
    'libgflags-dev', 'libgoogle-glog-dev',  # command line flags, logging
    'libhdf5-dev',                          # HDF5 snapshots
    'libopenblas-dev',                      # matrix products
    'libprotobuf-dev', 'protobuf-compiler',  # prototxt and caffemodel files
)


class Substitution(NamedTuple):
    """One edit: `old`, which occurs exactly once in the file at `path`, becomes `new`."""

    path: str
    old: str
    new: str
    why: str


SUBSTITUTIONS = (
    Substitution('src/caffe/util/io.cpp',
                 'SetTotalBytesLimit(kProtoReadBytesLimit, 536870912)',
                 'SetTotalBytesLimit(kProtoReadBytesLimit)',
                 'protobuf 3.18 dropped the second argument, a threshold for a warning'),
    Substitution('cmake/Misc.cmake',
                 'set(CMAKE_INSTALL_RPATH ${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR})',
                 'set(CMAKE_INSTALL_RPATH "$ORIGIN/../../lib;$ORIGIN")',
                 '_caffe.so, in python/caffe, finds libcaffe.so, and libcaffe.so what lies beside it, wherever the '
                 'installed folder is moved to'),
)

# What Caffe is compiled for: every 64-bit x86 since 2009. The layers of accel choose faster code at run time.
BASELINE = {'x86_64': ('-march=x86-64-v2',)}

CMAKE_OPTIONS = {
    'CMAKE_BUILD_TYPE': 'Release',  # -O3 -DNDEBUG
    'CMAKE_INSTALL_LIBDIR': 'lib',
    'CMAKE_BUILD_WITH_INSTALL_RPATH': 'ON',  # no path of the folder it was compiled in, so that two builds are equal
    'CMAKE_POLICY_VERSION_MINIMUM': '3.5',  # CMake 4 dropped, and 3.31 deprecates, what Caffe declares: 2.8.7
    'CPU_ONLY': 'ON',
    'BLAS': 'Open',
    'USE_OPENCV': 'OFF', 'USE_LEVELDB': 'OFF', 'USE_LMDB': 'OFF',  # data comes from Python layers
    'BUILD_python_layer': 'ON',
    'BUILD_docs': 'OFF',
    'python_version': '3',
}

# Caffe's own Python tests: the files left out, each with the reason, and what runs before the others.
SKIPPED_TESTS = {'test_draw.py': 'draws with an external program, Graphviz'}
TEST_SETUP = '''# unittest dropped these names in Python 3.12
import unittest
unittest.TestCase.assertEquals = unittest.TestCase.assertEqual
unittest.TestCase.assertRaisesRegexp = unittest.TestCase.assertRaisesRegex
'''

GIB = 1 << 30
MEMORY_PER_JOB = int(1.5 * GIB)  # what one compiler may take at its peak, with room for the rest
DISK = GIB
