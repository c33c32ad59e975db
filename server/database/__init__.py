"""Operate the database: embedded server, migrations, dumps and checks at start-up."""
