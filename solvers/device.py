"""Print whether this Caffe has CUDA, and how many cards answer: python -m solvers.device

The choice of the device itself is `accel.device`.
"""
import sys

import cli
from accel.device import main

if __name__ == '__main__':
    sys.exit(cli.run(main))
