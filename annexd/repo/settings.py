"""
What a repository's git config asks of whoever changes it.

Names and values are those of git-annex, read as git-annex reads them; what
cannot be honoured here is either handed to an installed git-annex
(`Settings.needs_git_annex_to_add` and its sister) or refused with a sentence
(`Settings.write_obstacle`).  Settings in the git-annex branch
(``git annex config``) need no look: the only one that matters to a server,
``annex.securehashesonly``, is copied into the git config by ``git annex
init``, and git-annex's own server heeds only that copy.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Collection, Literal, Mapping, Union

Shared = Union[None, Literal["group", "all"], int]

DEFAULT_DISK_RESERVE = 100_000_000
SUPPORTED_VERSIONS = (8, 9, 10)

ADD_HOOKS = frozenset({b"freezecontent-annex", b"thawcontent-annex"})
REMOVE_HOOKS = ADD_HOOKS | {b"secure-erase-annex"}
COMMIT_HOOKS = frozenset({b"commitmessage-annex", b"post-update-annex"})


@dataclass(frozen=True, slots=True)
class Settings:
    """
    One reading of a repository's git config; the defaults are git-annex's.

    A command that is ``None`` is not set; ``hooks`` are the names of
    git-annex's own executable hooks, see `find_hooks`.
    """

    uuid: bytes = b""
    version: int = 0
    """``annex.version``; 0 when the repository was never initialised, -1 when it is no number."""

    bare: bool = False
    gcrypt_id: bytes = b""
    shared: Shared = None
    verify: bool = True
    secure_hashes_only: bool = False
    disk_reserve: int = DEFAULT_DISK_RESERVE
    """Bytes that must stay free on the disk."""

    private: bool = False
    private_remotes: frozenset[bytes] = frozenset()
    """UUIDs of the remotes of which nobody else is to know."""

    always_commit: bool = True
    commit_message: bytes | None = None
    commit_message_command: bytes | None = None
    trashbin: bytes | None = None
    secure_erase_command: bytes | None = None
    freeze_command: bytes | None = None
    thaw_command: bytes | None = None
    object_hash1: bool = False
    object_hash_lower: bool = False
    branch_hash1: bool = False
    pidlock: bool = False
    crippled_filesystem: bool = False
    symlinks: bool = True
    hooks: frozenset[bytes] = frozenset()

    @classmethod
    def from_git_config(cls, config: Mapping[bytes, bytes]) -> Settings:
        """
        ``config`` maps names as ``git config --list`` prints them to the last
        value of each.  Never fails: a value that cannot be read counts as not
        set, as it does for git-annex.
        """

        def flag(name: bytes, default: bool) -> bool:
            parsed = parse_bool(config[name]) if name in config else None
            return default if parsed is None else parsed

        return cls(
            uuid=config.get(b"annex.uuid", b""),
            version=parse_version(config.get(b"annex.version", b"")),
            bare=flag(b"core.bare", False),
            gcrypt_id=config.get(b"core.gcrypt-id", b""),
            shared=parse_shared(config.get(b"core.sharedrepository", b"")),
            verify=flag(b"annex.verify", True),
            secure_hashes_only=flag(b"annex.securehashesonly", False),
            disk_reserve=parse_size(config.get(b"annex.diskreserve", b""), DEFAULT_DISK_RESERVE),
            private=flag(b"annex.private", False),
            private_remotes=_private_remotes(config),
            always_commit=flag(b"annex.alwayscommit", True),
            commit_message=config.get(b"annex.commitmessage"),
            commit_message_command=config.get(b"annex.commitmessage-command"),
            trashbin=config.get(b"annex.trashbin"),
            secure_erase_command=config.get(b"annex.secure-erase-command"),
            freeze_command=config.get(b"annex.freezecontent-command"),
            thaw_command=config.get(b"annex.thawcontent-command"),
            object_hash1=flag(b"annex.tune.objecthash1", False),
            object_hash_lower=flag(b"annex.tune.objecthashlower", False),
            branch_hash1=flag(b"annex.tune.branchhash1", False),
            pidlock=flag(b"annex.pidlock", False),
            crippled_filesystem=flag(b"annex.crippledfilesystem", False),
            symlinks=flag(b"core.symlinks", True),
        )

    def with_hooks(self, hooks: frozenset[bytes]) -> Settings:
        return replace(self, hooks=hooks)

    def is_private(self, uuid: bytes) -> bool:
        """Whether what is known of that repository stays here."""
        return uuid in self.private_remotes or (self.private and uuid == self.uuid)

    def service_obstacle(self) -> str | None:
        """Why the repository cannot be served at all; ``None`` when it can."""
        if self.version in SUPPORTED_VERSIONS and self.uuid:
            return None
        if self.version == 0 or not self.uuid:
            return 'this is not an initialised git-annex repository; run "git annex init" in it'
        if 0 < self.version < min(SUPPORTED_VERSIONS):
            return f'repository version {self.version} is too old; run "git annex upgrade" in it'
        if self.version > max(SUPPORTED_VERSIONS):
            return f"repository version {self.version} is newer than this annexd knows; upgrade annexd"
        return 'annex.version of the repository is not a version number; run "git annex init" in it'

    def write_obstacle(self) -> str | None:
        """Why nothing may be added, removed or locked here; ``None`` when it may."""
        if self.pidlock:
            # Under a pid lock one process at a time may work on the repository: no place for a daemon.
            return "annex.pidlock is set in this repository; annexd can only read from it"
        return self.service_obstacle()

    @property
    def needs_git_annex_to_add(self) -> bool:
        """Must content be put into place by git-annex itself?"""
        # Only git-annex knows how it treats a file system without permissions or symlinks.
        commands = self.freeze_command is not None or self.thaw_command is not None
        return commands or self.crippled_filesystem or bool(self.hooks & ADD_HOOKS)

    @property
    def needs_git_annex_to_remove(self) -> bool:
        """Must content be removed by git-annex itself?"""
        commands = self.trashbin is not None or self.secure_erase_command is not None
        return commands or self.needs_git_annex_to_add or bool(self.hooks & REMOVE_HOOKS)

    @property
    def needs_git_annex_to_commit(self) -> bool:
        """Must the journal be committed by git-annex itself?"""
        return self.commit_message_command is not None or bool(self.hooks & COMMIT_HOOKS)


def find_hooks(git_dir: bytes) -> frozenset[bytes]:
    """
    git-annex's executable hooks in a repository; blocking.

    git-annex looks in the repository's own ``hooks`` directory only, not
    where ``core.hooksPath`` points.
    """
    directory = os.path.join(git_dir, b"hooks")
    names: Collection[bytes] = REMOVE_HOOKS | COMMIT_HOOKS
    return frozenset(name for name in names if os.access(os.path.join(directory, name), os.X_OK))


def parse_bool(value: bytes) -> bool | None:
    """Git's booleans: words in any case, the empty string (false), numbers.  ``None`` for anything else."""
    word = value.lower()
    if word in (b"true", b"yes", b"on"):
        return True
    if word in (b"false", b"no", b"off", b""):
        return False
    if re.fullmatch(rb"-?[0-9]{1,30}", word):
        return int(word) != 0
    return None


def _private_remotes(config: Mapping[bytes, bytes]) -> frozenset[bytes]:
    names = (name for name, value in config.items() if name.endswith(b".annex-private") and parse_bool(value))
    uuids = (config.get(name.removesuffix(b"private") + b"uuid") for name in names)
    return frozenset(filter(None, uuids))


def parse_version(value: bytes) -> int:
    """0 when there is none, -1 when it is no number."""
    if not value:
        return 0
    return int(value) if re.fullmatch(rb"[0-9]{1,9}", value) else -1


def parse_shared(value: bytes) -> Shared:
    """
    ``core.sharedRepository``: ``None`` (not shared), ``"group"``, ``"all"``
    or an octal mode such as ``0o640``.
    """
    if value in (b"group", b"1"):
        return "group"
    if value in (b"all", b"world", b"everybody", b"2"):
        return "all"
    if re.fullmatch(rb"0*[0-7]{3}", value):
        mode = int(value, 8)
        # Git does not accept modes that keep the owner out.
        return mode & 0o666 if mode & 0o600 == 0o600 else None
    # Any other true is "group" to git; git-annex knows only the word "true".
    return "group" if not value.isdigit() and parse_bool(value) else None


_SIZE = re.compile(
    rb"\s*(-?)\s*(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,30}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)\s*([A-Za-z]*)"
)


def parse_size(value: bytes, default: int) -> int:
    """
    A size in bytes such as ``1000``, ``0.5 gb``, ``1 MiB`` or ``100
    megabytes``; ``default`` when it cannot be read.  What follows the unit is
    ignored, and a negative size is none.
    """
    match = _SIZE.match(value)
    if match is None:
        return default
    sign, number, unit = match.groups()
    factor = _UNITS.get(unit.lower())
    if factor is None:
        return default
    if sign:
        return 0
    if number[:2].lower() == b"0x":
        return int(number, 16) * factor
    if number.isdigit():
        return int(number) * factor
    return round(float(number) * factor)


def _units() -> dict[bytes, int]:
    """Names of units, lower-cased (git-annex ignores case: ``5 Kb`` is 5000 bytes)."""
    units = dict.fromkeys((b"", b"b", b"byte", b"bytes"), 1)
    decimal = (b"kilo", b"mega", b"giga", b"tera", b"peta", b"exa", b"zetta", b"yotta")
    binary = (b"kibi", b"mebi", b"gibi", b"tebi", b"pebi", b"exbi", b"zebi", b"yobi")
    for power, (ten, two) in enumerate(zip(decimal, binary, strict=True), start=1):
        letter = ten[:1]
        for name in (letter, letter + b"b", ten + b"byte", ten + b"bytes"):
            units[name] = 1000**power
        for name in (letter + b"i", letter + b"ib", two + b"byte", two + b"bytes"):
            units[name] = 1024**power
        # Whole bytes, eight bits each.
        for name in (letter + b"bit", ten + b"bit", ten + b"bits"):
            units[name] = 1000**power // 8
    return units


_UNITS = _units()
