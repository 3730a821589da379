"""The online service: HTTP in, admission, decoding, natural batching, a decision out."""
