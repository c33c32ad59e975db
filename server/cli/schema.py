"""The commands that print the schema, compare it, and list trusted documents."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from server.cli.context import err, exit_with_error, out

app = typer.Typer()


@app.callback(invoke_without_command=True)
def print_schema(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Fail if the file differs from the schema.")] = False,
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
        exit_with_error(f"{file} is not up to date. Update it with `just schema`.")
    else:
        out.print(f"{file} is up to date.")


@app.command()
def documents(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder with *.graphql and *.gql files.")
    ],
    output: Annotated[Path | None, typer.Option("--out", help="The file to write (standard output).")] = None,
) -> None:
    """Write the list for TRUSTED_DOCUMENTS: the text of each file by its SHA-256.

    Each file is one complete document: operations and all the fragments that they use.
    """
    from graph.execution.cost import MAX_COST
    from graph.execution.documents import DocumentRejected, Documents, sha256
    from server.http.trusted_documents import find_document_files, format_errors, validate_file

    registry, manifest, invalid_count = Documents(introspection=False), {}, 0
    paths = find_document_files(folder)
    for path in paths:
        try:
            text, document = validate_file(registry, path)
        except (DocumentRejected, OSError, UnicodeDecodeError) as error:
            invalid_count += 1
            errors = (
                format_errors(error) if isinstance(error, DocumentRejected) else [("", _describe_read_error(error))]
            )
            for location, message in errors:
                _print_error(f"{path}:{location}" if location else f"{path}", message)
            continue
        manifest[sha256(text)] = text
        if any(it.cost.evaluate(None) > MAX_COST for it in document.operations.values()):
            _print_error(f"{path}", f"It costs more than {MAX_COST:,}: only administrators can execute it.")
    if invalid_count or not paths:
        reason = (
            f"{invalid_count} of {len(paths)} documents are not valid"
            if invalid_count
            else f"{folder} has no documents"
        )
        exit_with_error(f"{reason}. Nothing was written.")
    _write_manifest(orjson.dumps(manifest, option=orjson.OPT_INDENT_2).decode() + "\n", len(manifest), output)


def _describe_read_error(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "The file cannot be read." if isinstance(error, OSError) else "The file is not in UTF-8."


def _print_error(location: str, message: str) -> None:
    err.print(f"{location}: {message}", highlight=False, markup=False, soft_wrap=True)


def _write_manifest(text: str, count: int, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        exit_with_error(f"{output} cannot be written: {error.strerror}.")
    out.print(f"{count} documents in {output}.", highlight=False, soft_wrap=True)
