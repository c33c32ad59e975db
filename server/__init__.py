"""How it runs: settings, the HTTP application, the command line, the embedded PostgreSQL."""
