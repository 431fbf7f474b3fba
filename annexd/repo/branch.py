"""
What this repository says about keys: entries in git-annex's journal, and
their way into the git-annex branch.

Both are done under the lock that git-annex's own processes take, and a file
left in the journal is always safe: whoever commits next, annexd or git-annex,
takes all that is there.  git-annex's private index (annex/index) is left as
it is, and what says which commit it matches (annex/index.lck) is removed, so
that git-annex merges the branch into its index before it commits, as it must
after a push.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Callable

from annexd.errors import Refused
from annexd.protocol.keys import Key
from annexd.repo import presence, siblings, trees
from annexd.repo.combining import combined
from annexd.repo.git import Commit, Git
from annexd.repo.layout import Layout, journal_name
from annexd.repo.locks import FileLock, lock
from annexd.repo.modes import Modes
from annexd.repo.othertmp import read_small, replace_file
from annexd.repo.settings import Settings
from annexd.repo.tip import Tip, sync
from annexd.repo.transfer import Draft
from annexd.repo.uniting import United

_LOCK_SECONDS = 30.0  # git-annex holds the journal for as long as a large commit takes
_MOST_FILES = 2000  # in one commit: it takes about a second, in which others wait
_AGAIN_S = 60.0  # what cannot be merged may take long to find that out
_SLICE_S = 0.1
_MESSAGE = b"update"


class Branch:
    """
    The location log of one repository; for one thread at a time.

    ``now`` is the time of day in seconds.  With ``durable``, what a method
    has written survives a power failure once it has returned.
    """

    def __init__(
        self,
        git: Git,
        layout: Layout,
        settings: Settings,
        modes: Modes,
        now: Callable[[], float] = time.time,
        *,
        durable: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._git = git
        self._layout = layout
        self._settings = settings
        self._modes = modes
        self._now = now
        self._durable = durable
        self._clock = clock
        self._united: United = {}
        self._unmergeable: dict[bytes, float] = {}  # until when
        self._tip = Tip(git, layout, modes, durable, clock, sleep)

    # --- keys ----------------------------------------------------------------

    def holders(self, key: Key) -> frozenset[bytes]:
        """The repositories that are known to have ``key``."""
        private, public = self._current(self._layout.log_name(key))
        return presence.holders(private, public)

    def record(
        self,
        key: Key,
        present: bool,
        still: Callable[[], bool] = lambda: True,
        draft: Draft | None = None,
    ) -> bool:
        """
        Say that this repository has ``key``, or has it no longer, if that is
        ``still`` so when it is our turn: others write to the log after they
        have changed the content, so what they did before is seen here, and
        what they do later is written later.  A ``draft`` may become the entry.

        Returns `False` when that is what the log says already.
        """
        return bool(self.record_all(key, {self._settings.uuid: present}, still, draft))

    def record_all(
        self,
        key: Key,
        present: Mapping[bytes, bool],
        still: Callable[[], bool] = lambda: True,
        draft: Draft | None = None,
    ) -> frozenset[bytes]:
        """The same of several repositories, by their UUIDs, at once; those of which it was news."""
        name = self._layout.log_name(key)
        with self._journal_locked():
            if not still():
                return frozenset()
            private, public = self._current(name)
            now, known = self._now(), private + public
            found = (presence.change(known, uuid, here, now) for uuid, here in present.items())
            lines = [line for line in found if line is not None]
            hidden = {line for line in lines if self._settings.is_private(line.uuid)}
            self._add_lines(self._layout.journal_private, name, private, hidden, draft)
            self._add_lines(self._layout.journal, name, public, {*lines} - hidden, draft)
            return frozenset(line.uuid for line in lines)

    def _add_lines(
        self, journal: bytes, name: bytes, text: bytes, lines: set[presence.Line], draft: Draft | None
    ) -> None:
        if lines:
            for line in sorted(lines, key=lambda line: line.uuid):
                text = presence.apply(line, text)
            self._write(journal, journal_name(name), text, draft)

    def texts(self, names: Iterable[bytes]) -> dict[bytes, bytes]:
        """Files of the branch as they are, or will be when the journal has been committed."""
        return {name: b"".join(self._current(name)) for name in names}

    def rewrite(self, name: bytes, change: Callable[[bytes, float], bytes]) -> bool:
        """
        Have a file of the branch be what ``change`` makes of it, from its
        content and the time of day; nobody else writes meanwhile.  `False`
        when that is what it is already.
        """
        with self._journal_locked():
            _, public = self._current(name)
            changed = change(public, self._now())
            if changed == public:
                return False
            self._write(self._layout.journal, journal_name(name), changed)
            return True

    def _current(self, name: bytes) -> tuple[bytes, bytes]:
        """
        The log of that name: what only this repository knows, and what all know.

        The journal is looked at first: without the lock, what is missing
        there because it was committed just now is on the branch by then.
        """
        file = journal_name(name)
        private = _read(os.path.join(self._layout.journal_private, file)) or b""
        public = _read(os.path.join(self._layout.journal, file))
        if public is None:
            return private, self._git.branch_file(name) or b""
        return private, presence.complete(public)

    def _write(self, journal: bytes, file: bytes, content: bytes, draft: Draft | None = None) -> None:
        """Put a file into the journal, which is locked."""
        path = os.path.join(journal, file)

        def act() -> None:
            if draft is None or not draft.become(path, content, durable=self._durable):
                replace_file(self._layout, self._modes, path, content, durable=self._durable)

        with _refusing(path):
            self._modes.in_made_dir(journal, self._layout.annex, act)
            if self._durable:
                sync([journal])

    # --- the branch ----------------------------------------------------------

    def commit(self) -> bool:
        """
        Move the journal into the branch.

        Returns `False` when there was nothing to move, or when the settings
        say that it stays, or that git-annex is to do it.  When this fails
        the journal stays as it is.
        """
        if not self._settings.always_commit or self._settings.needs_git_annex_to_commit:
            return False
        committed = 0
        with _refusing(self._layout.journal):
            while some := self._commit_some():
                committed += some
                if some < _MOST_FILES:
                    # A git-annex that fills the journal meanwhile commits that itself; waiting for its end
                    # would keep everybody here from the log.
                    break
        return committed > 0

    def _commit_some(self) -> int:
        """How many files were moved, `_MOST_FILES` at most."""
        if not _listed(self._layout.journal, 1):
            return 0
        with self._journal_locked():
            names = _listed(self._layout.journal, _MOST_FILES)
            paths = {branch_path(name): os.path.join(self._layout.journal, name) for name in names}
            if not paths:
                return 0
            self._put_on_branch({name: _read(path) or b"" for name, path in paths.items()})
            for path in paths.values():
                os.unlink(path)
        return len(paths)

    def _put_on_branch(self, journalled: dict[bytes, bytes]) -> None:
        """What is committed is what the journal and the branch say together."""
        message = self._settings.commit_message or _MESSAGE

        def make(head: bytes | None) -> Commit | None:
            changed = {}
            for name, text in journalled.items():
                old = self._git.branch_file(name, head) if head else None
                new = combined(name, text, old)
                if new != old:
                    changed[name] = new
            return self._git.write_commit(changed, message, head) if changed else None

        self._tip.move(make)

    def prepare_merge(self) -> bool:
        """
        Do a part of what `merge` has to do, for as long as others can wait;
        was that all?  The journal is not locked.
        """
        if not self._settings.always_commit or self._settings.needs_git_annex_to_commit:
            return True
        until = self._clock() + _SLICE_S
        for commit in siblings.unmerged(self._git, self._layout):
            if commit not in self._unmergeable:
                done, files = siblings.prepare(
                    self._git, commit, self._united, lambda: self._clock() >= until
                )
                with _refusing(self._layout.git_dir):
                    self._tip.settle_objects(files)
                if not done:
                    return False
        return True

    def merge(self) -> bool:
        """
        Take in what others have pushed or we have fetched, as git-annex does
        when it starts.  Returns `False` when there was nothing, or when the
        settings say that git-annex is to do it.  Of those that cannot be
        merged the first is `Refused` once the others are; they are tried
        again, but not at once.
        """
        if not self._settings.always_commit or self._settings.needs_git_annex_to_commit:
            return False
        merged = False
        problems: list[Refused] = []
        self._unmergeable = {c: until for c, until in self._unmergeable.items() if until > self._clock()}

        def make(commit: bytes, head: bytes | None) -> Commit | None:
            try:
                return siblings.merge(self._git, commit, self._united, head)
            except Refused as error:
                problems.append(error)
                self._unmergeable[commit] = self._clock() + _AGAIN_S
                return None

        for commit in siblings.unmerged(self._git, self._layout):
            if commit not in self._unmergeable:
                with self._journal_locked(), _refusing(self._layout.journal):
                    merged |= self._tip.move(partial(make, commit))
        self._united = {}
        if problems:
            raise problems[0]
        return merged

    @contextlib.contextmanager
    def _journal_locked(self) -> Iterator[None]:
        def act() -> FileLock:
            held = lock(self._layout.journal_lock, exclusive=True, seconds=_LOCK_SECONDS)
            return self._modes.created_lock(held)

        with _refusing(self._layout.journal_lock):
            held = self._modes.in_made_dir(self._layout.annex, self._layout.git_dir, act)
        try:
            yield
        finally:
            held.release()


def branch_path(file: bytes) -> bytes:
    """The path on the branch that a file in the journal stands for."""
    return b"_".join(part.replace(b"_", b"/") for part in file.split(b"__"))


def _listed(journal: bytes, most: int) -> list[bytes]:
    """At most so many of the journal's files; what git cannot have on a branch was put there by mistake."""
    with contextlib.suppress(FileNotFoundError), os.scandir(journal) as entries:
        files = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        return list(itertools.islice((name for name in files if trees.is_path(branch_path(name))), most))
    return []


def _read(path: bytes) -> bytes | None:
    """The content of a file in the journal; `None` where there is none."""
    with _refusing(path):
        return read_small(path)


@contextlib.contextmanager
def _refusing(path: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(f"the location log cannot be kept: {os.fsdecode(path)}: {error.strerror}") from error
