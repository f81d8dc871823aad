"""Tests. `NETS` are those of this project, each with a golden summary; a user's own in nets/ are not tested."""
from pathlib import Path

NETS = sorted(path.stem for path in Path(__file__).parent.glob('golden/*.txt'))
