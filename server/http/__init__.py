"""HTTP: the GraphQL endpoint, GraphiQL, health checks, cookies and cache headers."""
