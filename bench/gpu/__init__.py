"""The client on a GPU, on a machine that has one and little else: `python -m bench.gpu`."""
