"""Print the folder of the toolkit."""
import sys

from .. import run
from . import toolkit

sys.exit(run(lambda: print(toolkit()), 'python -m third_party.caffe.emulated again'))
