"""Free TCP ports for servers that tests start."""

import socket


def find_free_port() -> int:
    """Return a port of 127.0.0.1 without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
