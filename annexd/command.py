"""The ``annexd`` command, which is there without the server's libraries, too, and then says so."""

from __future__ import annotations

import sys


def main() -> int:
    try:
        from annexd.app.cli import main as act

        return act()
    except ModuleNotFoundError as error:
        if (error.name or "annexd").partition(".")[0] == "annexd":
            raise
        print(
            f"annexd: {error.name} is not installed, and the server needs it: pip install 'annexd[server]'",
            file=sys.stderr,
        )
        return 1
