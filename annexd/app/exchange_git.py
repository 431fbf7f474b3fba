"""
git, run in a gateway's repository to exchange branches with its neighbours:
where there is an ssh to one already, over a session of that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from annexd.app.running import run
from annexd.errors import Unavailable

_GIT_S = 120.0
_QUIETLY = (b"-q", b"--no-recurse-submodules")
_WITHOUT_ADVICE = b"-c", b"advice.pushUpdateRejected=false"

_OURS = re.compile(rb"GIT_(?!SSH|SSL|ASKPASS|ALLOW_PROTOCOL|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)$)")
"""What may have leaked from another git; the rest says how to reach others."""

_OWN_WAYS = b"core.sshcommand", b"protocol.allow", b"protocol.ssh.allow"
_OWN_WAYS_IN_ENVIRONMENT = b"GIT_SSH", b"GIT_SSH_COMMAND", b"GIT_ALLOW_PROTOCOL"


class RunGit(Protocol):
    async def __call__(self, arguments: Sequence[bytes], given: tuple[int, ...] = ()) -> None:
        """``given``: see `annexd.app.running.run`.  Raises `Unavailable` with what git said."""


class GitSession(Protocol):
    """With git's other half."""

    def give(self) -> tuple[int, int]:
        """Descriptors to read from and to write to, which are the caller's now.  Raises `Unavailable`."""

    def close(self) -> None:
        """Calling it again does nothing."""

    async def explain(self) -> str:
        """Why it has ended, as far as something beside it has said so; empty where nothing has."""


@dataclass(frozen=True, slots=True)
class Passage:
    """To the other end of a remote.  ``url`` is what git would go to."""

    session: GitSession
    url: bytes
    is_push_url: bool = False
    """There is a url for nothing but pushing, and it is this."""

    def settings(self, descriptors: tuple[int, int], push: bool) -> tuple[bytes, ...]:
        """
        With these git takes the descriptors for that url.  By an own url they
        would be another remote, which has neither settings nor a name for hooks.
        """
        there = b"url.fd::%d,%d" % descriptors
        kinds = (b"insteadOf", b"pushInsteadOf") if push and not self.is_push_url else (b"insteadOf",)
        settings = [b"protocol.fd.allow=always", *(b"%b.%b=%b" % (there, kind, self.url) for kind in kinds)]
        return tuple(word for setting in settings for word in (b"-c", setting))


Passages = Callable[[str, bool], Awaitable[Passage | None]]
"""To a remote, to push there or to fetch; `None` where git is to find its own way.  Raises `Unavailable`."""


def has_own_ways(environ: Mapping[bytes, bytes], config: Mapping[bytes, bytes]) -> bool:
    """Whether git is told how to reach others, which is more than we know."""
    return any(name in config for name in _OWN_WAYS) or any(n in environ for n in _OWN_WAYS_IN_ENVIRONMENT)


def git_in(
    reactor: Any, git_dir: bytes, environ: Mapping[bytes, bytes], config: Mapping[bytes, bytes]
) -> RunGit:
    clean = {name: value for name, value in environ.items() if not _OURS.match(name)}
    clean |= {b"GIT_DIR": git_dir, b"GIT_TERMINAL_PROMPT": b"0", b"LC_ALL": b"C.UTF-8"}
    clean |= {b"SSH_ASKPASS_REQUIRE": b"never"}
    clean.setdefault(b"GIT_ASKPASS", b"")
    if b"core.sshcommand" not in config and b"GIT_SSH" not in clean:
        clean.setdefault(b"GIT_SSH_COMMAND", b"ssh -o BatchMode=yes -o ConnectTimeout=15")

    async def git(arguments: Sequence[bytes], given: tuple[int, ...] = ()) -> None:
        # It goes there by itself: where the disk hangs, whoever starts it must not.
        argv = (b"git", b"-C", git_dir, *_WITHOUT_ADVICE, *arguments)
        ended = await run(reactor, argv, cwd=b"/", environ=clean, seconds=_GIT_S, given=given)
        if ended.code:
            raise Unavailable(ended.said or f"exit code {ended.code}")

    return git


class ExchangeGit:
    """See `annexd.app.exchange.Git`."""

    def __init__(self, git: RunGit, passages: Passages) -> None:
        self._git = git
        self._passages = passages

    async def fetch(self, remote: str, *refspecs: bytes) -> None:
        arguments = (b"fetch", *_QUIETLY, b"--no-tags", os.fsencode(remote), *refspecs)
        await self._run(remote, False, arguments)

    async def push(self, remote: str, *refspecs: bytes) -> None:
        await self._run(remote, True, (b"push", *_QUIETLY, os.fsencode(remote), *refspecs))

    async def _run(self, remote: str, push: bool, arguments: tuple[bytes, ...]) -> None:
        passage = await self._passages(remote, push)
        try:
            if passage is None:
                await self._git(arguments)
            else:
                await self._over(passage, push, arguments)
        except Unavailable as error:
            raise Unavailable(f"git {os.fsdecode(arguments[0])}: {error}") from None

    async def _over(self, passage: Passage, push: bool, arguments: tuple[bytes, ...]) -> None:
        session = passage.session
        try:
            descriptors = session.give()
            await self._git((*passage.settings(descriptors, push), *arguments), descriptors)
        except Unavailable as error:
            session.close()
            said = await session.explain()
            raise Unavailable(f"{error}; {said}" if said else str(error)) from None
        finally:
            session.close()
