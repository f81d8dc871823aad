"""Train FCN-AlexNet on SBD from the CaffeNet classifier, 20 images a step.   python solve.py --help"""
from nets import voc
from nets.voc_fcn_alexnet.net import fcn
from solvers.solve import Training

recipe = voc.recipe(base_lr=1e-4, momentum=0.9, iter_size=20)  # a rate for the normalised loss
training = Training('voc-fcn-alexnet', fcn, recipe, init=('caffenet',))
training.main(__name__)
