"""The service under load, held against what the cores could do without it and against other servers of models."""
