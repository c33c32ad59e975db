"""What the shop decides. Knows nothing of GraphQL or HTTP, and leaves SQL to `persistence`."""
