"""Convert files, arrays and tensors to the pixels that the gate scores."""
