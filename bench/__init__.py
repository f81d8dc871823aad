"""Side-by-side timing of this project, Caffe alone and other engines: python -m bench."""
