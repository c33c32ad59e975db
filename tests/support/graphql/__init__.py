"""Documents, schemas and comparisons for tests."""
