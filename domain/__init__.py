"""Business rules. This layer is independent of GraphQL and HTTP and leaves SQL to `persistence`."""
