"""Mail servers and emails for tests."""
