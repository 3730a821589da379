"""PNG: chunks, metadata and two decoders that return the same pixels."""
