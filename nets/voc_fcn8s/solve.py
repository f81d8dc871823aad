"""Train FCN-8s on SBD from FCN-16s.   python solve.py --help"""
from nets import voc
from nets.voc_fcn8s.net import fcn
from solvers.solve import Training

training = Training('voc-fcn8s', fcn, voc.recipe(base_lr=1e-14), init=('voc-fcn16s',))
training.main(__name__)
