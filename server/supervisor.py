"""Run several server processes on one address, and end them with their supervisor."""

import os
import signal
import sys
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread

import structlog
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from server import app

log = structlog.get_logger()


def create_app() -> Starlette:
    """Return the application of a worker process, which drains and exits when its supervisor exits."""
    parent = parent_process()
    if parent is not None:
        if not parent.is_alive():
            sys.exit()  # the supervisor exited before this process started
        Thread(target=_exit_with_parent, args=(parent,), name="parent", daemon=True).start()
    return app.create_app()


def _exit_with_parent(parent: BaseProcess) -> None:
    """Wait for the supervisor to exit, then drain. One killed with SIGKILL cannot signal its workers."""
    parent.join()
    log.warning("parent_exited", pid=parent.pid)
    os.kill(os.getpid(), signal.SIGTERM)


class WorkerSupervisor(Multiprocess):
    """Closes the listening sockets before it stops the workers.

    uvicorn keeps them open until the last worker has ended, and connections accepted meanwhile never get a response.
    """

    def terminate_all(self) -> None:
        """Stop accepting connections, then send SIGTERM to all workers."""
        for socket in self.sockets:
            socket.close()
        super().terminate_all()
