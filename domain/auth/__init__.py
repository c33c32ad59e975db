"""Sessions, tokens, passwords, OAuth, email verification and login throttling."""
