"""Tests. `NETS` are the nets of this project, which have a golden summary; a user's own in nets/ are not tested here."""
from pathlib import Path

NETS = sorted(path.stem for path in Path(__file__).parent.glob('golden/*.txt'))
