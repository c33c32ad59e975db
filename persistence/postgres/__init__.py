"""PostgreSQL access: pools, sessions, replicas, errors, statements and keyset pagination."""
