"""What is remembered: the tables, and SQL as functions. Knows nothing of GraphQL, HTTP or the shop's rules."""
