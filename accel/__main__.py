"""Build the libraries of accelerated layers unless they exist: python -m accel   (make setup does it)

Without them nets run on Caffe's own layers. `python -m accel libraries` prints the paths of those that exist.
"""
import os
import sys
from pathlib import Path

from accel import build, build_cudnn, cudnn, enable, status

FAILURES = (OSError, RuntimeError, KeyError, ValueError)


def main() -> int:
    """Compile if needed, and say what nets will use; returns the exit status."""
    if sys.argv[1:] == ['libraries']:
        print(*libraries(), sep='\n')
        return 0
    if sys.argv[1:]:
        print(f'error: unknown arguments {" ".join(sys.argv[1:])!r}: expected libraries or none', file=sys.stderr)
        return 2
    try:
        target = build.library()
        if not target.is_file():
            print('compiling accel', flush=True)
            build.compile_library(target)
            enable()
    except FAILURES as problem:
        print(f'warning: accel could not be built, nets run on Caffe\'s own layers: {problem}', file=sys.stderr)
        return 0
    print(status())
    if 'cuda' in build.facts() and os.environ.get('FCN_CUDNN', '1') != '0':
        build_for_cudnn()
        print(f'on a GPU: {cudnn.status()}')
    return 0


def libraries() -> list[Path]:
    """The libraries for this Caffe and these sources that exist."""
    wanted = [build.library(), *([build_cudnn.library()] if 'cuda' in build.facts() else [])]
    return [path for path in wanted if path.is_file()]


def build_for_cudnn() -> None:
    """Compile the layers for cuDNN unless they exist."""
    target = build_cudnn.library()
    if target.is_file():
        return
    try:
        found = build_cudnn.find()
        if found is None:
            print('no cuDNN here: convolutions on a GPU are Caffe\'s own (CUDNN_HOME names its folder)')
            return
        print(f'compiling accel for cuDNN {build_cudnn.version(found)}', flush=True)
        build_cudnn.compile_library(target, found)
        cudnn.enable()
    except FAILURES as problem:
        print(f'warning: no cuDNN, convolutions on a GPU are Caffe\'s own: {problem}', file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
