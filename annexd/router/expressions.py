"""
The grammar of preferred content expressions: words joined by ``and``, ``or``,
``not`` and parentheses, as git-annex reads them.

``and`` and ``or`` bind equally and to the left; ``not`` is for the next thing
alone; where a word is missing, ``and`` is meant.  Only parentheses, white space
and these three words are known here: what any other word means is told by the
`reading` of whoever parses, which raises `Malformed` for one that it does not
know.

git-annex is forgiving: parentheses need not match, and operators may lack
their operands, which are then always true.  Inside of parentheses a group that
follows a word without an operator *goes on* with what there is so far, so
``(a (b or c))`` is ``(a and b) or c``.  This is kept: what counts is that all
gateways of a cluster come to one result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, Union

T = TypeVar("T")

# White space is what Haskell's `isSpace` takes for it, which is not what Python's `str.split` does.
_SPACE = "\t-\r \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_TOKEN = re.compile(rf"[()]|[^(){_SPACE}]+")

_DEPTH_LIMIT = 100
# Of parentheses, and of operators in a row. More would be nobody's, and is more than Python's stack bears.

_AND, _OR, _NOT, _OPEN, _CLOSE = "and", "or", "not", "(", ")"
_SYNTAX = frozenset((_AND, _OR, _NOT))


class Malformed(ValueError):
    """An expression that cannot be understood; ``str()`` says which word, and why."""


@dataclass(frozen=True, slots=True)
class Everything:
    """Where there is nothing: it matches always."""


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    term: T


@dataclass(frozen=True, slots=True)
class Both(Generic[T]):
    left: Tree[T]
    right: Tree[T]


@dataclass(frozen=True, slots=True)
class Either(Generic[T]):
    left: Tree[T]
    right: Tree[T]


@dataclass(frozen=True, slots=True)
class Opposite(Generic[T]):
    of: Tree[T]


Tree = Union[Everything, Leaf[T], Both[T], Either[T], Opposite[T]]

EVERYTHING = Everything()

Piece = Union[str, Leaf[T], "list[Piece[T]]"]
# A syntax word, a term, or what is inside of a pair of parentheses.


def parse(text: str, reading: Callable[[str], T]) -> Tree[T]:
    """``reading`` makes a term of a word.  Raises `Malformed`."""
    words = iter(_TOKEN.findall(text))
    pieces: list[Piece[T]] = []
    while (rest := _group(words, reading)) is not None:
        pieces += rest
    return _joined(EVERYTHING, _with_ands(pieces), 0)


def matches(tree: Tree[T], holds: Callable[[T], bool]) -> bool:
    first, others = _unrolled(tree)
    match first:
        case Leaf(term):
            value = holds(term)
        case Opposite(of):
            value = not matches(of, holds)
        case _:
            value = True
    for other in others:
        if value is isinstance(other, Both):
            value = matches(other.right, holds)
    return value


def is_empty(tree: Tree[T]) -> bool:
    """Does it say nothing at all?"""
    first, others = _unrolled(tree)
    return isinstance(first, Everything) and all(isinstance(o, Both) and is_empty(o.right) for o in others)


def terms(tree: Tree[T], negated: bool = False) -> Iterator[tuple[T, bool]]:
    """Each term, and whether it stands below a ``not``, or several of which the number is odd."""
    first, others = _unrolled(tree)
    match first:
        case Leaf(term):
            yield term, negated
        case Opposite(of):
            yield from terms(of, not negated)
    for other in others:
        yield from terms(other.right, negated)


def _unrolled(tree: Tree[T]) -> tuple[Tree[T], list[Both[T] | Either[T]]]:
    """
    What is leftmost, and what is joined to it, in order: trees are as deep to
    the left as expressions are long.
    """
    joined: list[Both[T] | Either[T]] = []
    while isinstance(tree, (Both, Either)):
        joined.append(tree)
        tree = tree.left
    joined.reverse()
    return tree, joined


def _group(words: Iterator[str], reading: Callable[[str], T]) -> list[Piece[T]] | None:
    """What comes until a closing parenthesis, or the end; `None` when there is nothing left."""
    inside: list[list[Piece[T]]] = [[]]
    found = False
    for word in words:
        found = True
        if word == _OPEN:
            inside.append([])
        elif word != _CLOSE:
            inside[-1].append(word if word in _SYNTAX else Leaf(reading(word)))
        elif len(inside) == 1:
            break
        else:
            closed = inside.pop()
            inside[-1].append(closed)
    while len(inside) > 1:
        closed = inside.pop()
        inside[-1].append(closed)
    return inside[0] if found else None


def _with_ands(pieces: Sequence[Piece[T]]) -> list[Piece[T]]:
    joined: list[Piece[T]] = []
    for piece in pieces:
        if joined and not isinstance(piece, str) and not isinstance(joined[-1], str):
            joined.append(_AND)
        joined.append(piece)
    return joined


def _joined(so_far: Tree[T], pieces: Sequence[Piece[T]], depth: int) -> Tree[T]:
    rest = list(reversed(pieces))
    while rest:
        so_far = _one(so_far, rest, depth)
    return so_far


def _one(so_far: Tree[T], rest: list[Piece[T]], depth: int) -> Tree[T]:
    """``so_far`` joined with the next thing, which is taken off the end of ``rest``."""
    if depth > _DEPTH_LIMIT:
        raise Malformed("it is nested too deeply")
    if not rest:
        return so_far
    piece = rest.pop()
    if isinstance(piece, list):
        return _joined(so_far, piece, depth + 1)
    if not isinstance(piece, str):
        return Both(so_far, piece)
    operand = _one(EVERYTHING, rest, depth + 1)
    if piece == _OR:
        return Either(so_far, operand)
    return Both(so_far, operand if piece == _AND else Opposite(operand))
