"""
Other git-annex branches in the same repository: what was pushed to us
(``synced/git-annex``) and what we have fetched (``remotes/*/git-annex``).
"""

from __future__ import annotations

import os
import re
from typing import Callable

from annexd.errors import Refused
from annexd.repo.combining import united
from annexd.repo.git import BRANCH, Commit, Git
from annexd.repo.layout import Layout
from annexd.repo.othertmp import read_small
from annexd.repo.uniting import United

_MESSAGE = b"merging git-annex branches"
_TRANSITIONS = b"transitions.log"
_NAME = re.compile(rb"[0-9a-f]{40,64}")


def unmerged(git: Git, layout: Layout) -> tuple[bytes, ...]:
    """
    Commits of siblings that ours does not have yet.  What ``git annex forget``
    wants to be left alone stays so.
    """
    refs = git.refs()
    ours = refs.get(BRANCH)
    found = {
        commit: None
        for name, commit in refs.items()
        if name != BRANCH
        and name.endswith(b"/git-annex")
        and name.startswith((b"refs/heads/", b"refs/remotes/"))
    }
    ignored = set(_NAME.findall(read_small(os.path.join(layout.annex, b"ignoredrefs")) or b""))
    return tuple(c for c in found if c not in ignored and not (ours and _has(git, ours, c)))


def _has(git: Git, ours: bytes, commit: bytes) -> bool:
    """What is no commit, or is not there, is left for `merge` to complain of."""
    try:
        return git.contains(ours, commit)
    except Refused:
        return False


def merge(git: Git, theirs: bytes, known: United, ours: bytes | None) -> Commit | None:
    """
    Where the branch is to be, so that it says what both say; `None` when it
    does so already.  ``known`` is what `prepare` has found.
    """
    if ours is None or git.contains(theirs, ours):
        git.tree_of(theirs)  # must be there
        return Commit(theirs, ())
    if git.contains(ours, theirs):
        return None
    if _have_other_transitions(git, ours, theirs):
        raise Refused(
            "a git-annex branch with other transitions (git annex forget) has come; run `git annex merge`"
        )
    return git.write_merge(ours, theirs, _MESSAGE, united, known)


def prepare(
    git: Git, theirs: bytes, known: United, enough: Callable[[], bool]
) -> tuple[bool, tuple[bytes, ...]]:
    """A part of the work of `merge`, see `Git.unite_some`; what it refuses is left to it."""
    try:
        ours = git.branch_head()
        if ours is None or git.contains(theirs, ours) or git.contains(ours, theirs):
            return True, ()
        if _have_other_transitions(git, ours, theirs):
            return True, ()
        return git.unite_some(ours, theirs, united, known, enough)
    except Refused:
        return True, ()


def _have_other_transitions(git: Git, ours: bytes, theirs: bytes) -> bool:
    return (git.branch_file(_TRANSITIONS, ours) or b"") != (git.branch_file(_TRANSITIONS, theirs) or b"")
