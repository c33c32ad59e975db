"""Books, customers, carts and orders for tests."""
