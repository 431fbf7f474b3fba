"""What a store promises, of a node reached by ssh: sessions with git-annex-shell."""

from __future__ import annotations

from tests.support import far_ssh


class Contract(far_ssh.Contract):
    """Version 4 of the protocol."""
