"""The post: letters rendered from templates and taken to an SMTP server, or to a folder."""
