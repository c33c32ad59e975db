"""Databases, replicas, proxies and locks for tests."""
