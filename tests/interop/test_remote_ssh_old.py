"""What a store promises, of a node reached by ssh: sessions with an old git-annex-shell."""

from __future__ import annotations

from tests.support import far_ssh
from tests.support.programs import OLDEST


class OldContract(far_ssh.Contract):
    """Version 1 of the protocol."""

    version = OLDEST
