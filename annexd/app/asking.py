"""Ask a running daemon something, through its socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from annexd.errors import Unavailable

_SECONDS = 5.0
# A daemon answers at once; one that does not is stuck, and its user wants to know.


def ask(path: str, kind: str) -> dict[str, Any]:
    """The answer. Raises `Unavailable` when there is none, or when it is an error."""
    try:
        answer = json.loads(_exchange(path, kind.encode()))
    except TimeoutError:
        raise Unavailable(f"annexd at {path} does not answer") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unavailable(f"annexd does not run at {path}") from None
    except OSError as error:
        raise Unavailable(f"annexd at {path} cannot be asked: {error.strerror}") from None
    except ValueError:
        raise Unavailable(f"annexd at {path} gave no answer; is it run by this user?") from None
    if "error" in answer:
        raise Unavailable(str(answer["error"]))
    found: dict[str, Any] = answer
    return found


def _exchange(path: str, frame: bytes) -> bytes:
    """One frame there, everything until the end back."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_SECONDS)
        asking.connect(path)
        asking.sendall(struct.pack(">I", len(frame)) + frame)
        chunks = []
        while chunk := asking.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)
