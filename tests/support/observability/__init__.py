"""Log, metric and trace collectors for tests."""
