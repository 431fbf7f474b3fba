"""What a gateway knows, and says, of keys in other repositories than its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from annexd.protocol.keys import Key
from annexd.repo.disks import refusing
from annexd.repo.local import Repository


class Whereabouts:
    """The location log of an open repository, for whoever proxies in its name."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def holders(self, key: Key) -> frozenset[bytes]:
        """The repositories that are known to have ``key``."""
        ledger = self._repository.ledger
        with refusing():
            return await ledger.run(ledger.branch.holders, key)

    async def record(self, key: Key, present: Mapping[bytes, bool]) -> None:
        """What has happened elsewhere is true, so it is written down even for those who are gone by then."""
        ledger = self._repository.ledger
        if present:
            with refusing():
                await ledger.run_anyway(ledger.record_all, key, present)

    async def texts(self, names: Iterable[bytes]) -> dict[bytes, bytes]:
        """Files of the git-annex branch, as they are now; empty where there are none."""
        ledger = self._repository.ledger
        with refusing():
            return await ledger.run(ledger.branch.texts, names)

    async def metadata_log(self, key: Key) -> bytes:
        name = self._repository.parts.layout.log_name(key) + b".met"
        return (await self.texts([name]))[name]

    async def config(self) -> dict[bytes, bytes]:
        """The repository's git config, see `annexd.repo.git.Git.config`."""
        with refusing():
            return await self._repository.ledger.run(self._repository.git.config)
