"""The commands that grant and revoke the administrator role."""

import os
import sys

import typer

from server.cli.context import DataOption, open_database, out, run_in_shop
from server.runtime import ConfigurationError

app = typer.Typer(help="Grant and revoke the administrator role.", no_args_is_help=True)


@app.command()
def create(email: str, data: DataOption = None) -> None:
    """Make an administrator of a new or an existing account.

    The password is read from the terminal or from BOOKSTORE_ADMIN_PASSWORD. Without one, an existing account keeps its
    password. A new password ends all sessions of the account.
    """
    from domain.accounts import grant_admin
    from domain.errors import InvalidCredentials, InvalidInput

    password = os.environ.get("BOOKSTORE_ADMIN_PASSWORD") or None
    if password is None and sys.stdin.isatty():
        prompt = "Password (empty: keep that of an existing account)"
        password = typer.prompt(prompt, default="", show_default=False, hide_input=True) or None
    with open_database(data) as runtime:
        try:
            user, is_new = run_in_shop(runtime, lambda shop: grant_admin(shop, email, password))
        except InvalidInput as error:
            raise ConfigurationError("\n".join(issue.message for issue in error.issues)) from error
        except InvalidCredentials as error:
            raise ConfigurationError(
                "There is no account with this email. Set BOOKSTORE_ADMIN_PASSWORD to create it."
            ) from error
    out.print(f"{user.email} is an administrator" + (" with a new account." if is_new else " now."), highlight=False)


@app.command()
def revoke(email: str, data: DataOption = None) -> None:
    """Make an administrator a customer again."""
    from domain.accounts import revoke_admin

    with open_database(data) as runtime:
        user = run_in_shop(runtime, lambda shop: revoke_admin(shop, email))
        if user is None:
            raise ConfigurationError(f"{email} is not an administrator.")
    out.print(f"{user.email} is a customer again.", highlight=False)
