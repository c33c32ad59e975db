"""The email backend for an SMTP server."""

import asyncio
import contextlib
import ssl
from email.message import EmailMessage

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from domain.email.delivery import PermanentFailure, TemporaryFailure
from server.urls import SmtpServer

STEP_TIMEOUT = 20.0  # seconds for each response
SEND_TIMEOUT = 60.0  # seconds for an email
QUIT_TIMEOUT = 2.0  # seconds


class SmtpBackend:
    """Sends each email over a connection of its own."""

    def __init__(self, server: SmtpServer, local_hostname: str) -> None:
        self._server = server
        self._local_hostname = local_hostname
        self._tls_context = ssl.create_default_context()
        if server.is_local:  # a local mail server usually has a self-signed certificate
            self._tls_context.check_hostname, self._tls_context.verify_mode = False, ssl.CERT_NONE

    def __str__(self) -> str:
        return f"{self._server.host}:{self._server.port}"

    async def send(self, message: EmailMessage) -> None:
        """Send an email.

        Raises:
            PermanentFailure: the mail server rejects it for good.
            TemporaryFailure: another attempt may succeed.
        """
        client = self._create_client()
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await client.connect()
                await client.send_message(message)
        except (SMTPRecipientsRefused, SMTPDataError, SMTPNotSupported) as error:
            raise _classify_error(error) from error
        except SMTPException as error:  # the operator can correct a wrong password or sender
            raise TemporaryFailure(_format_error(error)) from error
        except TimeoutError as error:
            raise TemporaryFailure(f"{self} did not respond in time.") from error
        finally:
            await _quit(client)

    def _create_client(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            local_hostname=self._local_hostname,
            use_tls=server.implicit_tls,
            start_tls=False if server.implicit_tls else server.requires_tls or None,  # None: if offered
            tls_context=self._tls_context,
            timeout=STEP_TIMEOUT,
        )


def _classify_error(
    error: SMTPRecipientsRefused | SMTPDataError | SMTPNotSupported,
) -> PermanentFailure | TemporaryFailure:
    if isinstance(error, SMTPNotSupported):
        return (
            PermanentFailure(_format_error(error))
            if "SMTPUTF8" in error.message
            else TemporaryFailure(_format_error(error))
        )
    responses: list[SMTPResponseException] = (
        list(error.recipients) if isinstance(error, SMTPRecipientsRefused) else [error]
    )
    message = "; ".join(map(_format_error, responses))
    return (
        PermanentFailure(message)
        if all(500 <= response.code < 600 for response in responses)
        else TemporaryFailure(message)
    )


def _format_error(error: SMTPException) -> str:
    return f"{error.code} {error.message}" if isinstance(error, SMTPResponseException) else error.message


async def _quit(client: SMTP) -> None:
    """Close the connection. Errors do not matter: the email was accepted or rejected before."""
    if client.is_connected:
        with contextlib.suppress(SMTPException, OSError, TimeoutError):
            await client.quit(timeout=QUIT_TIMEOUT)
    client.close()
