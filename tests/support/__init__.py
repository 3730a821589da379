"""Fixtures of several tests: small models, images in every format, real servers."""
