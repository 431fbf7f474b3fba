"""
The git side of a repository, by libgit2: configuration, references, and the
git-annex branch.  The only file that knows pygit2.

A `Git` belongs to one thread at a time, which its caller sees to.  What goes
in and comes out is plain bytes, object names in hex; libgit2's objects stay
inside.  Whatever libgit2 cannot do is `Refused`, with its reason.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Callable

import pygit2
from pygit2.enums import ObjectType, ReferenceType, RepositoryOpenFlag

from annexd.errors import Refused
from annexd.repo import packs, trees
from annexd.repo.packing import MOST_PACKS, PackFiles, count_packs
from annexd.repo.uniting import Enough, Unite, United, Uniting, changed

BRANCH = b"refs/heads/git-annex"

_BRANCH = BRANCH.decode("ascii")
_NOT_ANGLED = re.compile(r"[<>\n\0]")
_NAME = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_TRIES = 5
_LARGEST = 64 * 1024 * 1024  # bytes of a file on the branch; a log of a million lines is as large
_WORTH_A_PACK = 100  # objects: as many as git leaves in the pack when they are pushed (transfer.unpackLimit)
_MOVED_ON = "old reference value does not match"


@dataclass(frozen=True, slots=True)
class Commit:
    """
    A commit that no reference needs to know yet, and the files of the objects
    that came with it, which are to be let go of when one does, or never will.
    """

    name: bytes
    object_files: tuple[bytes, ...]
    pack: PackFiles | None = None

    def let_go(self) -> None:
        if self.pack is not None:
            self.pack.let_go()


class BranchLocked(Refused):
    """Somebody else is moving the git-annex branch, or died while doing it."""


class Git:
    """The repository whose git directory is ``git_dir``; opened when it is first used."""

    def __init__(self, git_dir: bytes) -> None:
        self.git_dir = git_dir
        self._opened: pygit2.Repository | None = None
        self._root: tuple[bytes, pygit2.Tree] | None = None

    def close(self) -> None:
        """Let go of memory and of open packs; the next use opens it again."""
        opened, self._opened, self._root = self._opened, None, None
        if opened is not None:
            opened.free()

    @property
    def bare(self) -> bool:
        with _refusing(self.git_dir):
            return self._repository.is_bare

    @property
    def work_tree(self) -> bytes | None:
        with _refusing(self.git_dir):
            path = self._repository.workdir
            return None if path is None else os.fsencode(path).rstrip(b"/") or b"/"

    @cached_property
    def common_dir(self) -> bytes:
        """
        Where the objects and branches are: another place than ``git_dir`` for
        linked work trees.  It stays the same, and is read, in a thread, once.
        """
        try:
            with open(os.path.join(self.git_dir, b"commondir"), "rb") as file:
                return os.path.normpath(os.path.join(self.git_dir, file.read().rstrip(b"\n")))
        except FileNotFoundError:
            return self.git_dir

    @property
    def _repository(self) -> pygit2.Repository:
        if self._opened is None:
            self._opened = pygit2.Repository(os.fsdecode(self.git_dir), RepositoryOpenFlag.NO_SEARCH)
        return self._opened

    def settings(self) -> list[tuple[bytes, bytes]]:
        """
        All settings that git would use here, in its order; names as
        `git config --list` prints them, ``true`` for those without value.
        """
        with _refusing(self.git_dir):
            entries = [(int(e.level), e.raw_name, e.raw_value) for e in self._repository.config]
        entries.sort(key=lambda entry: entry[0])
        return [(name, b"true" if value is None else value) for _, name, value in entries]

    def config(self) -> dict[bytes, bytes]:
        """The last value of each setting."""
        return dict(self.settings())

    def refs(self) -> dict[bytes, bytes]:
        """All references that name an object, with its name."""
        with _refusing(self.git_dir):
            return {
                ref.raw_name: str(ref.target).encode("ascii")
                for ref in self._repository.references.iterator()
                if ref.type == ReferenceType.DIRECT
            }

    # --- the git-annex branch, read ------------------------------------------

    def branch_head(self) -> bytes | None:
        """The commit that the branch is at; `None` where there is no such branch."""
        with _refusing(self.git_dir):
            return self._head()

    def branch_file(self, path: bytes, commit: bytes | None = None) -> bytes | None:
        """
        The content of a file on the branch, or in a given commit of it;
        `None` where there is no such file.
        """
        with _refusing(self.git_dir):
            commit = commit or self._head()
            if commit is None:
                return None
            *directories, name = path.split(b"/")
            tree = self._root_of(commit)
            for directory in directories:
                entry = _entry(tree, directory)
                if not isinstance(entry, pygit2.Tree):
                    return None
                tree = entry
            blob = _entry(tree, name)
            return _read(self._repository, str(blob.id)) if isinstance(blob, pygit2.Blob) else None

    # --- objects, by their names in hex ----------------------------------------

    def tree_of(self, commit: bytes) -> bytes:
        """The name of a commit's top directory."""
        with _refusing(self.git_dir):
            return str(self._repository[commit.decode("ascii")].peel(pygit2.Tree).id).encode("ascii")

    def content(self, name: bytes) -> bytes:
        """Of a tree (see `annexd.repo.trees`), or of a file."""
        with _refusing(self.git_dir):
            return _read(self._repository, name.decode("ascii"))

    def checked_in(self, path: bytes) -> bytes | None:
        """What a file of HEAD holds, or a symlink leads to; `None` where there is none."""
        with _refusing(self.git_dir):
            if self._repository.head_is_unborn:
                return None
            tree = str(self._repository.head.peel(pygit2.Tree).id)
            *directories, name = path.split(b"/")
            for part in directories:
                mode, oid = trees.cut(self._repository[tree].read_raw()).get(part, (b"", b""))
                if mode != trees.TREE:
                    return None
                tree = oid.hex()
            mode, oid = trees.cut(self._repository[tree].read_raw()).get(name, (b"", b""))
            return _read(self._repository, oid.hex()) if mode in trees.CONTENT else None

    def _head(self) -> bytes | None:
        reference = self._repository.references.get(_BRANCH)
        return None if reference is None else str(reference.resolve().target).encode("ascii")

    def _root_of(self, commit: bytes) -> pygit2.Tree:
        """The top directory has thousands of entries, so it pays to keep it."""
        if self._root is None or self._root[0] != commit:
            tree = self._repository[commit.decode("ascii")].peel(pygit2.Tree)
            self._root = commit, tree
        return self._root[1]

    # --- the git-annex branch, written ---------------------------------------

    def write_commit(self, files: Mapping[bytes, bytes], message: bytes, parent: bytes | None) -> Commit:
        """
        A commit on ``parent`` with these files changed or added.  Nothing
        refers to it until `move_branch`.
        """
        with _refusing(self.git_dir):
            gathered = _Gathered(self._repository)
            base = None if parent is None else str(self._root_of(parent).id)
            tree = changed(gathered, base, trees.nested(files))
            objects = _Objects(self._repository)
            pack = self._packed(gathered)
            try:
                if pack is None:
                    gathered.write_all(objects)
                commit = self._committed(objects, tree, message, [] if parent is None else [parent])
            except BaseException:
                if pack is not None:
                    pack.let_go()
                raise
            if pack is None:
                return commit
            return replace(commit, object_files=(*pack.names, *commit.object_files), pack=pack)

    def _packed(self, gathered: _Gathered) -> PackFiles | None:
        """Each loose object is a file of its own; `None` for few of them, or where there are many packs."""
        directory = os.path.join(self.common_dir, b"objects", b"pack")
        if len(gathered.objects) < _WORTH_A_PACK or count_packs(directory) >= MOST_PACKS:
            return None
        pack = PackFiles(directory, packs.packed(gathered.objects))
        pack.write()
        return pack

    def write_merge(
        self, ours: bytes, theirs: bytes, message: bytes, unite: Unite, known: United | None = None
    ) -> Commit:
        """
        A commit on both, with the files of both; of what they have both, and
        differs, ``unite`` makes one from the path and the two contents.
        ``known`` is what `unite_some` has done of that.
        """
        with _refusing(self.git_dir):
            objects = _Objects(self._repository)
            tree = Uniting(objects, unite, known).of(*self._roots(ours, theirs))
            return self._committed(objects, tree, message, [ours, theirs])

    def unite_some(
        self, ours: bytes, theirs: bytes, unite: Unite, known: United, enough: Callable[[], bool]
    ) -> tuple[bool, tuple[bytes, ...]]:
        """
        Go on with what `write_merge` has to do, until that is ``enough``: a
        merge may take a minute, in which others wait.  Whether that was all,
        and the files of the objects that were written.
        """
        with _refusing(self.git_dir):
            objects = _Objects(self._repository)
            try:
                Uniting(objects, unite, known, enough).of(*self._roots(ours, theirs))
                return True, self._files(objects)
            except Enough:
                return False, self._files(objects)

    def _roots(self, ours: bytes, theirs: bytes) -> tuple[str, str]:
        one, two = (self._repository[name.decode("ascii")].peel(pygit2.Tree) for name in (ours, theirs))
        return str(one.id), str(two.id)

    def _files(self, objects: _Objects) -> tuple[bytes, ...]:
        directory = os.path.join(self.common_dir, b"objects")
        return tuple(_loose(directory, name) for name in objects.names)

    def contains(self, commit: bytes, other: bytes) -> bool:
        """Whether ``other`` is ``commit`` or an ancestor of it."""
        with _refusing(self.git_dir):
            one, two = commit.decode("ascii"), other.decode("ascii")
            return one == two or self._repository.descendant_of(one, two)

    def same_tree(self, commit: bytes, other: bytes) -> bool:
        """Whether both commits have the same files, with the same content."""
        with _refusing(self.git_dir):
            one, two = (self._repository[name.decode("ascii")].peel(pygit2.Tree) for name in (commit, other))
            return one.id == two.id

    def lacking(self, names: Iterable[bytes]) -> set[bytes]:
        """Those of the objects called so, in hex, that are not here."""
        with _refusing(self.git_dir):
            odb = self._repository.odb
            return {n for n in names if not (_NAME.fullmatch(n) and odb.exists(n.decode("ascii")))}

    def is_merge(self, commit: bytes) -> bool:
        with _refusing(self.git_dir):
            return len(self._repository[commit.decode("ascii")].peel(pygit2.Commit).parent_ids) > 1

    def _committed(self, objects: _Objects, tree: str, message: bytes, parents: list[bytes]) -> Commit:
        who = self._signature()
        text = message if message.endswith(b"\n") else message + b"\n"
        names = [parent.decode("ascii") for parent in parents]
        commit = str(self._repository.create_commit(None, who, who, text, tree, names))
        objects.names.append(commit)
        return Commit(commit.encode("ascii"), self._files(objects))

    def move_branch(self, commit: bytes, parent: bytes | None) -> bool:
        """
        Let the branch, if it still is at ``parent``, be at ``commit``.

        Raises `BranchLocked` while somebody else is moving it.
        """
        with _refusing(self.git_dir):
            references = self._repository.references
            target = commit.decode("ascii")
            try:
                if parent is None:
                    references.create(_BRANCH, target)
                    return True
                reference = references[_BRANCH].resolve()
                if str(reference.target).encode("ascii") != parent:
                    return False
                reference.set_target(target, "update")
                return True
            except (pygit2.AlreadyExistsError, KeyError):
                return False
            except OSError as error:
                raise self._locked(error) from None
            except pygit2.GitError as error:
                if _MOVED_ON in str(error):
                    return False
                raise

    def branch_files(self) -> tuple[bytes, ...]:
        """The files that moving the branch wrote: the reference and its log."""
        paths = (os.path.join(self.common_dir, BRANCH), os.path.join(self.common_dir, b"logs", BRANCH))
        return tuple(path for path in paths if os.path.exists(path))

    def _locked(self, error: OSError) -> Refused:
        lock = os.path.join(self.common_dir, BRANCH + b".lock")
        if not os.path.exists(lock) and "failed to lock" not in str(error):
            return Refused(f"the git-annex branch cannot be written: {error}")
        return BranchLocked(
            f"the git-annex branch is locked by {os.fsdecode(lock)}; "
            "if no git process is running, one has crashed, and this file is to be removed"
        )

    def _signature(self) -> pygit2.Signature:
        """Who commits: what git is told, else the account's name, as git-annex does."""
        config = self.config()
        fallback = _account_name()
        name, email = (
            _NOT_ANGLED.sub("", config.get(key, b"").decode("utf-8", "replace")).strip() or fallback
            for key in (b"user.name", b"user.email")
        )
        return pygit2.Signature(name, email)


class _Objects:
    """Reads objects, and writes them and remembers their names; see `annexd.repo.uniting.Objects`."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository
        self.names: list[str] = []

    def read(self, name: str) -> bytes:
        return _read(self._repository, name)

    def write_file(self, content: bytes) -> str:
        return self._write(ObjectType.BLOB, content)

    def write_tree(self, content: bytes) -> str:
        return self._write(ObjectType.TREE, content)

    def _write(self, kind: ObjectType, content: bytes) -> str:
        for _ in range(_TRIES):
            try:
                name = str(self._repository.write(kind, content))
                break
            except OSError as error:  # git gc removes a directory that it finds empty, even one made just now
                failed = error
        else:
            raise failed
        self.names.append(name)
        return name


class _Gathered:
    """Keeps in memory what is written, see `annexd.repo.uniting.Objects`."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository
        self.objects: dict[bytes, tuple[int, bytes]] = {}

    def read(self, name: str) -> bytes:
        known = self.objects.get(bytes.fromhex(name))
        return _read(self._repository, name) if known is None else known[1]

    def write_file(self, content: bytes) -> str:
        return self._write(packs.FILE, content)

    def write_tree(self, content: bytes) -> str:
        return self._write(packs.TREE, content)

    def _write(self, kind: int, content: bytes) -> str:
        name = packs.name_of(kind, content)
        self.objects[name] = kind, content
        return name.hex()

    def write_all(self, objects: _Objects) -> None:
        for kind, content in self.objects.values():
            (objects.write_tree if kind == packs.TREE else objects.write_file)(content)


@contextlib.contextmanager
def _refusing(git_dir: bytes) -> Iterator[None]:
    try:
        yield
    except pygit2.GitError as error:
        reason = str(error)
        where = os.fsdecode(git_dir)
        if "not owned by current user" in reason:
            reason = "it belongs to another user; git's setting safe.directory can allow it"
        raise Refused(f"the git repository {where} cannot be used: {reason}") from error
    except (KeyError, OSError) as error:
        raise Refused(f"the git repository {os.fsdecode(git_dir)} cannot be used: {error}") from error


def _read(repository: pygit2.Repository, name: str) -> bytes:
    """Of an object; who can push can also push what is larger than our memory."""
    size = repository.odb.read_header(name)[1]
    if size > _LARGEST:
        raise Refused(f"the git object {name} is too large to be a part of a git-annex branch: {size} bytes")
    return repository[name].read_raw()


def _entry(tree: pygit2.Tree, name: bytes) -> pygit2.Object | None:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return next((entry for entry in tree if entry.raw_name == name), None)
    return tree[text] if text in tree else None


def _loose(objects: bytes, name: str) -> bytes:
    return os.path.join(objects, name[:2].encode("ascii"), name[2:].encode("ascii"))


def _account_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"
