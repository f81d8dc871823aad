"""Report on a run that has just been trained: python -m report.after_training RUN   (every solve.py ends with it)"""
import sys

import cli
from report.__main__ import report

if __name__ == '__main__':
    sys.exit(cli.run(report, sys.argv[1:]))
