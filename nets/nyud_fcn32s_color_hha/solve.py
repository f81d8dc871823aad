"""Train late fusion on NYUDv2 from the nets of color and of HHA.   python solve.py --help"""
from nets import nyud
from nets.nyud_fcn32s_color_hha.net import fcn
from solvers.solve import Training
from surgery import transplant


def initialise(net, color, hha):
    return [transplant(net, color, suffix='color'), transplant(net, hha, suffix='hha')]


training = Training('nyud-fcn32s-color-hha', fcn, nyud.recipe(1e-12), ('nyud-fcn32s-color', 'nyud-fcn32s-hha'),
                    initialise, nyud.PHASES)
training.main(__name__)
