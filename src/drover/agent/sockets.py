"""Unix sockets for root alone. Standard library only, as ``nodeinit``, which uses it too."""

from __future__ import annotations

import os
import socket


def bound(path: str) -> socket.socket:
    """Nobody else can connect from the first moment on; not listening yet. Raises OSError."""
    made = socket.socket(socket.AF_UNIX)
    previous = os.umask(0o177)
    try:
        made.bind(path)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(previous)
    return made
