"""Several processes at one address."""

from uvicorn.supervisors import Multiprocess


class Workers(Multiprocess):
    """When they are to stop, nobody new is let in.

    uvicorn keeps the address open until the last of its processes has ended; whoever comes meanwhile is never answered.
    """

    def terminate_all(self) -> None:
        for socket in self.sockets:
            socket.close()
        super().terminate_all()
