"""Server processes and commands for tests."""
