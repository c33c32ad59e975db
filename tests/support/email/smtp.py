"""A mail server that accepts, delays or rejects emails, hangs, or crashes on demand."""

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

from tests.support.processes.clock import advance_clock
from tests.support.waiting import wait_until


@dataclass(slots=True)
class FakeMailServer:
    """The emails that the server received, and its responses to the next emails."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    rejected_recipients: list[str] = field(default_factory=list)
    usernames: list[str] = field(default_factory=list)
    used_tls: list[bool] = field(default_factory=list)
    recipient_responses: dict[str, str] = field(default_factory=dict)
    """Responses to RCPT by address; `*` matches every address."""
    sender_response: str | None = None
    data_response: str | None = None
    submitted_recipients: list[str] = field(default_factory=list)
    """The recipients of all submitted emails, accepted or not."""
    may_accept: asyncio.Event | None = None
    """The server accepts submitted emails only after this event is set."""
    silent_recipients: set[str] = field(default_factory=set)
    """Recipients whose RCPT gets no response."""
    withheld_response: str | None = None
    """The beginning of a response that is never sent."""
    endless_response: str | None = None
    """The beginning of a response that never ends."""
    hanging: list[str] = field(default_factory=list)
    """The responses that are missing or unfinished."""
    response_delay: float = 0
    """Seconds that each response takes on the event loop's clock."""
    sends_byte_by_byte: bool = False
    crashes_at: Literal["during data", "after data"] | None = None
    crash_count: int = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def find_messages(self, address: str) -> list[EmailMessage]:
        """Return the emails to this address."""
        return [message for message in self.messages if address in str(message["To"])]

    async def hang(self, response: str) -> None:
        """Send nothing until the client disconnects."""
        await asyncio.sleep(0.05)  # the client begins to wait
        self.hanging.append(response)
        await asyncio.Event().wait()

    async def wait_for(self, count: int, items: list[Any] | None = None) -> None:
        """Wait until this many emails have arrived, or until `items`, a list of this server, has this length."""
        await wait_until(lambda: len(self.messages if items is None else items) >= count, 40)


class _Handler:
    def __init__(self, state: FakeMailServer) -> None:
        self._state = state

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._state.sender_response:
            return self._state.sender_response
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self._state.silent_recipients:
            await self._state.hang(address)
        responses = self._state.recipient_responses
        if response := responses.get(address) or responses.get("*"):
            self._state.rejected_recipients.append(address)
            return response
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        state = self._state
        state.submitted_recipients.append(envelope.rcpt_tos[0])
        if state.may_accept:
            await state.may_accept.wait()
        if state.crashes_at == "after data":
            await _crash(state, server)
        if state.data_response:
            state.rejected_recipients.append(envelope.rcpt_tos[0])
            return state.data_response
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        assert server.transport is not None
        state.used_tls.append(server.transport.get_extra_info("sslcontext") is not None)
        state.messages.append(email.message_from_bytes(raw, policy=email.policy.default))
        return "250 Taken"


class _SmtpProtocol(SMTP):
    """Sends the responses that the server's state defines."""

    def __init__(self, state: FakeMailServer, **options: Any) -> None:
        super().__init__(_Handler(state), enable_SMTPUTF8=True, **options)
        self._state = state

    async def push(self, status: str | bytes) -> None:
        state, response = self._state, status if isinstance(status, str) else status.decode()
        if state.withheld_response and response.startswith(state.withheld_response):
            await state.hang(response)
        if state.response_delay and response[3] == " ":  # the last line of the response
            advance_clock(state.response_delay)
            await asyncio.sleep(0.02)
        if state.endless_response and response.startswith(state.endless_response):
            await self._send_endlessly(response)
        if state.sends_byte_by_byte:
            await self._send_byte_by_byte(response)
        else:
            await super().push(response)
        if state.crashes_at == "during data" and response.startswith("354"):
            await self._reader.readline()
            await _crash(state, self)

    async def _send_byte_by_byte(self, response: str) -> None:
        for byte in f"{response}\r\n".encode():
            self._writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    async def _send_endlessly(self, response: str) -> None:
        self._state.hanging.append(response)
        while True:
            self._writer.write(f"{response[:3]}-and so on\r\n".encode())
            await asyncio.sleep(0.05)


async def _crash(state: FakeMailServer, server: SMTP) -> None:
    state.crash_count += 1
    server._writer.transport.abort()
    await asyncio.Event().wait()


def create_self_signed_context(directory: Path) -> ssl.SSLContext:
    """Return the TLS context of a mail server without a certificate of an authority."""
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
    file = directory / "certificate.pem"
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private_key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def start_mail_server(
    *, tls: ssl.SSLContext | None = None, implicit_tls: bool = False, password: str | None = None, port: int = 0
) -> AsyncIterator[FakeMailServer]:
    """Start a mail server; with `tls` it offers STARTTLS or, with `implicit_tls`, starts with TLS.

    With a password it requires authentication.
    """
    state = FakeMailServer()

    def authenticate(_: object, __: object, ___: object, ____: object, credentials: object) -> AuthResult:
        state.usernames.append(getattr(credentials, "login", b"").decode())
        return AuthResult(success=getattr(credentials, "password", b"").decode() == password, handled=False)

    def create_protocol() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning about passwords without TLS, which tests check themselves
            return _SmtpProtocol(
                state,
                tls_context=None if implicit_tls else tls,
                authenticator=authenticate if password is not None else None,
                auth_required=password is not None,
                auth_require_tls=tls is not None and not implicit_tls,
            )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(create_protocol, "127.0.0.1", port, ssl=tls if implicit_tls else None)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
