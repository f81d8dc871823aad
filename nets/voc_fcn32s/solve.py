"""Train FCN-32s on SBD from the VGG-16 classifier.   python solve.py --help"""
from nets import voc
from nets.voc_fcn32s.net import fcn
from solvers.solve import Training

training = Training('voc-fcn32s', fcn, voc.recipe(base_lr=1e-10), init=('vgg16',))
training.main(__name__)
