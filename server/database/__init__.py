"""The database as operators see it: embedded server, migrations, dumps and checks at start-up."""
