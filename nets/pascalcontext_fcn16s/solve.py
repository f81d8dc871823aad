"""Train FCN-16s on PASCAL-Context from FCN-32s.   python solve.py --help"""
from nets import pascalcontext
from nets.pascalcontext_fcn16s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, pascalcontext.recipe(1e-12), init=('pascalcontext-fcn32s',))

if __name__ == '__main__':
    main(training)
