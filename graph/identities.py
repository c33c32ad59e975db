"""Identities: the providers whose accounts can be used to sign in."""

from graph.context import Info
from graph.kit.declare import attribute, enum_type, object_type, query
from graph.kit.permissions import public
from persistence.linked_accounts import Provider as Provider  # with its description, for the types that have providers

enum_type(
    Provider,
    "A company whose accounts can be used to sign in.",
    GOOGLE="Google.",
    GITHUB="GitHub.",
    name="OAuthProvider",
)


@object_type(name="OAuthLogin")
class OAuthLogin:
    """A sign-in button."""

    provider: Provider = attribute("The provider behind it.")
    url: str = attribute("Where to send the browser; it comes back to the frontend with a code for `loginWithOAuth`.")


@query(public)
async def oauth_logins(info: Info) -> list[OAuthLogin]:
    """The sign-in buttons to show besides email and password."""
    policy = info.context.shop.policy
    return [OAuthLogin(provider=provider, url=policy.build_login_url(provider)) for provider in policy.providers]
