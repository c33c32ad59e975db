"""What the commands share, and those that are a chapter of their own."""
