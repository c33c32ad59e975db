"""The post office of a shop without a mail server: a maildir, which mail programs and editors can read."""

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

LETTER = 16_384  # bytes, about as large as they are


class MaildirOffice:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder.resolve())

    async def send(self, message: EmailMessage) -> None:
        await asyncio.to_thread(self._add, message.as_bytes(policy=message.policy.clone(linesep="\n")))

    def try_out(self) -> None:
        """Raises `OSError` where no letter could be kept."""
        with self._written(bytes(LETTER)):
            pass

    def _add(self, letter: bytes) -> None:
        with self._written(letter) as unfinished:
            os.link(unfinished, self._folder / "new" / f"{time.time_ns()}.{secrets.token_hex(8)}.bookstore")

    @contextmanager
    def _written(self, letter: bytes) -> Iterator[str]:
        """Whole, on the disk, and where nobody looks for letters; of one that has no room nothing is left."""
        self._make()
        with tempfile.NamedTemporaryFile(dir=self._folder / "tmp") as file:
            file.write(letter)
            file.flush()
            os.fsync(file)
            yield file.name

    def _make(self) -> None:
        for part in ("tmp", "new", "cur"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)


def problem_with_maildir(settings: Settings) -> str | None:
    """What keeps letters out of the folder that they go to, in a line that says what to do."""
    if settings.smtp_url or settings.mail_suppress_send:
        return None
    office = MaildirOffice(settings.mail_folder)
    try:
        office.try_out()
    except OSError as error:
        return f"{office} takes no letters: {error.strerror}. Name another folder with MAIL_FOLDER, or a mail server with SMTP_URL."
    return None
