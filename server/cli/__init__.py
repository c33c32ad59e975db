"""The command line `bookstore`: one module per group of commands."""
