"""
Where things are in a git-annex repository.  Paths are bytes; nothing here
touches the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from annexd.protocol.keys import Key
from annexd.repo.settings import Settings

_LONGEST_UUID_DIR = 128


class Layout:
    """The names of all files of the repository whose git directory is ``git_dir``."""

    def __init__(self, git_dir: bytes, settings: Settings) -> None:
        self.git_dir = git_dir
        self.settings = settings
        self.annex = annex = os.path.join(git_dir, b"annex")
        self.objects = os.path.join(annex, b"objects")
        self.tmp_dir = os.path.join(annex, b"tmp")
        self.othertmp = os.path.join(annex, b"othertmp")
        self.othertmp_lock = os.path.join(annex, b"othertmp.lck")
        self.journal = os.path.join(annex, b"journal")
        self.journal_private = os.path.join(annex, b"journal-private")
        self.journal_lock = os.path.join(annex, b"journal.lck")
        self.index = os.path.join(annex, b"index")
        self.index_state = os.path.join(annex, b"index.lck")  # holds a commit's name; it is no lock
        self.branch_claim = os.path.join(annex, b"annexd.claim")  # see `annexd.repo.claim`
        self.sentinal = os.path.join(annex, b"sentinal")
        self.transfer = os.path.join(annex, b"transfer")
        without_links = settings.crippled_filesystem and not settings.symlinks
        self._lower_first = settings.object_hash_lower or settings.bare or without_links

    # --- content -------------------------------------------------------------

    def object_path(self, key: Key) -> bytes:
        """Where new content of ``key`` goes."""
        return self._object_path(key, self._lower_first)

    def object_paths(self, key: Key) -> Iterator[bytes]:
        """The two places where the content of ``key`` may be, first the one for new content."""
        yield self._object_path(key, self._lower_first)
        yield self._object_path(key, not self._lower_first)

    def _object_path(self, key: Key, lower: bool) -> bytes:
        directories = key.hash_lower if lower else key.hash_mixed
        if self.settings.object_hash1:
            directories = directories.partition(b"/")[0]
        name = key.file_name
        return b"/".join((self.objects, directories, name, name))

    def tmp(self, key: Key) -> bytes:
        """Content that is not complete yet."""
        return self.tmp_dir + b"/" + key.file_name

    # --- transfers; ``uuid`` is the peer's, as it was given -------------------

    def upload_lock(self, uuid: bytes, key: Key) -> bytes:
        return b"/".join((self.transfer, b"upload", _directory_of(uuid), b"lck." + key.file_name))

    def upload_info(self, uuid: bytes, key: Key) -> bytes:
        return b"/".join((self.transfer, b"upload", _directory_of(uuid), key.file_name))

    def upload_failed(self, uuid: bytes, key: Key) -> bytes:
        return b"/".join((self.transfer, b"failed/upload", _directory_of(uuid), key.file_name))

    def download_locks(self, uuid: bytes, key: Key) -> tuple[bytes, bytes]:
        """The lock of this key's only download, and the one that old versions know, in this order."""
        name = b"lck." + key.file_name
        download = self.transfer + b"/download/"
        return download + b"lck/" + name, download + _directory_of(uuid) + b"/" + name

    def download_info(self, uuid: bytes, key: Key) -> bytes:
        return b"/".join((self.transfer, b"download", _directory_of(uuid), key.file_name))

    def download_failed(self, uuid: bytes, key: Key) -> bytes:
        return b"/".join((self.transfer, b"failed/download", _directory_of(uuid), key.file_name))

    # --- the branch ----------------------------------------------------------

    def log_name(self, key: Key) -> bytes:
        """The path of a key's location log on the git-annex branch."""
        directory = key.hash_lower
        if self.settings.branch_hash1:
            directory = directory.partition(b"/")[0]
        return directory + b"/" + key.file_name + b".log"


def journal_name(name: bytes) -> bytes:
    """The file in the journal that stands for the path ``name`` on the branch."""
    return name.replace(b"_", b"__").replace(b"/", b"_")


def _directory_of(uuid: bytes) -> bytes:
    """
    The directory for a peer.  git-annex only drops the slashes, but nobody
    checks what a peer calls itself, so whatever would lead elsewhere is bent.
    """
    name = uuid.replace(b"/", b"").replace(b"\0", b"")[:_LONGEST_UUID_DIR]
    if name in (b"", b".", b"..", b"lck"):
        return b"unknown" + name
    return name
