"""Print the folder of the toolkit."""
import sys

from .. import Problem
from . import toolkit

try:
    print(toolkit())
except Problem as problem:
    print(f'error: {problem}', file=sys.stderr)
    sys.exit(problem.status)
