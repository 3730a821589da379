"""Check that comments, docstrings, messages and documents are written in plain English."""
