"""Train FCN-8s on SBD from FCN-16s.   python solve.py --help"""
from nets import voc
from nets.voc_fcn8s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, voc.recipe(base_lr=1e-14), init=('voc-fcn16s',))

if __name__ == '__main__':
    main(training)
