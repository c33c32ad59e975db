"""The post office that speaks SMTP."""

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

from domain.posting import PostDelayed, PostRefused
from server.post.relay import Relay

STEP_TIMEOUT = 20.0  # seconds for each answer
WHOLE_TIMEOUT = 60.0  # seconds for a letter
FAREWELL_TIMEOUT = 2.0  # seconds


class SmtpOffice:
    def __init__(self, relay: Relay, our_name: str) -> None:
        self._relay = relay
        self._our_name = our_name
        self._tls = ssl.create_default_context()
        if relay.is_local:  # this machine's own mail server mostly has a certificate that it gave itself
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    def __str__(self) -> str:
        return f"{self._relay.host}:{self._relay.port}"

    async def send(self, message: EmailMessage) -> None:
        client = self._client()
        try:
            async with asyncio.timeout(WHOLE_TIMEOUT):
                await client.connect()
                await client.send_message(message)
        except (SMTPRecipientsRefused, SMTPDataError, SMTPNotSupported) as error:
            raise _verdict(error) from error
        except SMTPException as error:  # a wrong password or sender is for the operator to put right
            raise PostDelayed(_said(error)) from error
        except TimeoutError as error:
            raise PostDelayed(f"{self} did not answer in time.") from error
        finally:
            await _say_goodbye(client)

    def _client(self) -> SMTP:
        relay = self._relay
        return SMTP(
            hostname=relay.host,
            port=relay.port,
            username=relay.username,
            password=relay.password,
            local_hostname=self._our_name,
            use_tls=relay.tls,
            start_tls=False if relay.tls else relay.must_encrypt or None,  # None: where it is offered
            tls_context=self._tls,
            timeout=STEP_TIMEOUT,
        )


def _verdict(error: SMTPRecipientsRefused | SMTPDataError | SMTPNotSupported) -> PostRefused | PostDelayed:
    if isinstance(error, SMTPNotSupported):
        return PostRefused(_said(error)) if "SMTPUTF8" in error.message else PostDelayed(_said(error))
    answers: list[SMTPResponseException] = (
        list(error.recipients) if isinstance(error, SMTPRecipientsRefused) else [error]
    )
    said = "; ".join(map(_said, answers))
    return PostRefused(said) if all(500 <= answer.code < 600 for answer in answers) else PostDelayed(said)


def _said(error: SMTPException) -> str:
    return f"{error.code} {error.message}" if isinstance(error, SMTPResponseException) else error.message


async def _say_goodbye(client: SMTP) -> None:
    """Whatever happens now, the letter has been taken or not."""
    if client.is_connected:
        with contextlib.suppress(SMTPException, OSError, TimeoutError):
            await client.quit(timeout=FAREWELL_TIMEOUT)
    client.close()
