"""Several processes at one address, none of which serves on alone."""

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
    """The shop in a process that another one has started, and that ends when that one is gone: as after SIGTERM."""
    parent = parent_process()
    if parent is not None:
        if not parent.is_alive():
            sys.exit()  # it is alone before it has begun
        Thread(target=_exit_with_parent, args=(parent,), name="parent", daemon=True).start()
    return app.create_app()


def _exit_with_parent(parent: BaseProcess) -> None:
    """Who can say farewell does so with a signal, and stays until all have ended. Who is killed cannot."""
    parent.join()
    log.warning("parent_gone", pid=parent.pid)
    os.kill(os.getpid(), signal.SIGTERM)


class WorkerSupervisor(Multiprocess):
    """When they are to stop, nobody new is let in.

    uvicorn keeps the address open until the last of its processes has ended; whoever comes meanwhile is never answered.
    """

    def terminate_all(self) -> None:
        for socket in self.sockets:
            socket.close()
        super().terminate_all()
