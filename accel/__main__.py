"""Build the library of accelerated layers unless it exists: python -m accel   (make setup does it)

Nothing fails without it: nets then run on Caffe's own layers.
"""
import sys

from accel import build, enable, status


def main() -> int:
    """Compile if needed, and say what nets will use."""
    try:
        target = build.library()
        if not target.is_file():
            print('compiling accel', flush=True)
            build.compile_library(target)
            enable()
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        print(f'warning: accel could not be built, nets run on Caffe\'s own layers: {problem}', file=sys.stderr)
        return 0
    print(status())
    return 0


if __name__ == '__main__':
    sys.exit(main())
