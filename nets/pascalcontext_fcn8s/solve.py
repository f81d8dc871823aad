"""Train FCN-8s on PASCAL-Context from FCN-16s.   python solve.py --help"""
from nets import pascalcontext
from nets.pascalcontext_fcn8s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, pascalcontext.recipe(1e-14), init=('pascalcontext-fcn16s',))

if __name__ == '__main__':
    main(training)
