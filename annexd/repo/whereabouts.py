"""What a gateway knows, and says, of keys in other repositories than its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable

from annexd.protocol.keys import Key
from annexd.repo import census
from annexd.repo.disks import refusing
from annexd.repo.local import Repository

_MOST_FILES = 4
"""Of one key: what was noted may be long out of date."""

Noted = Callable[[Key, Mapping[bytes, bool]], None]
"""Called in a thread, for one at a time."""


class Whereabouts:
    """
    The location log of an open repository, for whoever proxies in its name.
    ``noted`` is told of what was recorded and was news.
    """

    def __init__(self, repository: Repository, noted: Noted = lambda key, present: None) -> None:
        self._repository = repository
        self._noted = noted

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
                await ledger.run_anyway(self._record, key, present)

    def _record(self, key: Key, present: Mapping[bytes, bool]) -> None:
        """For a thread."""
        news = self._repository.ledger.record_all(key, present)
        self._noted(key, {uuid: present[uuid] for uuid in news})

    async def texts(self, names: Iterable[bytes]) -> dict[bytes, bytes]:
        """Files of the git-annex branch, as they are now; empty where there are none."""
        ledger = self._repository.ledger
        with refusing():
            return await ledger.run(ledger.branch.texts, names)

    async def metadata_log(self, key: Key) -> bytes:
        name = self._repository.parts.layout.log_name(key) + b".met"
        return (await self.texts([name]))[name]

    async def settings(self) -> list[tuple[bytes, bytes]]:
        """The repository's git config, see `annexd.repo.git.Git.settings`."""
        with refusing():
            return await self._repository.ledger.run(self._repository.git.settings)

    async def config(self) -> dict[bytes, bytes]:
        """The last value of each setting."""
        return dict(await self.settings())

    async def rewrite(self, name: bytes, change: Callable[[bytes, float], bytes]) -> bool:
        """Have a file of the git-annex branch be another one, see `annexd.repo.branch.Branch.rewrite`."""
        ledger = self._repository.ledger
        with refusing():
            return await ledger.run_anyway(ledger.rewrite, name, change)

    async def census(self) -> census.Census:
        """Of all keys that the location log knows now."""
        return await census.begin(self._repository)

    async def key_of(self, path: bytes) -> Key | None:
        """The key that a file in HEAD stands for; `None` where it is no file of git-annex's."""
        repository = self._repository
        with refusing():
            content = await repository.ledger.run(repository.git.checked_in, path)
        return None if content is None else census.pointed_at(content)

    async def file_of(self, key: Key) -> bytes | None:
        """A file in the work tree, from its top, that stands for ``key``, where git-annex has noted one."""
        repository = self._repository
        pointers = repository.parts.pointers
        if pointers is None:
            return None
        with refusing():
            for path in (await repository.workers.disk.run(pointers.files, key))[:_MOST_FILES]:
                if await self.key_of(path) == key:
                    return path
        return None
