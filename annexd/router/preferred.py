"""
What repositories want, by their preferred content expressions, evaluated as
git-annex does it when it decides whether to send them a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from annexd.router import expressions
from annexd.router.balance import Room
from annexd.router.expressions import Either, Leaf, Malformed, Tree, is_empty, matches, parse
from annexd.router.knowledge import Knowledge
from annexd.router.ports import Wish
from annexd.router.standard_groups import STANDARD_GROUPS
from annexd.router.terms import Choices, Constant, Present, Question, Scene, Standing, Term, Unusable, text_of
from annexd.router.words import reading

__all__ = ["Judge", "Question"]

_KEEP: Tree[Term] = Leaf(Present())
# What a repository wants whose expression cannot be understood: to keep what it has.

_DEFAULT_NUMCOPIES = 1


_NEVER: Tree[Term] = Leaf(Constant(False))
# What a repository wants that would drop a key as soon as it has got it.


class Judge:
    """
    ``sizes`` are the bytes that repositories hold, which matter to those with
    a maxsize.  ``numcopies`` takes the place of what the branch says.
    """

    def __init__(
        self, knowledge: Knowledge, sizes: Mapping[bytes, int], numcopies: int | None = None
    ) -> None:
        self._knowledge = knowledge
        self._room = Room(sizes, knowledge.maxsizes)
        wanted = knowledge.numcopies if numcopies is None else numcopies
        self._numcopies = max(_DEFAULT_NUMCOPIES, wanted or _DEFAULT_NUMCOPIES)
        self._members = _members(knowledge.groups)
        self._wanted: dict[bytes, Tree[Term]] = {}
        self._asked: Question | None = None
        self._choices: Choices = {}

    def wish(self, uuid: bytes, question: Question) -> Wish:
        """A repository that says nothing wants everything; what is required is wanted, too."""
        tree = self._wish(uuid)
        if is_empty(tree) or self._holds(tree, uuid, question, self._room):
            return Wish.WANTED
        present = uuid in question.holders
        if self._room.has_space(uuid, question.key, present) is False:
            ample = Room(self._room.sizes, self._room.limits, uuid)
            if self._holds(tree, uuid, question, ample):
                return Wish.FULL
        return Wish.UNWANTED

    def required(self, uuid: bytes, question: Question) -> bool:
        """Must the repository keep it?  One that says nothing about that need not."""
        text = self._knowledge.required.get(uuid, b"")
        try:
            tree = self._understood(uuid, text)
        except Malformed:
            tree = _KEEP
        if is_empty(tree) or _is_unstable(tree):
            return False
        return self._holds(tree, uuid, question, self._room)

    def problem(self, uuid: bytes) -> str | None:
        """What is wrong with a repository's expressions, in one sentence; `None` when nothing is."""
        for text in self._texts(uuid):
            try:
                tree = self._understood(uuid, text)
            except Malformed as error:
                return str(error)
            if _is_unstable(tree):
                return "the expression negates a word that looks at what is present, so it is never used"
            for term in _all_terms(tree):
                if isinstance(term, Unusable):
                    return term.reason
        return None

    def _wish(self, uuid: bytes) -> Tree[Term]:
        tree = self._wanted.get(uuid)
        if tree is None:
            tree = self._wanted[uuid] = self._combined(uuid)
        return tree

    def _combined(self, uuid: bytes) -> Tree[Term]:
        try:
            preferred, required = (self._understood(uuid, text) for text in self._texts(uuid))
        except Malformed:
            return _KEEP
        both: Tree[Term] = Either(preferred, required)
        if is_empty(preferred) or is_empty(required):
            both = required if is_empty(preferred) else preferred
        return _NEVER if _is_unstable(both) else both

    def _texts(self, uuid: bytes) -> tuple[bytes, bytes]:
        return self._knowledge.preferred.get(uuid, b""), self._knowledge.required.get(uuid, b"")

    def _understood(self, uuid: bytes, text: bytes) -> Tree[Term]:
        groups = self._knowledge.groups.get(uuid, frozenset())
        standard = _only([STANDARD_GROUPS[group] for group in groups if group in STANDARD_GROUPS])
        known = self._knowledge.group_preferred
        wanted = _only([text_of(known[group]) for group in groups if group in known])
        return understood(text_of(text), standard, wanted)

    def _holds(self, tree: Tree[Term], uuid: bytes, question: Question, room: Room) -> bool:
        if self._asked is not question:
            # All nodes of a cluster are asked the same, one after the other, and have the same choices.
            self._asked, self._choices = question, {}
        scene = Scene(uuid, question, self._knowledge, self._members, room, self._numcopies, self._choices)
        return matches(tree, lambda term: term.holds(scene))


@lru_cache(maxsize=4096)
def understood(text: str, standard: str | None, groupwanted: str | None) -> Tree[Term]:
    """
    An expression, where the two words that stand for others stand for these;
    in what stands for ``groupwanted`` there may be ``standard``, but not itself.
    Raises `Malformed`, also when it is the other expressions that are.
    """

    def usual() -> Tree[Term]:
        return parse(standard or "", reading(None, None))

    def wanted() -> Tree[Term]:
        return parse(groupwanted or "", reading(usual if standard else None, None))

    return parse(text, reading(usual if standard else None, wanted if groupwanted else None))


def _only(found: list[str]) -> str | None:
    return found[0] if len(found) == 1 else None


def _members(groups: Mapping[bytes, frozenset[bytes]]) -> Mapping[bytes, frozenset[bytes]]:
    members: dict[bytes, set[bytes]] = {}
    for uuid, names in groups.items():
        for name in names:
            members.setdefault(name, set()).add(uuid)
    return {name: frozenset(uuids) for name, uuids in members.items()}


def _is_unstable(tree: Tree[Term]) -> bool:
    return any(negated and term.unstable for term, negated in expressions.terms(tree))


def _all_terms(tree: Tree[Term]) -> Iterator[Term]:
    for term, _ in expressions.terms(tree):
        yield term
        if isinstance(term, Standing):
            yield from _all_terms(term.expression)
