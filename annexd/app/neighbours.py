"""For git-annex in a repository that is served here: where its own peers can come to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from annexd.app.config import Config
from annexd.app.invitations import known_addresses, label
from annexd.errors import Refused
from annexd.flow.workers import Pool
from annexd.router.places import Map, Served


class Neighbours:
    """``config`` is asked each time; ``state`` is the daemon's directory."""

    def __init__(self, config: Callable[[], Config], state: str, pool: Pool) -> None:
        self._config = config
        self._state = state
        self._pool = pool

    async def address(self, git_directory: bytes) -> dict[str, str]:
        """
        ``address``, with which tokens of git-annex's own are good for the
        repository; it is empty where there is none, and ``reason`` says why
        where somebody may want to change that.  Raises `ConfigError`.
        """
        return await self._pool.run(_address, self._config(), self._state, git_directory)

    async def answer(self, fields: Mapping[bytes, bytes]) -> dict[str, str]:
        """The same for who asks through the socket."""
        return await self.address(fields.get(b"repository", b""))


def _address(config: Config, state: str, git_directory: bytes) -> dict[str, str]:
    served = _serving(config.served, os.path.realpath(git_directory))
    if served is None:
        return {"address": ""}
    if not served.git_annex_tokens:
        return _none("annexd serves this repository without git-annex-tokens = true")
    for address in known_addresses(config, state):
        return {"address": f"{address},label={label(served.path)}"}
    return _none("annexd serves this repository without [listen.tls]")


def _none(reason: str) -> dict[str, str]:
    return {"address": "", "reason": reason}


def _serving(served: tuple[Served, ...], git_directory: bytes) -> Served | None:
    everything = Map(served)
    for one in served:
        try:
            if not one.nested and everything.locate(one.path, None).git_dir == git_directory:
                return one
        except Refused:
            continue  # it is not there now
    try:
        return everything.locate(git_directory, None).served
    except Refused:
        return None
