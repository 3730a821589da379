"""Records of decisions: written in batches in the background, and read back over HTTP."""
