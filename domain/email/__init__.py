"""Which emails are sent, what they contain, and how delivery is retried."""
