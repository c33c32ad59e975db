"""Assemble the command `bookstore` from its subcommands."""

import typer

from server.cli import admins, books, database, emails, schema, serve

app = typer.Typer(
    name="bookstore",
    help="A bookshop with a GraphQL API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("worker")(emails.run_worker)
app.command("emails")(emails.manage_failed)
app.command("migrate")(database.migrate)
app.command("export-database")(database.export)
app.command("import-database")(database.import_)
app.command("rehearse-restore")(database.rehearse_restore)
app.command("demo")(books.demo)
app.command("import", cls=books.ImportCommand)(books.import_books)
app.add_typer(admins.app, name="admin")
app.add_typer(schema.app, name="schema")
