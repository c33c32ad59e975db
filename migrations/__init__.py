"""The schema migrations of the database."""
