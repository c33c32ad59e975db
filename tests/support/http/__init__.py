"""HTTP clients and applications for tests."""
