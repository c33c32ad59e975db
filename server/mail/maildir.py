"""The email backend of a shop without a mail server: a maildir, which mail programs can read."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

from server.settings import Settings

PROBE_SIZE = 16_384  # bytes, about the size of an email


class MaildirBackend:
    """Stores each email as a file in a maildir."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder.resolve())

    async def send(self, message: EmailMessage) -> None:
        """Store an email in `new`."""
        await asyncio.to_thread(self._deliver, message.as_bytes(policy=message.policy.clone(linesep="\n")))

    def check_writable(self) -> None:
        """Write and remove a file.

        Raises:
            OSError: an email could not be stored.
        """
        with self._write_temporary(bytes(PROBE_SIZE)):
            pass

    def _deliver(self, content: bytes) -> None:
        with self._write_temporary(content) as temporary_path:
            os.link(temporary_path, self._folder / "new" / f"{time.time_ns()}.{secrets.token_hex(8)}.bookstore")

    @contextmanager
    def _write_temporary(self, content: bytes) -> Iterator[str]:
        """Write a complete file to disk in `tmp`, where no mail program reads, and remove it after the block."""
        self._create_folders()
        with tempfile.NamedTemporaryFile(dir=self._folder / "tmp") as file:
            file.write(content)
            file.flush()
            os.fsync(file)
            yield file.name

    def _create_folders(self) -> None:
        for part in ("tmp", "new", "cur"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)


def check_maildir(settings: Settings) -> str | None:
    """Return why emails cannot be stored in MAIL_FOLDER, or `None`."""
    if settings.smtp_url or settings.mail_suppress_send:
        return None
    backend = MaildirBackend(settings.mail_folder)
    try:
        backend.check_writable()
    except OSError as error:
        return f"{backend} is not writable: {error.strerror}. Name another folder with MAIL_FOLDER, or a mail server with SMTP_URL."
    return None
