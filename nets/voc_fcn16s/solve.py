"""Train FCN-16s on SBD from FCN-32s.   python solve.py --help"""
from nets import voc
from nets.voc_fcn16s.net import fcn
from solvers.solve import Training

training = Training('voc-fcn16s', fcn, voc.recipe(base_lr=1e-12), init=('voc-fcn32s',))
training.main(__name__)
