"""What was decided, kept: written in batches behind the answers, and read back by people and programs."""
