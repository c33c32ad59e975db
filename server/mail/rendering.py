"""Render emails: HTML from a template, plain text from the HTML, and headers safe from injection."""

import datetime as dt
import re
import string
import textwrap
from decimal import Decimal
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import css_inline
from babel import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency
from email_validator import validate_email
from inscriptis import get_text
from inscriptis.css_profiles import STRICT_CSS_PROFILE
from inscriptis.model.config import ParserConfig
from jinja2 import Environment, PackageLoader, StrictUndefined

from domain.email.content import BookContext, EmailContent, LinkContext, OrderContext, ProviderContext
from domain.shop import Policy
from persistence.emails import EmailKind
from persistence.linked_accounts import Provider

LOCALE = Locale("en", "GB")
PROVIDER_NAMES = {Provider.GOOGLE: "Google", Provider.GITHUB: "GitHub"}
MAX_LINE_LENGTH = 76  # characters of plain text; URLs are not broken
MAX_TITLE_LENGTH = 80  # characters, in a subject


class EmailRenderer:
    """Renders emails with the sender and the templates of the shop, in its time zone."""

    def __init__(self, sender: Address, policy: Policy) -> None:
        self._sender = sender
        self._time_zone = ZoneInfo(policy.time_zone)
        self._public_url = policy.public_url
        self._templates = Environment(
            loader=PackageLoader("server.mail"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "money": format_money,
            "href": quote_href,
            "date": self._format_date,
            "datetime": self._format_datetime,
            "country": _format_country,
        }
        self._css_inliner = css_inline.CSSInliner(keep_style_tags=False, load_remote_stylesheets=False)
        self._text_config = ParserConfig(css=STRICT_CSS_PROFILE)

    def render(self, content: EmailContent) -> EmailMessage:
        """Return a `multipart/alternative` message, text first; its Message-ID is the email's id at our host."""
        recipient, policy = _build_recipient(content.user.email, _get_recipient_name(content))
        message = EmailMessage(policy)
        message["From"] = self._sender
        message["To"] = recipient
        message["Subject"] = subject = _build_subject(content)
        message["Date"] = dt.datetime.now(dt.UTC)
        message["Message-ID"] = f"<{content.email.id}@{extract_host(self._public_url)}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._render_text(content, subject), cte="quoted-printable")
        message.add_alternative(self._render_html(content, subject), subtype="html", cte="quoted-printable")
        return message

    def _render_html(self, content: EmailContent, subject: str) -> str:
        return self._css_inliner.inline(self._render_template(content, subject, as_text=False))

    def _render_text(self, content: EmailContent, subject: str) -> str:
        """Render the same template with lines for tables and URLs for buttons."""
        text = get_text(self._render_template(content, subject, as_text=True), self._text_config)
        return "\n".join(_wrap_line(line.rstrip()) for line in text.strip().splitlines()) + "\n"

    def _render_template(self, content: EmailContent, subject: str, *, as_text: bool) -> str:
        template = self._templates.get_template(f"{content.email.kind.lower()}.html")
        return template.render(
            context=content.context,
            user=content.user,
            name=_get_recipient_name(content),
            providers=PROVIDER_NAMES,
            public_url=self._public_url,
            subject=subject,
            as_text=as_text,
        )

    def _format_date(self, moment: dt.datetime) -> str:
        return format_date(moment.astimezone(self._time_zone), "d MMMM y", LOCALE)

    def _format_datetime(self, moment: dt.datetime) -> str:
        return format_datetime(moment, "d MMMM y, HH:mm zzz", self._time_zone, LOCALE)


def format_money(amount: Decimal, currency: str) -> str:
    """Format an amount, with the space after a currency code that babel omits."""
    return re.sub(r"(?<=[A-Z])(?=[0-9])", "\N{NO-BREAK SPACE}", format_currency(amount, currency, locale=LOCALE))


def quote_href(url: str) -> str:
    """Quote a URL so that it is safe in any HTML attribute, also after the HTML is rewritten."""
    return quote(url, safe=string.punctuation.translate(str.maketrans("", "", "<>\"'`")))


def to_single_line(text: str) -> str:
    """Replace white space by single spaces, and remove other characters that are not printable."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def extract_host(url: str) -> str:
    """Return the host of a URL as in headers: in ASCII, with brackets around an IPv6 address."""
    host = urlsplit(url).hostname or "localhost"
    return f"[IPv6:{host}]" if ":" in host else host.encode("idna").decode()


def _get_recipient_name(content: EmailContent) -> str:
    """Return the name of a verified user, otherwise nothing: an unverified name could carry spam to a stranger."""
    return to_single_line(content.user.display_name) if content.user.is_email_verified else ""


def _build_recipient(email: str, name: str) -> tuple[Address, "EmailPolicy[EmailMessage]"]:
    """Return the recipient, and the policy for the address; the name loses all characters special in headers."""
    parts = validate_email(email, check_deliverability=False, test_environment=True)
    display_name = " ".join(name.translate(_HEADER_SPECIALS).split())
    return Address(display_name, parts.local_part, parts.ascii_domain), SMTP if parts.local_part.isascii() else SMTPUTF8


_HEADER_SPECIALS = str.maketrans(dict.fromkeys('()<>[]:;@\\,."=?', " "))
"""Python's header parser decodes names between `=?` and `?=`, which could add recipients."""


def _build_subject(content: EmailContent) -> str:
    match content.context:
        case OrderContext(order=order):
            return _ORDER_SUBJECTS[EmailKind(content.email.kind)].format(order.number)
        case BookContext(title=title):
            short_title = textwrap.shorten(
                to_single_line(title).replace("=?", "= ?"), MAX_TITLE_LENGTH, placeholder=" …"
            )
            return f"“{short_title}” is back"
        case ProviderContext(provider=provider):
            return f"You can now sign in with {PROVIDER_NAMES[provider]}"
        case LinkContext():
            return _LINK_SUBJECTS[EmailKind(content.email.kind)]


_ORDER_SUBJECTS = {
    EmailKind.ORDER_CONFIRMED: "Your order {} is confirmed",
    EmailKind.ORDER_SHIPPED: "Your order {} is on its way",
    EmailKind.ORDER_CANCELLED: "Your order {} is cancelled",
}
_LINK_SUBJECTS = {
    EmailKind.VERIFY_EMAIL: "Verify your e-mail address",
    EmailKind.RESET_PASSWORD: "Choose a new password",
}


def _format_country(code: str) -> str:
    return str(LOCALE.territories.get(code, code))


def _wrap_line(line: str) -> str:
    stripped = line.lstrip()
    indent = line[: len(line) - len(stripped)]
    subsequent_indent = indent + "  " * stripped.startswith("* ")
    return textwrap.fill(
        stripped,
        MAX_LINE_LENGTH,
        initial_indent=indent,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
