"""From image bytes to a decision: admission, decoding, batching and the model. No HTTP."""
