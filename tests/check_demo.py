"""Check what `make demo` left: three stages, each better than the one before, the last at least 0.85 mean IU."""
import json
import sys
from pathlib import Path

folder = Path(__file__).resolve().parent.parent / 'runs/demo'
summary = json.loads((folder / 'summary.json').read_text())
scores = [stage['mean_iu'] for stage in summary['stages']]
rising = len(scores) == 3 and scores == sorted(set(scores)) and scores[-1] >= 0.85
pictures = [name for name in summary['images'] if not (folder / name).is_file()]
print('mean IU of 32s, 16s, 8s:', ', '.join(f'{score:.3f}' for score in scores))
if not rising or pictures:
    sys.exit(f'the demo fell short: mean IU {scores}, pictures missing: {pictures or "none"}')
print('the demo is as promised')
