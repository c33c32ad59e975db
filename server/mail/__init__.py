"""Render emails from templates, and send them to an SMTP server or store them in a maildir."""
