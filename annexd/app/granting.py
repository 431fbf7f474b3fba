"""`annexd token`: who else may come."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from annexd.app import tables
from annexd.app.access import Rights
from annexd.app.installation import Installation, find
from annexd.app.offers import Offer, called, offers
from annexd.app.token_file import (
    Token,
    checked_name,
    checked_secret,
    digest_of,
    fresh_secret,
    moment,
)
from annexd.errors import Refused

_MAY = {
    Rights.READ_ONLY: "read",
    Rights.APPEND_ONLY: "read and add",
    Rights.READ_WRITE: "read, add and remove",
}


def add(options: argparse.Namespace) -> int:
    installation = found(options)
    secrets = [_imported(options.repo)] if options.secret_stdin else [fresh_secret() for _ in options.repo]
    grants = [
        _grant(installation, options, given, secret)
        for given, secret in zip(options.repo, secrets, strict=True)
    ]
    tokens = issue(installation, options, grants)
    for grant in grants:
        repository = "" if len(grants) == 1 else f" {os.fsdecode(grant.repository)}"
        if not options.secret_stdin:
            print(grant.secret.decode() + repository)
    explain(tokens, grants)
    return 0


def _grant(installation: Installation, options: argparse.Namespace, given: str, secret: bytes) -> Grant:
    place = installation.place(given)
    offer = None if options.node is None else called(offers(place.git_dir), options.node)
    return Grant(place.name, secret, offer)


def list_(options: argparse.Namespace) -> int:
    installation = found(options)
    if installation.socket is not None:
        installation.tell_of_tokens("", ())  # it also writes down when they were used
    tokens, used = installation.tokens.read(), installation.tokens.used()
    if options.json:
        print(json.dumps([_document(token, used) for token in tokens], indent=2))
        return 0
    heads = ("NAME", "REPOSITORY", "RIGHTS", "MADE", "EXPIRES", "LAST USED", "")
    rows = [_row(token, used) for token in tokens]
    print("\n".join(tables.section("there are no tokens", heads, rows)))
    return 0


def revoke(options: argparse.Namespace) -> int:
    installation = found(options)
    repositories = {path for given in options.repo for path in _names(installation, given)}
    nodes = _nodes(installation, options) if options.node else ()
    revoked = installation.tokens.revoke(options.name, repositories, time.time(), nodes)
    note(installation.tell_of_tokens("token-revoked", revoked))
    for token in revoked:
        print(f"{token.name} has no access to {_place(token)} any more")
    return 0


# --- what others need, too -----------------------------------------------------


def found(options: argparse.Namespace) -> Installation:
    return find(options.config, options.socket, os.environ)


@dataclass(frozen=True, slots=True)
class Grant:
    """A secret that is to open a repository, by its name, or what that offers behind it."""

    repository: bytes
    secret: bytes
    offer: Offer | None = None


def issue(installation: Installation, options: argparse.Namespace, grants: Sequence[Grant]) -> list[Token]:
    """One token for each; they are good when this returns."""
    now = time.time()
    checked_name(options.name)
    tokens = [
        Token(
            name=options.name,
            repository=grant.repository,
            rights=Rights(options.mode),
            digest=digest_of(grant.secret),
            created=int(now),
            expires=None if options.expires is None else int(now + options.expires),
            node=None if grant.offer is None else grant.offer.uuid,
        )
        for grant in grants
    ]
    installation.make_state().add(tokens, now)
    note(installation.tell_of_tokens("token-added", tokens))
    return tokens


def explain(tokens: Sequence[Token], grants: Sequence[Grant]) -> None:
    for token, grant in zip(tokens, grants, strict=True):
        until = "" if token.expires is None else f" until {moment(token.expires)}"
        where = _place(token, None if grant.offer is None else grant.offer.name)
        print(f"annexd: {token.principal} may {_MAY[token.rights]} in {where}{until}", file=sys.stderr)
    print("annexd: what is secret is shown only now", file=sys.stderr)


def note(problem: str | None) -> None:
    if problem is not None:
        print(f"annexd: note: {problem}", file=sys.stderr)


# --- small parts ---------------------------------------------------------------


def _imported(repositories: list[str]) -> bytes:
    if len(repositories) != 1:
        raise Refused("a secret is for one repository: with --secret-stdin there is one --repo")
    return checked_secret(sys.stdin.buffer.readline())


def _names(installation: Installation, repository: str) -> set[bytes]:
    """By which a token may know it: also one that is not served any more can be revoked."""
    names = {os.fsencode(os.path.abspath(repository)), os.fsencode(repository)}
    try:
        return names | set(installation.place(repository).aliases)
    except Refused:
        return names


def _nodes(installation: Installation, options: argparse.Namespace) -> set[bytes]:
    """By a UUID also one that is offered no more."""
    found = {os.fsencode(options.node)}
    for given in options.repo:
        try:
            found.add(called(offers(installation.place(given).git_dir), options.node).uuid)
        except Refused:
            pass  # that leaves the UUID
    return found


def _place(token: Token, node: str | None = None) -> str:
    repository = os.fsdecode(token.repository)
    return repository if token.node is None else f"{node or os.fsdecode(token.node)} behind {repository}"


def _row(token: Token, used: dict[str, int]) -> tuple[str, ...]:
    last = used.get(token.digest)
    return (
        token.name,
        _place(token),
        token.rights.value,
        moment(token.created),
        "never" if token.expires is None else moment(token.expires),
        "never" if last is None else moment(last),
        _state(token),
    )


def _state(token: Token) -> str:
    if token.obstacle(time.time()) is None:
        return ""
    return "expired" if token.revoked is None else "revoked"


def _document(token: Token, used: dict[str, int]) -> dict[str, Any]:
    return {
        "name": token.name,
        "repository": os.fsdecode(token.repository),
        "node": None if token.node is None else os.fsdecode(token.node),
        "rights": token.rights.value,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
        "used": used.get(token.digest),
        "good": token.obstacle(time.time()) is None,
    }
