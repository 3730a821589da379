"""What several tests build: small models, images in every format, real servers."""
