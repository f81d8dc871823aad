"""Train FCN-8s on SBD in one stage from the VGG-16 classifier.   python solve.py --help"""
from nets import voc
from nets.voc_fcn8s_atonce.net import fcn
from solvers.solve import Training

training = Training('voc-fcn8s-atonce', fcn, voc.recipe(base_lr=1e-10, iterations=300_000), init=('vgg16',))
training.main(__name__)
