"""The line that makes a remote of a repository here, for `git annex p2p --link`."""

from __future__ import annotations

import hashlib
import os
import re

from annexd.app.certificates import own_fingerprint
from annexd.app.config import Config
from annexd.app.listen import public_address
from annexd.app.onion_places import hostname_of
from annexd.errors import ConfigError

_URL = "p2p-annex::annexd:"
_ADDRESS = re.compile(r"[A-Za-z0-9.:%_-]+:[0-9]{1,5}(,(sha256|name|label)=[A-Za-z0-9.:_-]+)*")
_LABEL = re.compile(r",label=[^,]*")
_NO_LABEL = re.compile(r"[^a-z0-9_-]+")
_LABEL_CHARACTERS = 20
# git-annex makes the name of a file of the whole address, and dots and dashes count three there.


def invitation(address: str, repository: bytes, secret: bytes, node: str | None = None) -> str:
    """
    ``address`` is ``HOST:PORT[,sha256=HEX][,name=NAME][,label=LABEL]``, and
    ``node`` the label for what is behind the repository.  Raises `ConfigError`.
    """
    if not _ADDRESS.fullmatch(address):
        raise ConfigError(f"{address!r} is no address: it is written HOST:PORT[,sha256=HEX][,name=NAME]")
    if node is not None:
        address = f"{_LABEL.sub('', address)},label={node}"
    elif ",label=" not in address:
        address += f",label={label(repository)}"
    return f"{_URL}{address}:{secret.decode()}"


def onion_invitation(
    config: Config,
    state: str,
    repository: bytes,
    secret: bytes,
    node: str | None = None,
    onion: str | None = None,
) -> str:
    """
    For a `tor-annex` remote, by the first onion or the one that is called so.
    Tor heeds no labels before an onion's address, but git-annex keeps a token
    for each.  Raises `ConfigError`.
    """
    onions = config.listen.onions
    if not onions:
        raise ConfigError("there is no [listen.tor] in the configuration")
    known = {hostname_of(tor, state): tor for tor in (onions[:1] if onion is None else onions)}
    hostname = onion or next(iter(known))
    if hostname not in known:
        raise ConfigError(f"{onion} is none of the onions here: {', '.join(known)}")
    place = (node or label(repository)).replace("_", "-").lstrip("-")
    return f"tor-annex::{place}.{hostname}:{known[hostname].port}:{secret.decode()}"


def is_onion(address: str | None) -> bool:
    return address is not None and address.endswith(".onion")


def label(repository: bytes) -> str:
    """
    git-annex keeps one token for each address, and the token says which
    repository it is: so each repository has an address of its own.
    """
    name = os.path.basename(os.fsdecode(repository)).removesuffix(".git")
    return _labelled(name, repository)


def node_label(name: str, repository: bytes, node: bytes, token: str) -> str:
    """``name`` is that of ``node``; whoever comes as two, by two tokens, has two addresses for it."""
    return _labelled(name, b"\0".join((repository, node, os.fsencode(token))))


def _labelled(name: str, what: bytes) -> str:
    plain = _NO_LABEL.sub("-", name.lower()).strip("-")[:_LABEL_CHARACTERS]
    return f"{plain}-{hashlib.sha256(what).hexdigest()[:6]}".lstrip("-")


def known_addresses(config: Config, state: str) -> list[str]:
    """
    Those of the listeners in ``config``, with what ``state`` has of them, the
    best first.  Raises `ConfigError`.
    """
    tls = config.listen.tls
    if tls is None:
        return []
    public = public_address(tls)
    # No brackets, which git-annex does not let through.
    address = f"{public.host}:{public.port}"
    return [address if tls.certificate else f"{address},sha256={own_fingerprint(state)}"]
