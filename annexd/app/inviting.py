"""`annexd invite`: tokens, as the lines that make remotes, for a repository and what is behind it."""

from __future__ import annotations

import argparse
import os
import sys
import time

from annexd.app.access import TOKEN, Access, Operation
from annexd.app.granting import Grant, explain, found, issue
from annexd.app.installation import Installation
from annexd.app.invitations import invitation, is_onion, known_addresses, node_label, onion_invitation
from annexd.app.link_script import Linked, link_script
from annexd.app.offers import Offer, called, offers
from annexd.app.token_file import Token, checked_name, fresh_secret
from annexd.errors import ConfigError, Refused
from annexd.router.places import Place

_LINK = "git annex p2p --link"


def invite(options: argparse.Namespace) -> int:
    if options.tor_ssh:
        # All that has to do with ssh takes its time to load.
        from annexd.app.inviting_ssh import invite_ssh

        return invite_ssh(options)
    if options.key is not None:
        raise Refused("--key goes with --tor-ssh only")
    installation = found(options)
    place = installation.place(options.repo[0])
    links = _made(installation, options, place, addresses(installation, options))
    if options.script:
        print(link_script(place.name, TOKEN + options.name, links), end="")
    else:
        print("\n".join(link.line for link in links))
    lines = "these lines, one by one," if len(links) > 1 else "this line"
    what = "runs this with sh, in its repository" if options.script else f"pastes {lines} into: {_LINK}"
    print(f"annexd: the other side {what}", file=sys.stderr)
    return 0


def addresses(installation: Installation, options: argparse.Namespace) -> list[str]:
    """Where peers may come in, the best first.  Raises `ConfigError` when that is not known."""
    if options.tor or is_onion(options.address):
        return []  # it is an address of another kind
    known = [options.address] if options.address else known_addresses(installation.config, installation.state)
    if not known:
        raise ConfigError(
            "no listener has an address for peers: name one with --address HOST:PORT,sha256=FINGERPRINT"
        )
    return known


def invited(installation: Installation, options: argparse.Namespace, places: list[str]) -> str:
    """A token, and the line that makes a remote of it."""
    [link] = _made(installation, options, installation.place(options.repo[0]), places)
    print(f"annexd: the other side pastes this line into: {_LINK}", file=sys.stderr)
    return link.line


def _made(
    installation: Installation, options: argparse.Namespace, place: Place, places: list[str]
) -> list[Linked]:
    """Lines of all that is wanted, with tokens that are good when this returns."""
    checked_name(options.name)
    wanted = _wanted(installation, options, place)
    grants = [Grant(place.name, fresh_secret(), offer) for offer in wanted]
    # First: without an address no token is made.
    links = [Linked(_line(installation, options, places, grant), grant.offer) for grant in grants]
    explain(issue(installation, options, grants), grants)
    return links


def _line(installation: Installation, options: argparse.Namespace, places: list[str], grant: Grant) -> str:
    repository, secret = grant.repository, grant.secret
    offer = grant.offer
    label = None if offer is None else node_label(offer.name, repository, offer.uuid, options.name)
    if options.tor or is_onion(options.address):
        where = installation.config, installation.state
        return onion_invitation(*where, repository, secret, label, options.address)
    return invitation(places[0], repository, secret, label)


# --- what is wanted --------------------------------------------------------------


def _wanted(installation: Installation, options: argparse.Namespace, place: Place) -> list[Offer | None]:
    """`None` is the repository itself."""
    if options.node is not None:
        if getattr(options, "all_nodes", False):
            raise Refused("--node is for one of them, and --all-nodes for all")
        return [called(offers(place.git_dir), options.node)]
    if not getattr(options, "all_nodes", False):
        return [None]
    access = Access(installation.config.rules)

    def may_use(offer: Offer) -> bool:
        verdict = access.verdict(TOKEN + options.name, *place.aliases, node=offer.known_as)
        return verdict.rights.allow(Operation.ENTER)

    usable = [None, *filter(may_use, offers(place.git_dir))]
    has = _has(installation.tokens.read(), options.name, place)
    for offer in usable:
        if _node(offer) in has:
            name = os.fsdecode(place.name) if offer is None else offer.name
            print(f"annexd: {options.name} has a token for {name} already", file=sys.stderr)
    wanted = [offer for offer in usable if _node(offer) not in has]
    if not wanted:
        raise Refused(f"{options.name} has tokens for all of it: revoke them first, or take another name")
    return wanted


def _has(tokens: tuple[Token, ...], name: str, place: Place) -> set[bytes | None]:
    now = time.time()
    return {
        token.node
        for token in tokens
        if token.name == name and token.repository == place.name and token.obstacle(now) is None
    }


def _node(offer: Offer | None) -> bytes | None:
    return None if offer is None else offer.uuid
