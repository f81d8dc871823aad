"""Train FCN-8s on PASCAL-Context from FCN-16s.   python solve.py --help"""
from nets import pascalcontext
from nets.pascalcontext_fcn8s.net import fcn
from solvers.solve import Training

training = Training('pascalcontext-fcn8s', fcn, pascalcontext.recipe(1e-14), init=('pascalcontext-fcn16s',))
training.main(__name__)
