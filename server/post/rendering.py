"""Letters as mail: HTML from a template, plain text from that HTML, and headers that nobody can add to."""

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

from domain.contents import BookFacts, Contents, LinkFacts, OrderFacts, ProviderFacts
from domain.shop import Policy
from persistence.identities import Provider
from persistence.letters import LetterKind

LOCALE = Locale("en", "GB")
PROVIDER_NAMES = {Provider.GOOGLE: "Google", Provider.GITHUB: "GitHub"}
LINE = 76  # characters of plain text; addresses stay whole
LONGEST_TITLE = 80  # characters, in a subject


class Stationery:
    """What letters are written on: our address, our templates, our clock."""

    def __init__(self, sender: Address, policy: Policy) -> None:
        self._sender = sender
        self._zone = ZoneInfo(policy.time_zone)
        self._public_url = policy.public_url
        self._templates = Environment(
            loader=PackageLoader("server.post"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "money": money,
            "href": href,
            "day": self._day,
            "moment": self._moment,
            "country": _country,
        }
        self._inliner = css_inline.CSSInliner(keep_style_tags=False, load_remote_stylesheets=False)
        self._layout = ParserConfig(css=STRICT_CSS_PROFILE)

    def compose(self, contents: Contents) -> EmailMessage:
        """`multipart/alternative`, the text first; the Message-ID is the letter's id at our host."""
        recipient, policy = _mailbox(contents.reader.email, _name(contents))
        message = EmailMessage(policy)
        message["From"] = self._sender
        message["To"] = recipient
        message["Subject"] = subject = _subject(contents)
        message["Date"] = dt.datetime.now(dt.UTC)
        message["Message-ID"] = f"<{contents.letter.id}@{public_host(self._public_url)}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._text(contents, subject), cte="quoted-printable")
        message.add_alternative(self._html(contents, subject), subtype="html", cte="quoted-printable")
        return message

    def _html(self, contents: Contents, subject: str) -> str:
        return self._inliner.inline(self._rendered(contents, subject, as_text=False))

    def _text(self, contents: Contents, subject: str) -> str:
        """The same template, with its tables as lines and its buttons as addresses."""
        text = get_text(self._rendered(contents, subject, as_text=True), self._layout)
        return "\n".join(_wrapped(line.rstrip()) for line in text.strip().splitlines()) + "\n"

    def _rendered(self, contents: Contents, subject: str, *, as_text: bool) -> str:
        template = self._templates.get_template(f"{contents.letter.kind.lower()}.html")
        return template.render(
            facts=contents.facts,
            reader=contents.reader,
            name=_name(contents),
            providers=PROVIDER_NAMES,
            public_url=self._public_url,
            subject=subject,
            as_text=as_text,
        )

    def _day(self, moment: dt.datetime) -> str:
        return format_date(moment.astimezone(self._zone), "d MMMM y", LOCALE)

    def _moment(self, moment: dt.datetime) -> str:
        return format_datetime(moment, "d MMMM y, HH:mm zzz", self._zone, LOCALE)


def money(amount: Decimal, currency: str) -> str:
    """With a space after letters, which babel leaves out."""
    return re.sub(r"(?<=[A-Z])(?=[0-9])", "\N{NO-BREAK SPACE}", format_currency(amount, currency, locale=LOCALE))


def href(address: str) -> str:
    """A web address as it may stand in any HTML, however that is written anew."""
    return quote(address, safe=string.punctuation.translate(str.maketrans("", "", "<>\"'`")))


def one_line(text: str) -> str:
    """Without line breaks or anything else that does not show."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def public_host(url: str) -> str:
    """The host of an address as it stands in headers: in ASCII, and in brackets where it is an IPv6 address."""
    host = urlsplit(url).hostname or "localhost"
    return f"[IPv6:{host}]" if ":" in host else host.encode("idna").decode()


def _name(contents: Contents) -> str:
    """None for an address that nobody has shown to be theirs: whoever gave it could send a stranger any text."""
    return one_line(contents.reader.display_name) if contents.reader.is_email_verified else ""


def _mailbox(email: str, name: str) -> tuple[Address, "EmailPolicy[EmailMessage]"]:
    """The recipient, and the rules that their address needs; a name loses what means something in a header."""
    parts = validate_email(email, check_deliverability=False, test_environment=True)
    shown = " ".join(name.translate(_SPECIAL).split())
    return Address(shown, parts.local_part, parts.ascii_domain), SMTP if parts.local_part.isascii() else SMTPUTF8


_SPECIAL = str.maketrans(dict.fromkeys('()<>[]:;@\\,."=?', " "))
"""In a name between `=?` and `?=` Python's own headers find words, and recipients, that are none."""


def _subject(contents: Contents) -> str:
    match contents.facts:
        case OrderFacts(order=order):
            return _ORDER_SUBJECTS[LetterKind(contents.letter.kind)].format(order.number)
        case BookFacts(title=title):
            shown = textwrap.shorten(one_line(title).replace("=?", "= ?"), LONGEST_TITLE, placeholder=" …")
            return f"“{shown}” is back"
        case ProviderFacts(provider=provider):
            return f"You can now sign in with {PROVIDER_NAMES[provider]}"
        case LinkFacts():
            return _LINK_SUBJECTS[LetterKind(contents.letter.kind)]


_ORDER_SUBJECTS = {
    LetterKind.ORDER_CONFIRMED: "Your order {} is confirmed",
    LetterKind.ORDER_SHIPPED: "Your order {} is on its way",
    LetterKind.ORDER_CANCELLED: "Your order {} is cancelled",
}
_LINK_SUBJECTS = {
    LetterKind.VERIFY_EMAIL: "Verify your e-mail address",
    LetterKind.RESET_PASSWORD: "Choose a new password",
}


def _country(code: str) -> str:
    return str(LOCALE.territories.get(code, code))


def _wrapped(line: str) -> str:
    bare = line.lstrip()
    indent = line[: len(line) - len(bare)]
    below = indent + "  " * bare.startswith("* ")
    return textwrap.fill(
        bare, LINE, initial_indent=indent, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )
