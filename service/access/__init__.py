"""Authentication and authorization: bearer tokens, browser sessions, scopes, rate limits, TLS."""
