"""Train FCN-AlexNet on SBD from the CaffeNet classifier, 20 images a step.   python solve.py --help"""
from nets import voc
from nets.voc_fcn_alexnet.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

recipe = voc.recipe(base_lr=1e-4, momentum=0.9, iter_size=20)  # a rate for the normalised loss
training = Training(net_name(__file__), fcn, recipe, init=('caffenet',))

if __name__ == '__main__':
    main(training)
