"""The review of discarded and audited images: claims, verdicts, exports and the audit."""
