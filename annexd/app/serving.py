"""`annexd serve`: the daemon in the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from annexd.app.assemble import gateway
from annexd.app.plan import plan


def serve_in_foreground(
    file: str | None, socket: str | None, log_format: str | None, repositories: Sequence[str]
) -> int:
    """Until a signal ends it; the exit code. Raises `ConfigError` before it serves."""
    from twisted.internet import reactor as installed

    reactor = cast(Any, installed)
    daemon = gateway(reactor, plan(file, socket, log_format, repositories), os.environ, sys.stderr)
    daemon.begin_logging()
    daemon.when_ready = _say_ready
    daemon.startService()
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    reactor.run()
    return 0


def _say_ready() -> None:
    try:
        print("ready", flush=True)
    except OSError:
        pass  # nobody waits for it
