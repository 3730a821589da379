"""Other servers of the same model: one file per peer, run in that peer's environment."""
