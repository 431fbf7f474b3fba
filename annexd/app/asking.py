"""Ask a running daemon something, through its socket."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

from annexd.errors import Unavailable

_SECONDS = 5.0
# A daemon answers at once; one that does not is stuck, and its user wants to know.


def ask(
    path: str, kind: str, fields: Mapping[str, str] | None = None, seconds: float = _SECONDS
) -> dict[str, Any]:
    """
    The answer, for which there are so many ``seconds``.  Raises `Unavailable`
    when there is none, or when it is an error.
    """
    named = [f"{name}={value}" for name, value in (fields or {}).items()]
    try:
        answer = json.loads(_exchange(path, b"\0".join(map(os.fsencode, (kind, *named))), seconds))
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


def _exchange(path: str, frame: bytes, seconds: float) -> bytes:
    """One frame there, everything until the end back."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(seconds)
        asking.connect(path)
        asking.sendall(struct.pack(">I", len(frame)) + frame)
        chunks = []
        while chunk := asking.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)
