"""Helpers of the tests, by kind."""
