"""From the words of preferred content expressions to terms."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from annexd.router import globs, quantities
from annexd.router.expressions import Malformed, Tree
from annexd.router.knowledge import Trust
from annexd.router.terms import (
    Balanced,
    Constant,
    Copies,
    InAllGroup,
    InBackend,
    InPreferredDirectory,
    LackingCopies,
    Metadata,
    OnlyInGroup,
    Path,
    Present,
    Scene,
    Secure,
    Size,
    Standing,
    Term,
    Unusable,
    Unused,
)

Meaning = Callable[[], Tree[Term]] | None
"""
Makes the expression that a word stands for, where the word is used. Where
there is none it means ``present``, which keeps things as they are.
"""

_LACKING_COPIES = "lackingcopies"
_LEVELS = {
    "trusted": Trust.TRUSTED,
    "semitrusted": Trust.SEMITRUSTED,
    "untrusted": Trust.UNTRUSTED,
    "dead": Trust.DEAD,
}
# In this order: the first are trusted most.

_FIELD = re.compile(r"([^\W_][\w.-]*)(?:([<>]=?|=)(.*))?", re.DOTALL)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_SIMPLE: Mapping[str, Term] = {
    "anything": Constant(True),
    "nothing": Constant(False),
    "present": Present(),
    "securehash": Secure(),
    "unused": Unused(),
    "inpreferreddir": InPreferredDirectory(),
}


def reading(standard: Meaning, groupwanted: Meaning) -> Callable[[str], Term]:
    """
    What makes terms of words, for `annexd.router.expressions.parse`, where the
    two words that stand for expressions stand for these.
    """
    standing = {"standard": standard, "groupwanted": groupwanted}

    def term(word: str) -> Term:
        if word in _SIMPLE:
            return _SIMPLE[word]
        if word in standing:
            return _standing(standing[word])
        name, _, value = word.partition("=")
        valued = _VALUED.get(name)
        if valued is None:
            raise Malformed(f"{word!r} is not a word of preferred content expressions")
        made = valued(value)
        if made is None:
            raise Malformed(f"the value in {word!r} makes no sense")
        return made

    return term


def _standing(meaning: Meaning) -> Term:
    return Present() if meaning is None else Standing(meaning())


def _path(included: bool) -> Callable[[str], Term | None]:
    def path(glob: str) -> Term:
        try:
            return Path(globs.compiled(glob, files=True).matches, included)
        except globs.BadGlob as error:
            return Unusable(str(error))

    return path


def _size(larger: bool) -> Callable[[str], Term | None]:
    def size(text: str) -> Term | None:
        limit = quantities.size(text)
        return None if limit is None else Size(limit, larger)

    return size


def _copies(value: str) -> Term | None:
    *which, digits = value.split(":")
    number = quantities.integer(digits)
    if number is None or len(which) > 1:
        return None
    return Copies(number, _counting(which[0]) if which else _any_copy)


def _any_copy(scene: Scene, uuid: bytes) -> bool:
    return True


def _counting(name: str) -> Callable[[Scene, bytes], bool]:
    """Copies at a level of trust, at one or above it (``level+``), or in a group."""
    levels = list(_LEVELS.values())
    if name in _LEVELS:
        return _at_levels([_LEVELS[name]])
    if name.endswith("+") and name[:-1] in _LEVELS:
        return _at_levels(levels[: levels.index(_LEVELS[name[:-1]]) + 1])
    group = _raw(name)
    return lambda scene, uuid: uuid in scene.group(group)


def _at_levels(levels: list[Trust]) -> Callable[[Scene, bytes], bool]:
    return lambda scene, uuid: scene.trust_of(uuid) in levels


def _lacking_copies(value: str) -> Term | None:
    number = quantities.integer(value)
    return None if number is None else LackingCopies(number)


def _balanced(by_size: bool, keeping: bool) -> Callable[[str], Term | None]:
    def balanced(value: str) -> Term | None:
        group, *counts = value.split(":")
        if len(counts) > 1:
            return None
        if counts == [_LACKING_COPIES]:
            return Balanced(_raw(group), None, by_size, keeping)
        count = quantities.integer(counts[0]) if counts else 1
        return None if count is None else Balanced(_raw(group), count, by_size, keeping)

    return balanced


def _metadata(value: str) -> Term | None:
    match = _FIELD.fullmatch(value)
    if match is None:
        return None
    field, comparison, wanted = match.groups("")
    if comparison in _COMPARISONS:
        return Metadata(field.lower(), _comparing(_COMPARISONS[comparison], wanted))
    try:
        glob = globs.compiled(wanted, files=False)
    except globs.BadGlob as error:
        return Unusable(str(error))
    return Metadata(field.lower(), glob.matches)


def _comparing(compare: Callable[[Any, Any], bool], wanted: str) -> Callable[[str], bool]:
    """Numbers are compared as such where both are, and as texts otherwise."""
    limit = quantities.real(wanted)

    def holds(text: str) -> bool:
        number = None if limit is None else quantities.real(text)
        return compare(text, wanted) if number is None else compare(number, limit)

    return holds


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_VALUED: Mapping[str, Callable[[str], Term | None]] = {
    "include": _path(included=True),
    "exclude": _path(included=False),
    "largerthan": _size(larger=True),
    "smallerthan": _size(larger=False),
    "copies": _copies,
    "lackingcopies": _lacking_copies,
    "approxlackingcopies": _lacking_copies,
    "inbackend": lambda value: InBackend(_raw(value)),
    "metadata": _metadata,
    "inallgroup": lambda value: InAllGroup(_raw(value)),
    "onlyingroup": lambda value: OnlyInGroup(_raw(value)),
    "balanced": _balanced(by_size=False, keeping=True),
    "fullybalanced": _balanced(by_size=False, keeping=False),
    "sizebalanced": _balanced(by_size=True, keeping=True),
    "fullysizebalanced": _balanced(by_size=True, keeping=False),
}
