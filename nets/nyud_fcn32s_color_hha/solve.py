"""Train late fusion on NYUDv2 from the nets of color and of HHA.   python solve.py --help"""
from typing import Any

from nets import nyud
from nets.nyud_fcn32s_color_hha.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name
from surgery import Report, transplant
from surgery.caffemodel import Weights


def initialise(net: Any, color: Weights, hha: Weights) -> list[Report]:
    """Each trunk starts from the net of its own modality."""
    return [transplant(net, color, suffix='color'), transplant(net, hha, suffix='hha')]


training = Training(net_name(__file__), fcn, nyud.recipe(1e-12), ('nyud-fcn32s-color', 'nyud-fcn32s-hha'),
                    initialise, nyud.PHASES)

if __name__ == '__main__':
    main(training)
