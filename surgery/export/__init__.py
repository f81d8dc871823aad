"""Caffe nets for other engines, each proved equal to Caffe before anything is written.

`open_net` reads a net with all that an export needs to know, `export` writes it in one of `FORMATS`, has the format's
engines run it beside Caffe, and writes the account. A further format is an entry in `formats.FORMATS`.
"""
from .exporting import export
from .formats import FORMATS
from .source import Source, open_net

__all__ = ['FORMATS', 'Source', 'export', 'open_net']
