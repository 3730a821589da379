"""The client on a GPU, for a machine with few other packages: `python -m bench.gpu`."""
