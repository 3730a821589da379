"""JPEG: segments, strict decoding, and the repair and checks around it."""
