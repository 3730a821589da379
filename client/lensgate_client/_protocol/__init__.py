"""Build requests and check responses, without I/O."""
