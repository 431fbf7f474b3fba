"""What ``[listen.ssh]`` says, without a file."""

from __future__ import annotations

from typing import Any

from annexd.app.listen_ssh import ListenSsh
from annexd.transports import address


def settings(*addresses: str, keys: str, **more: Any) -> ListenSsh:
    return ListenSsh(tuple(map(address.parse, addresses)), authorized_keys=keys, **more)
