"""`annexd token` and `annexd invite`: who else may come."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from annexd.app import tables
from annexd.app.access import Rights
from annexd.app.installation import Installation, find
from annexd.app.invitations import invitation, known_addresses, onion_invitation
from annexd.app.token_file import (
    Token,
    checked_name,
    checked_secret,
    digest_of,
    fresh_secret,
    moment,
)
from annexd.errors import ConfigError, Refused

_MAY = {
    Rights.READ_ONLY: "read",
    Rights.APPEND_ONLY: "read and add",
    Rights.READ_WRITE: "read, add and remove",
}


def add(options: argparse.Namespace) -> int:
    installation = found(options)
    secrets = [_imported(options.repo)] if options.secret_stdin else [fresh_secret() for _ in options.repo]
    tokens = issue(installation, options, secrets)
    for secret, token in zip(secrets, tokens, strict=True):
        repository = "" if len(tokens) == 1 else f" {os.fsdecode(token.repository)}"
        if not options.secret_stdin:
            print(secret.decode() + repository)
    explain(tokens)
    return 0


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
    revoked = installation.tokens.revoke(options.name, repositories, time.time())
    note(installation.tell_of_tokens("token-revoked", revoked))
    for token in revoked:
        print(f"{token.name} has no access to {os.fsdecode(token.repository)} any more")
    return 0


def invite(options: argparse.Namespace) -> int:
    installation = found(options)
    print(invited(installation, options, addresses(installation, options)))
    return 0


# --- what others need, too -----------------------------------------------------


def found(options: argparse.Namespace) -> Installation:
    return find(options.config, options.socket, os.environ)


def issue(installation: Installation, options: argparse.Namespace, secrets: list[bytes]) -> list[Token]:
    """One token for each repository; they are good when this returns."""
    now = time.time()
    checked_name(options.name)
    tokens = [
        Token(
            name=options.name,
            repository=installation.place(repository).name,
            rights=Rights(options.mode),
            digest=digest_of(secret),
            created=int(now),
            expires=None if options.expires is None else int(now + options.expires),
        )
        for repository, secret in zip(options.repo, secrets, strict=True)
    ]
    installation.make_state().add(tokens, now)
    note(installation.tell_of_tokens("token-added", tokens))
    return tokens


def addresses(installation: Installation, options: argparse.Namespace) -> list[str]:
    """Where peers may come in, the best first.  Raises `ConfigError` when that is not known."""
    if options.tor:
        return []  # it is an address of another kind
    known = [options.address] if options.address else known_addresses(installation.config, installation.state)
    if not known:
        raise ConfigError(
            "no listener has an address for peers: name one with --address HOST:PORT,sha256=FINGERPRINT"
        )
    return known


def invited(installation: Installation, options: argparse.Namespace, places: list[str]) -> str:
    """A token, and the line that makes a remote of it."""
    secret = fresh_secret()
    repository = installation.place(options.repo[0]).name
    if options.tor:
        line = onion_invitation(installation.config, installation.state, repository, secret)
    else:
        line = invitation(places[0], repository, secret)
    explain(issue(installation, options, [secret]))
    print("annexd: the other side pastes this line into: git annex p2p --link", file=sys.stderr)
    return line


def explain(tokens: list[Token]) -> None:
    for token in tokens:
        until = "" if token.expires is None else f" until {moment(token.expires)}"
        repository = os.fsdecode(token.repository)
        print(f"annexd: {token.principal} may {_MAY[token.rights]} in {repository}{until}", file=sys.stderr)
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


def _row(token: Token, used: dict[str, int]) -> tuple[str, ...]:
    last = used.get(token.digest)
    return (
        token.name,
        os.fsdecode(token.repository),
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
        "rights": token.rights.value,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
        "used": used.get(token.digest),
        "good": token.obstacle(time.time()) is None,
    }
