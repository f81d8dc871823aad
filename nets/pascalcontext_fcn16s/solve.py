"""Train FCN-16s on PASCAL-Context from FCN-32s.   python solve.py --help"""
from nets import pascalcontext
from nets.pascalcontext_fcn16s.net import fcn
from solvers.solve import Training

training = Training('pascalcontext-fcn16s', fcn, pascalcontext.recipe(1e-12), init=('pascalcontext-fcn32s',))
training.main(__name__)
