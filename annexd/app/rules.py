"""[[group]] and [[access]] of annexd.toml: who is meant, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from annexd.app import values
from annexd.app.access import Rights, Rule
from annexd.app.lines import Where
from annexd.app.values import Parser

_GROUP: Mapping[str, Parser] = {"name": values.text, "members": values.texts}
_ACCESS: Mapping[str, Parser] = {
    "users": values.texts,
    "repositories": values.texts,
    "nodes": values.texts,
    "rights": values.one_of(*(rights.value for rights in Rights)),
}


class Reading(Protocol):
    """A configuration on its way, see `annexd.app.config`."""

    def tables(self, name: str) -> list[tuple[Where, object]]: ...

    def table(
        self, where: Where, given: object, known: Mapping[str, Parser], *needed: str
    ) -> dict[str, Any]: ...

    def wrong(self, where: Where, sentence: str) -> None: ...

    def origin(self, where: Where) -> str: ...


Groups = dict[str, tuple[str, ...]]


def rules(reading: Reading) -> tuple[Rule, ...]:
    """In their order; what is wrong is told to ``reading``."""
    groups = _groups(reading)
    read = [_rule(reading, groups, where, given) for where, given in reading.tables("access")]
    return tuple(filter(None, read))


def _groups(reading: Reading) -> Groups:
    groups: Groups = {}
    for where, given in reading.tables("group"):
        found = reading.table(where, given, _GROUP, "name", "members")
        name, members = found.get("name", ""), tuple(found.get("members", ()))
        if name in groups:
            reading.wrong((*where, "name"), f"group.name: there is another group {name}")
        for member in members:
            if member.startswith("@"):
                reading.wrong(
                    (*where, "members"), f"group.members: {member} is a group, and groups have none"
                )
        if name:
            groups.setdefault(name, members)
    return groups


def _rule(reading: Reading, groups: Groups, where: Where, given: object) -> Rule | None:
    found = reading.table(where, given, _ACCESS, "users", "rights")
    users: list[str] = []
    for user in found.get("users", ()):
        if not user.startswith("@"):
            users.append(user)
        elif user[1:] in groups:
            users += groups[user[1:]]
        else:
            reading.wrong((*where, "users"), f"access.users: there is no [[group]] {user[1:]}")
    if not {"users", "rights"} <= found.keys():
        return None
    repositories = tuple(found.get("repositories", ("*",)))
    nodes = tuple(found.get("nodes", ()))
    return Rule(tuple(users), repositories, Rights(found["rights"]), reading.origin(where), nodes)
