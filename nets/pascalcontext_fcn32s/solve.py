"""Train FCN-32s on PASCAL-Context from the VGG-16 classifier.   python solve.py --help"""
from nets import pascalcontext
from nets.pascalcontext_fcn32s.net import fcn
from solvers.solve import Training

training = Training('pascalcontext-fcn32s', fcn, pascalcontext.recipe(1e-10), init=('vgg16',))
training.main(__name__)
