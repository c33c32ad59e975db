"""Messages to operators that both the command line and /ready show."""

SCHEMA_OUTDATED = "The database schema is older than this version: run `bookstore migrate`."
MISSING_PRIVILEGES = (
    "The database role of {setting} lacks privileges on {table}: make it the owner of the tables,"
    " or GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public to it"
    " (SELECT is enough for DATABASE_READ_URL)."
)
KEY_MISMATCH = (
    "SECRET_KEY has none of the keys that other servers of this shop use: their access tokens are rejected here,"
    " and email links wait for the key that signed them. To rotate keys, set SECRET_KEY=NEW,OLD."
)
