"""The tables, and SQL as functions, one module per noun. Knows nothing of GraphQL, HTTP or business rules."""
