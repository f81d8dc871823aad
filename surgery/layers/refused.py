"""Layer types that have no equivalent at every image size, or that are not run here, each with the reason."""
from .record import LayerType

REASONS = {
    'Python': 'runs code of its own, which is not run here', 'Im2col': 'makes columns, not a map',
    **dict.fromkeys(('LSTM', 'LSTMUnit', 'RNN', 'Recurrent'), 'works along time'),
    'BatchReindex': 'picks from the batch', 'Filter': 'picks from the batch', 'Parameter': 'has no bottom',
}

TYPES = [LayerType(name, refused=reason) for name, reason in REASONS.items()]
