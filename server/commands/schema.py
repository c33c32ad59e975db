"""The contract on the command line: printed, compared, and the documents that frontends ask it with."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from server.commands.opening import err, fail, out

app = typer.Typer()


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Fail when schema.graphql is not what would be printed.")
    ] = False,
    file: Annotated[Path, typer.Option(help="The file to compare with.")] = Path("schema.graphql"),
) -> None:
    """Print the schema as GraphQL SDL."""
    if context.invoked_subcommand:
        return
    from graph.schema import schema

    sdl = schema.as_str() + "\n"
    if not check:
        typer.echo(sdl, nl=False)
    elif not file.exists() or file.read_text(encoding="utf-8") != sdl:
        fail(f"{file} is not up to date. Write it anew with `just schema`.")
    else:
        out.print(f"{file} is up to date.")


@app.command()
def documents(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="With *.graphql and *.gql files in it.")],
    to: Annotated[Path | None, typer.Option("--out", help="The file to write (standard output).")] = None,
) -> None:
    """Make the list of trusted documents, for TRUSTED_DOCUMENTS: each file's text by its SHA-256.

    Each file is one document, complete in itself: with an operation and the fragments that it uses.
    """
    from graph.cost import DEAREST
    from graph.documents import Documents, Refused, sha256
    from server.trusted import checked, found_in, told

    known, listed, wrong = Documents(introspection=False), {}, 0
    paths = found_in(folder)
    for path in paths:
        try:
            text, document = checked(known, path)
        except (Refused, OSError, UnicodeDecodeError) as error:
            wrong += 1
            problems = told(error) if isinstance(error, Refused) else [("", _why_unread(error))]
            for place, message in problems:
                _complain(f"{path}:{place}" if place else f"{path}", message)
            continue
        listed[sha256(text)] = text
        if any(it.price.for_(None) > DEAREST for it in document.operations.values()):
            _complain(f"{path}", f"It costs more than {DEAREST:,}: only administrators may ask it.")
    if wrong or not paths:
        reason = f"{wrong} of {len(paths)} documents do not fit" if wrong else f"{folder} has no documents"
        fail(f"{reason}. Nothing was written.")
    _write(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode() + "\n", len(listed), to)


def _why_unread(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "It cannot be read." if isinstance(error, OSError) else "It is not in UTF-8."


def _complain(place: str, message: str) -> None:
    err.print(f"{place}: {message}", highlight=False, markup=False, soft_wrap=True)


def _write(text: str, count: int, to: Path | None) -> None:
    if to is None:
        typer.echo(text, nl=False)
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{to} cannot be written: {error.strerror}.")
    out.print(f"{count} documents in {to}.", highlight=False, soft_wrap=True)
