"""Layer types that have no equivalent at every image size, or that are not run here, each with the reason."""
from .record import LayerType
from .rules import same_shape

REASONS = {
    'Python': 'runs code of its own, which is not run here',
    'SPP': 'pools into a fixed grid of whatever size', 'Reduction': 'adds over all that follows an axis',
    'Tile': 'repeats along an axis', 'Embed': 'takes indices, not images', 'Im2col': 'makes columns, not a map',
    **dict.fromkeys(('LSTM', 'LSTMUnit', 'RNN', 'Recurrent'), 'works along time'),
    'BatchReindex': 'picks from the batch', 'Filter': 'picks from the batch', 'Parameter': 'has no bottom',
}

TYPES = [LayerType(name, refused=reason) for name, reason in REASONS.items()]
TYPES += [LayerType('MVN', same_shape, refused='normalises over the whole image')]
