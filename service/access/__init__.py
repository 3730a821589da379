"""Who may do what: bearer tokens, sessions of browsers, and what is refused."""
