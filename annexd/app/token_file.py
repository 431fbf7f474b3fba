"""
The tokens that were given out: whose they are, for which repository, until when.

A secret has 512 random bits, so its plain SHA-256 is as safe to keep as any
slow or salted hash of it: those are for passwords, which people choose and
which can therefore be guessed one by one.  For the same reason imported
secrets may not be short.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from annexd.app.access import TOKEN, Rights
from annexd.errors import Refused, Unavailable
from annexd.repo.locks import lock

SHORTEST_SECRET = 32
LONGEST_SECRET = 1024
# git-annex itself sends any length, from 1 to as much as fits into a line.

RESERVED = "git-annex"
"""The name under which the tokens that git-annex itself made are known."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_SECRET = re.compile(rb"[a-z0-9]+")
_LOCK_S = 10.0
_KEPT_S = 90 * 86400
# Tokens that have ended are listed for so long, and refused by name rather than as unknown.

Stamp = tuple[int, int, int]
"""What differs when a file has been replaced or written to."""


@dataclass(frozen=True, slots=True)
class Token:
    """
    One secret, by its ``digest``; ``name`` may have others for other
    repositories.  Times are seconds since 1970; without ``expires`` it is
    good for ever.  ``node`` is the UUID of what it is for behind the
    repository, and `None` where it is for the repository itself.
    """

    name: str
    repository: bytes
    rights: Rights
    digest: str
    created: int
    expires: int | None = None
    revoked: int | None = None
    node: bytes | None = None

    @property
    def principal(self) -> str:
        return TOKEN + self.name

    def opens_what(self, other: Token) -> bool:
        """The same, and under the same name."""
        return (self.name, self.repository, self.node) == (other.name, other.repository, other.node)

    def obstacle(self, now: float) -> str | None:
        """Why it opens nothing (any more); for the log."""
        if self.revoked is not None:
            return f"the token {self.name} was revoked on {moment(self.revoked)}"
        if self.expires is not None and self.expires <= now:
            return f"the token {self.name} expired on {moment(self.expires)}"
        return None

    def _is_history(self, now: float) -> bool:
        ends = [end for end in (self.revoked, self.expires) if end is not None]
        return bool(ends) and min(ends) + _KEPT_S < now


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def fresh_secret() -> bytes:
    """128 lower-case hexadecimal digits, as git-annex makes them."""
    return secrets.token_hex(64).encode()


def checked_secret(text: bytes) -> bytes:
    """One that somebody else made, as git-annex would send it.  Raises `Refused`."""
    secret = text.strip().lower()  # git-annex lowers what it is given
    if not _SECRET.fullmatch(secret):
        raise Refused("a token has letters a to z and digits, and nothing else")
    if not SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise Refused(
            f"a token that could not be guessed has {SHORTEST_SECRET} to {LONGEST_SECRET} characters, "
            f"this one has {len(secret)}"
        )
    return secret


def checked_name(name: str) -> str:
    """Raises `Refused`."""
    if name == RESERVED:
        raise Refused(f"{RESERVED} is the name of the tokens that git-annex itself made; take another one")
    if not _NAME.fullmatch(name):
        raise Refused(f"{name!r} is no name for a token: they have letters, digits, and any of . _ @ + -")
    return name


def digest_of(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


# --- the file ------------------------------------------------------------------


class TokenFile:
    """
    ``tokens.json`` in the state directory, and ``tokens-used.json``, in which
    only the daemon writes.  Everything here blocks, and raises `Unavailable`.
    """

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "tokens.json")
        self._used_path = os.path.join(directory, "tokens-used.json")

    def stamp(self) -> Stamp | None:
        """Of the file as it is now; `None` when there is none."""
        return stamp_of(self.path)

    def read(self) -> tuple[Token, ...]:
        document = _load(self.path, {"tokens": []})
        try:
            return tuple(map(_token, document["tokens"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"{self.path}: this is no list of tokens: {error!r}") from None

    def read_newer(self, known: Stamp | None) -> tuple[Stamp | None, tuple[Token, ...]] | None:
        """What is in the file, where it is not the one that is ``known``."""
        stamp = self.stamp()
        return None if stamp == known else (stamp, self.read())

    def add(self, tokens: Sequence[Token], now: float) -> None:
        """All or none.  Raises `Refused`."""

        def added(present: tuple[Token, ...]) -> tuple[Token, ...]:
            for token in tokens:
                _check_new(token, present, now)
            return (*present, *tokens)

        self._change(added, now)

    def revoke(
        self, name: str, repositories: Collection[bytes], now: float, nodes: Collection[bytes] = ()
    ) -> list[Token]:
        """
        Those of ``name`` for these repositories, or all of them; of these, where
        ``nodes`` are given, those for them.  Raises `Refused` when there is none.
        """
        revoked: list[Token] = []

        def without(present: tuple[Token, ...]) -> tuple[Token, ...]:
            revoked.extend(
                token
                for token in present
                if token.name == name
                and (not repositories or token.repository in repositories)
                and (not nodes or token.node in nodes)
                and not token.obstacle(now)
            )
            if not revoked:
                raise Refused(
                    f"there is no token {name} that is good"
                    + " for that repository" * (bool(repositories) and not nodes)
                    + " for that node" * bool(nodes)
                )
            return tuple(replace(t, revoked=int(now)) if t in revoked else t for t in present)

        self._change(without, now)
        return revoked

    def _change(self, edited: Callable[[tuple[Token, ...]], tuple[Token, ...]], now: float) -> None:
        with self._locked():
            tokens = [token for token in edited(self.read()) if not token._is_history(now)]
            _replace(self.path, {"version": 1, "tokens": list(map(_document, tokens))})

    # --- when they were used -------------------------------------------

    def used(self) -> dict[str, int]:
        """By digest, in seconds since 1970."""
        found: dict[str, int] = _load(self._used_path, {})
        return found

    def note_used(self, used: Mapping[str, int], known: Collection[str]) -> None:
        """Add ``used`` to the file, and forget tokens that are not ``known`` any more."""
        with self._locked():
            merged = {**self.used(), **used}
            _replace(self._used_path, {digest: merged[digest] for digest in merged if digest in known})

    @contextlib.contextmanager
    def _locked(self) -> Any:
        path = os.fsencode(self.path) + b".lock"
        try:
            held = lock(path, exclusive=True, seconds=_LOCK_S, mode=0o600)
        except OSError as error:
            raise Unavailable(f"{os.fsdecode(path)}: {error.strerror}") from None
        try:
            _give_to_owner(held.fd, self.path)
            yield
        except OSError as error:
            raise Unavailable(f"{error.filename or self.path}: {error.strerror}") from None
        finally:
            held.release()


def stamp_of(path: str | bytes) -> Stamp | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unavailable(f"{os.fsdecode(path)}: {error.strerror}") from None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _check_new(token: Token, present: Sequence[Token], now: float) -> None:
    for other in present:
        if other.digest == token.digest:
            raise Refused(
                f"this secret is {other.name}'s already: it is known by one name, for one repository"
            )
        if other.opens_what(token) and not other.obstacle(now):
            behind = "" if token.node is None else f"{os.fsdecode(token.node)} behind "
            raise Refused(
                f"{token.name} has a token for {behind}{os.fsdecode(token.repository)} already: "
                "revoke it first, or take another name"
            )


def _load(path: str, empty: dict[str, Any]) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        return empty
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise Unavailable(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise Unavailable(f"{path}: this is not what annexd wrote there")
    return document


def _replace(path: str, document: dict[str, Any]) -> None:
    """Whoever reads finds the former or the latter, whole; also after a crash.  For who has the lock."""
    fresh = path + ".new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        _give_to_owner(fd, path)
        file.write(json.dumps(document, indent=1) + "\n")
        file.flush()
        os.fsync(fd)
    os.replace(fresh, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _give_to_owner(fd: int, path: str) -> None:
    """What root makes in the daemon's directory is for the daemon to read."""
    if os.geteuid() == 0:
        owner = os.stat(os.path.dirname(path))
        os.fchown(fd, owner.st_uid, owner.st_gid)


# --- one token as text ---------------------------------------------------------


def _document(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "repository": os.fsdecode(token.repository),
        "node": None if token.node is None else os.fsdecode(token.node),
        "rights": token.rights.value,
        "sha256": token.digest,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
    }


def _token(document: dict[str, Any]) -> Token:
    def moment_of(name: str) -> int | None:
        return None if document[name] is None else int(document[name])

    return Token(
        name=str(document["name"]),
        repository=os.fsencode(document["repository"]),
        rights=Rights(document["rights"]),
        digest=str(document["sha256"]),
        created=int(document["created"]),
        expires=moment_of("expires"),
        revoked=moment_of("revoked"),
        node=None if document.get("node") is None else os.fsencode(document["node"]),
    )
