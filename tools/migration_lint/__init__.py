"""Reject migrations that block a running shop or break servers of the previous release."""
