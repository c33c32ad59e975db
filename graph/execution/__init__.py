"""Executes one GraphQL request: documents, limits, cost, deadline, cache control."""
