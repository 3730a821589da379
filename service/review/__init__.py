"""What people say about what was discarded: claims, verdicts, exports and the audit."""
