"""What the nets learn from real photographs: the chain of the papers, FCN-8s on a modern classifier, and studies.

`train.txt` and `val.txt` are ids of VOC 2012, chosen for their animals: as many to learn from as VOC 2011 train has.
"""
