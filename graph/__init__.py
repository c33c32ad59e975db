"""The GraphQL API: the schema, and how requests are executed."""
