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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Callable

import pygit2
from pygit2.enums import ObjectType, ReferenceType, RepositoryOpenFlag

from annexd.errors import Refused
from annexd.repo import trees

BRANCH = b"refs/heads/git-annex"

Unite = Callable[[bytes, bytes, bytes], bytes]
"""What one file becomes: its path, our content, theirs."""

United = dict[tuple[str, str, int], str]
"""What two directories become, by their names and how deep they are: a few trees can stand for millions."""

_BRANCH = BRANCH.decode("ascii")
_NOT_ANGLED = re.compile(r"[<>\n\0]")
_TRIES = 5
_DEEPEST = 32  # git-annex makes three levels of directories
_LARGEST = 64 * 1024 * 1024  # bytes of a file on the branch; a log of a million lines is as large
_MOVED_ON = "old reference value does not match"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that no reference needs to know yet, and the files of the objects that came with it."""

    name: bytes
    object_files: tuple[bytes, ...]


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

    def config(self) -> dict[bytes, bytes]:
        """
        All settings that git would use here, the last value of each; names
        as `git config --list` prints them, ``true`` for those without value.
        """
        with _refusing(self.git_dir):
            entries = [(int(e.level), e.raw_name, e.raw_value) for e in self._repository.config]
        entries.sort(key=lambda entry: entry[0])
        return {name: b"true" if value is None else value for _, name, value in entries}

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
            writing = _Writing(self._repository)
            base = None if parent is None else str(self._root_of(parent).id)
            tree = writing.tree(base, trees.nested(files))
            return self._committed(writing, tree, message, [] if parent is None else [parent])

    def write_merge(
        self, ours: bytes, theirs: bytes, message: bytes, unite: Unite, known: United | None = None
    ) -> Commit:
        """
        A commit on both, with the files of both; of what they have both, and
        differs, ``unite`` makes one from the path and the two contents.
        ``known`` is what `unite_some` has done of that.
        """
        with _refusing(self.git_dir):
            writing = _Writing(self._repository, known)
            tree = writing.united(*self._roots(ours, theirs), unite)
            return self._committed(writing, tree, message, [ours, theirs])

    def unite_some(
        self, ours: bytes, theirs: bytes, unite: Unite, known: United, enough: Callable[[], bool]
    ) -> tuple[bool, tuple[bytes, ...]]:
        """
        Go on with what `write_merge` has to do, until that is ``enough``: a
        merge may take a minute, in which others wait.  Whether that was all,
        and the files of the objects that were written.
        """
        with _refusing(self.git_dir):
            writing = _Writing(self._repository, known, enough)
            try:
                writing.united(*self._roots(ours, theirs), unite)
                return True, self._object_files(writing)
            except _Enough:
                return False, self._object_files(writing)

    def _roots(self, ours: bytes, theirs: bytes) -> tuple[str, str]:
        one, two = (self._repository[name.decode("ascii")].peel(pygit2.Tree) for name in (ours, theirs))
        return str(one.id), str(two.id)

    def _object_files(self, writing: _Writing) -> tuple[bytes, ...]:
        objects = os.path.join(self.common_dir, b"objects")
        return tuple(_loose(objects, name) for name in writing.names)

    def contains(self, commit: bytes, other: bytes) -> bool:
        """Whether ``other`` is ``commit`` or an ancestor of it."""
        with _refusing(self.git_dir):
            one, two = commit.decode("ascii"), other.decode("ascii")
            return one == two or self._repository.descendant_of(one, two)

    def _committed(self, writing: _Writing, tree: str, message: bytes, parents: list[bytes]) -> Commit:
        who = self._signature()
        text = message if message.endswith(b"\n") else message + b"\n"
        names = [parent.decode("ascii") for parent in parents]
        commit = str(self._repository.create_commit(None, who, who, text, tree, names))
        writing.names.append(commit)
        return Commit(commit.encode("ascii"), self._object_files(writing))

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


class _Enough(Exception):
    pass


class _Writing:
    """Writes objects and remembers their names; stops where it is ``enough``, once it has got any further."""

    def __init__(
        self,
        repository: pygit2.Repository,
        known: United | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._repository = repository
        self.names: list[str] = []
        self._united: United = {} if known is None else known
        self._enough = enough
        self._is_further = False

    def tree(self, base: str | None, changes: trees.Directory) -> str:
        """The tree ``base`` with these changes; its name."""
        entries = {} if base is None else trees.cut(self._repository[base].read_raw())
        for name, change in changes.items():
            if isinstance(change, bytes):
                entries[name] = trees.FILE, bytes.fromhex(self._write(ObjectType.BLOB, change))
                continue
            mode, oid = entries.get(name, (b"", b""))
            inner = self.tree(oid.hex() if mode == trees.TREE else None, change)
            entries[name] = trees.TREE, bytes.fromhex(inner)
        return self._write(ObjectType.TREE, trees.joined(entries))

    def united(self, ours: str, theirs: str, unite: Unite, path: bytes = b"") -> str:
        """
        One tree of two; its name.  What is a file in one and a directory in
        the other stays ours.  Raises `Refused` for what cannot be a git-annex branch.
        """
        depth = path.count(b"/")
        known = self._united.get((ours, theirs, depth))
        if known is None:
            if depth > _DEEPEST:
                raise Refused("a git-annex branch has come whose directories are nested without end")
            if self._is_further and self._enough():
                raise _Enough
            known = self._write(ObjectType.TREE, trees.joined(self._entries(ours, theirs, unite, path)))
            self._united[ours, theirs, depth] = known
            self._is_further = True
        return known

    def _entries(self, ours: str, theirs: str, unite: Unite, path: bytes) -> trees.Entries:
        entries, others = (trees.cut(self._content(name)) for name in (ours, theirs))
        for name, (mode, oid) in others.items():
            known_mode, known = entries.setdefault(name, (mode, oid))
            if known == oid or mode != known_mode:
                continue
            if mode == trees.TREE:
                new = self.united(known.hex(), oid.hex(), unite, path + name + b"/")
            elif mode in trees.CONTENT:
                contents = (self._content(one.hex()) for one in (known, oid))
                new = self._write(ObjectType.BLOB, unite(path + name, *contents))
            else:
                continue
            entries[name] = mode, bytes.fromhex(new)
        return entries

    def _content(self, name: str) -> bytes:
        return _read(self._repository, name)

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
