"""Train FCN-GoogLeNet on SBD from the GoogLeNet classifier, at the rate of the other nets.   python solve.py --help"""
from nets import voc
from nets.voc_fcn_googlenet.net import fcn
from solvers.solve import Training

training = Training('voc-fcn-googlenet', fcn, voc.recipe(base_lr=1e-10), init=('googlenet',))
training.main(__name__)
