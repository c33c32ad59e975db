"""The post office of a shop without a mail server: a maildir, which mail programs and editors can read."""

import asyncio
from email.message import EmailMessage
from mailbox import Maildir
from pathlib import Path


class MaildirOffice:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder.resolve())

    async def send(self, message: EmailMessage) -> None:
        await asyncio.to_thread(self._add, message.as_bytes(policy=message.policy.clone(linesep="\n")))

    def _add(self, letter: bytes) -> None:
        # Maildir's own `create` makes the folder before its parts: a second thread finds the one without the others.
        for part in ("tmp", "new", "cur"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        Maildir(self._folder, create=False).add(letter)
