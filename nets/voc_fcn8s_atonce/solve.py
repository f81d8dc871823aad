"""Train FCN-8s on SBD in one stage from the VGG-16 classifier.   python solve.py --help"""
from nets import voc
from nets.voc_fcn8s_atonce.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, voc.recipe(base_lr=1e-10, iterations=300_000), init=('vgg16',))

if __name__ == '__main__':
    main(training)
