"""Build the libraries of accelerated layers unless they exist: python -m accel   (make setup does it)

Without them nets run on Caffe's own layers. `python -m accel libraries` prints the paths of those that exist, and
`python -m accel flags` the options with which g++ compiles and links a C++ program against this Caffe.
"""
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import cli
from accel import build, build_cudnn, cudnn, enable, status

FAILURES = (OSError, RuntimeError, KeyError, ValueError)


def main(argv: Sequence[str] | None = None) -> int:
    """Compile if needed, and say what nets will use; returns the exit status, 0."""
    parser = cli.Parser(prog='python -m accel', description=__doc__)
    commands = {'libraries': lambda: cli.show(*libraries()), 'flags': lambda: cli.show(' '.join(flags()))}
    parser.add_argument('command', nargs='?', choices=commands, help='print paths of the libraries, or options of g++')
    if command := parser.parse_args(argv).command:
        commands[command]()
        return 0
    try:
        target = build.library()
        if not target.is_file():
            cli.show('compiling accel')
            build.compile_library(target)
            enable()
    except FAILURES as problem:
        cli.say(f'warning: accel could not be built, nets run on Caffe\'s own layers: {problem}')
        return 0
    cli.show(status())
    if 'cuda' in build.facts() and os.environ.get('FCN_CUDNN', '1') != '0':
        build_for_cudnn()
        cli.show(f'on a GPU: {cudnn.status()}')
    return 0


def libraries() -> list[Path]:
    """The libraries for this Caffe and these sources that exist."""
    wanted = [build.library(), *([build_cudnn.library()] if 'cuda' in build.facts() else [])]
    return [path for path in wanted if path.is_file()]


def flags() -> list[str]:
    """Options of g++ that compile and link a C++ program against this Caffe.

    Raises
    ------
    cli.BadInput
        It came without its headers.
    """
    try:
        options = [*build.caffe_headers(), *build.caffe_libraries()]
    except RuntimeError as problem:
        raise cli.BadInput(str(problem)) from None
    ours = ('-ffile-prefix-map', '-Wl,')    # of a library that lies in Caffe's folder
    python = sysconfig.get_config_vars()    # which Caffe's Python layer calls, also in a program without one
    python_folder = python['LIBDIR'] if python['Py_ENABLE_SHARED'] else python['LIBPL']
    return [*(option for option in options if not option.startswith(ours)),
            f'-L{python_folder}', f'-lpython{python["LDVERSION"]}', *python['LIBS'].split(), *python['SYSLIBS'].split(),
            *(f'-Wl,-rpath,{folder}' for folder in (build.caffe_folder() / build.facts()['lib'], python_folder))]


def build_for_cudnn() -> None:
    """Compile the layers for cuDNN unless they exist."""
    target = build_cudnn.library()
    if target.is_file():
        return
    try:
        found = build_cudnn.find()
        if found is None:
            cli.show('no cuDNN here: convolutions on a GPU are Caffe\'s own (CUDNN_HOME names its folder)')
            return
        cli.show(f'compiling accel for cuDNN {build_cudnn.version(found)}')
        build_cudnn.compile_library(target, found)
        cudnn.enable()
    except FAILURES as problem:
        cli.say(f'warning: no cuDNN, convolutions on a GPU are Caffe\'s own: {problem}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
