"""What serves the same model elsewhere: one file a peer, run by the Python of that peer's own environment."""
