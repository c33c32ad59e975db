"""A mail server of the tests' own, with moods: it takes letters, puts them off, refuses them, hangs, dawdles or dies."""

import asyncio
import datetime as dt
import email
import email.policy
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.clock import let_pass


@dataclass(slots=True)
class Mailbox:
    """What has arrived, and how the next letters are met."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    turned_away: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    on_recipient: dict[str, str] = field(default_factory=dict)
    """Answers to recipients by their address; `*` is everybody."""
    on_sender: str | None = None
    on_data: str | None = None
    on_their_way: list[str] = field(default_factory=list)
    """To whom letters were handed in, whether they were taken or not."""
    gate: asyncio.Event | None = None
    """Letters that are handed in wait until it is opened."""
    silent_to: set[str] = field(default_factory=set)
    """Recipients that it never says anything about."""
    never_says: str | None = None
    """How the answer begins that it never gives."""
    never_ends: str | None = None
    """How the answer begins that it has more and more to add to."""
    on_hold: list[str] = field(default_factory=list)
    """What it does not say, or not to the end."""
    takes: float = 0
    """Seconds that each answer takes, on the event loop's clock."""
    drips: bool = False
    dies: Literal["in a letter", "after a letter"] | None = None
    deaths: int = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def to(self, address: str) -> list[EmailMessage]:
        return [letter for letter in self.letters if address in str(letter["To"])]

    async def hold(self, what: str) -> None:
        """Until the other end has gone."""
        await asyncio.sleep(0.05)  # in which who has just connected begins to wait
        self.on_hold.append(what)
        await asyncio.Event().wait()

    async def until(self, count: int, place: list[Any] | None = None) -> None:
        """Comes back when this many letters have arrived, or got to another place."""
        async with asyncio.timeout(40):
            while len(self.letters if place is None else place) < count:
                await asyncio.sleep(0.02)


class _Doorman:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._mailbox.on_sender:
            return self._mailbox.on_sender
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self._mailbox.silent_to:
            await self._mailbox.hold(address)
        answers = self._mailbox.on_recipient
        if answer := answers.get(address) or answers.get("*"):
            self._mailbox.turned_away.append(address)
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        mailbox = self._mailbox
        mailbox.on_their_way.append(envelope.rcpt_tos[0])
        if mailbox.gate:
            await mailbox.gate.wait()
        if mailbox.dies == "after a letter":
            await _die(mailbox, server)
        if mailbox.on_data:
            mailbox.turned_away.append(envelope.rcpt_tos[0])
            return mailbox.on_data
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        assert server.transport is not None
        mailbox.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        mailbox.letters.append(email.message_from_bytes(raw, policy=email.policy.default))
        return "250 Taken"


class _Server(SMTP):
    """Answers in the mood that its mailbox is in."""

    def __init__(self, mailbox: Mailbox, **more: Any) -> None:
        super().__init__(_Doorman(mailbox), enable_SMTPUTF8=True, **more)
        self._mailbox = mailbox

    async def push(self, status: str | bytes) -> None:
        mailbox, answer = self._mailbox, status if isinstance(status, str) else status.decode()
        if mailbox.never_says and answer.startswith(mailbox.never_says):
            await mailbox.hold(answer)
        if mailbox.takes and answer[3] == " ":  # its last line
            let_pass(mailbox.takes)
            await asyncio.sleep(0.02)
        if mailbox.never_ends and answer.startswith(mailbox.never_ends):
            await self._go_on_and_on(answer)
        if mailbox.drips:
            await self._drip(answer)
        else:
            await super().push(answer)
        if mailbox.dies == "in a letter" and answer.startswith("354"):
            await self._reader.readline()
            await _die(mailbox, self)

    async def _drip(self, answer: str) -> None:
        for byte in f"{answer}\r\n".encode():
            self._writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    async def _go_on_and_on(self, answer: str) -> None:
        self._mailbox.on_hold.append(answer)
        while True:
            self._writer.write(f"{answer[:3]}-and so on\r\n".encode())
            await asyncio.sleep(0.05)


async def _die(mailbox: Mailbox, server: SMTP) -> None:
    mailbox.deaths += 1
    server._writer.transport.abort()
    await asyncio.Event().wait()


def self_signed(folder: Path) -> ssl.SSLContext:
    """As a mail server has it that nobody has given a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def mail_server(
    *, tls: ssl.SSLContext | None = None, from_the_start: bool = False, password: str | None = None, port: int = 0
) -> AsyncIterator[Mailbox]:
    """A real one, which offers STARTTLS or speaks TLS from the start; with a password, it asks for it."""
    mailbox = Mailbox()

    def authenticate(_: object, __: object, ___: object, ____: object, told: object) -> AuthResult:
        mailbox.users.append(getattr(told, "login", b"").decode())
        return AuthResult(success=getattr(told, "password", b"").decode() == password, handled=False)

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that passwords may travel in the clear: whether they do is tested
            return _Server(
                mailbox,
                tls_context=None if from_the_start else tls,
                authenticator=authenticate if password is not None else None,
                auth_required=password is not None,
                auth_require_tls=tls is not None and not from_the_start,
            )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=tls if from_the_start else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
