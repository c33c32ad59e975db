"""Sessions, tokens and OAuth providers for tests."""
