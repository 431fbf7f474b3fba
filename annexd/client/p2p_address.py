"""
Where a repository is reached over TLS, as one word::

    HOST:PORT[,sha256=HEX][,name=NAME][,label=LABEL]

It is the ADDRESS of a git remote ``p2p-annex::annexd:ADDRESS``, and passes
unchanged through git's and git-annex's reading of urls and through any shell.

HOST is a name, an IPv4 address, or an IPv6 address *without* brackets (the
port is always there, and what follows the last colon): git-annex itself makes
nothing of a url with a ``[`` in it, and escapes what no URI has.  The zone of
a link-local address is written as in RFC 6874, ``fe80::1%25eth0``.

sha256 is the SHA-256 of the server's certificate (DER), 64 hexadecimal digits.
With it exactly this certificate is trusted, without it what the system trusts.

name is the name to ask for (SNI) and, without sha256, the name to verify,
where it is not HOST.

label means nothing to who connects, it makes addresses differ: git-annex keeps
one token for each address, so two repositories behind one listener need two.
"""

from __future__ import annotations

import _socket

URL = "p2p-annex::annexd:"
FORM = "HOST:PORT[,sha256=HEX][,name=NAME][,label=LABEL]"

# The file in which git-annex keeps the token has the escaped address as its name.
_FILE_NAME_BYTES = 255
_LABEL_CHARACTERS = 64
_OPTIONS = ("sha256", "name", "label")

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_WORD = _LETTERS | _DIGITS | frozenset("._-")


class AddressError(ValueError):
    """No address; the text is one sentence that says why."""


class Address:
    """
    ``host`` and ``name`` are lower case, ``sha256`` 64 lower-case hexadecimal
    digits; ``sha256``, ``name`` and ``label`` are empty where there is none.
    The zone of an IPv6 address follows a bare ``%``, as the system takes it.

    Raises :class:`AddressError` for values that no address can have.
    """

    __slots__ = ("host", "label", "name", "port", "sha256")

    def __init__(self, host: str, port: int, sha256: str = "", name: str = "", label: str = "") -> None:
        self.host = _checked_host(host)
        self.port = _checked_port(port)
        self.sha256 = _checked_fingerprint(sha256) if sha256 else ""
        self.name = _checked_name(name) if name else ""
        self.label = _checked_label(label) if label else ""
        if len(token_file_name(f"annexd:{self}")) > _FILE_NAME_BYTES:
            raise AddressError(f"{self} is too long for git-annex")

    @property
    def server_name(self) -> str:
        """What the server is called: for SNI, and to be verified where nothing is pinned."""
        return self.name or self.host.partition("%")[0].rstrip(".")

    @property
    def url(self) -> str:
        """The url of a git remote; with ``:TOKEN`` behind it ``git annex p2p --link`` takes it."""
        return URL + str(self)

    def __str__(self) -> str:
        place = f"{self.host.replace('%', '%25')}:{self.port}"
        options = (f",{key}={getattr(self, key)}" for key in _OPTIONS if getattr(self, key))
        return place + "".join(options)

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Address) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


def parse(text: str) -> Address:
    """Read what ``str(address)`` writes; :class:`AddressError` says what is wrong with anything else."""
    place, *rest = text.split(",")
    host, colon, port = place.rpartition(":")
    if not colon or not _is_number(port):
        raise AddressError(f"{text!r} is no address: it needs a port, {FORM}")
    options: dict[str, str] = {}
    for option in rest:
        key, _, value = option.partition("=")
        if key not in _OPTIONS or not value:
            raise AddressError(f"{text!r} is no address: {option!r} is not known, only {FORM}")
        if key in options:
            raise AddressError(f"{text!r} is no address: {key} is there twice")
        options[key] = value
    return Address(host.replace("%25", "%"), int(port), **options)


def fingerprint(certificate: bytes) -> str:
    """The ``sha256`` of a certificate in DER."""
    from _hashlib import openssl_sha256

    return openssl_sha256(certificate).hexdigest()


def token_file_name(address: str) -> str:
    """The file in annex/creds that has the token for ``NETWORK:ADDRESS``."""
    safe = _LETTERS | _DIGITS
    return "".join(c if c.lower() in safe else f"%{ord(c):02X}" for c in address)


def is_literal(host: str) -> bool:
    """Whether it is an IP address, not a name."""
    return _is_ip(_socket.AF_INET, host) or _is_ip(_socket.AF_INET6, host.partition("%")[0])


def _checked_host(host: str) -> str:
    host = host.lower()
    if host.startswith("["):
        raise AddressError(f"git-annex does not understand brackets: write {host.strip('[]')}:PORT instead")
    if ":" in host:
        number, percent, zone = host.partition("%")
        if not _is_ip(_socket.AF_INET6, number) or (percent and not _is_word(zone)):
            raise AddressError(f"{host!r} is no IPv6 address, or the port behind it is missing")
        return host
    if host.rstrip(".").rpartition(".")[2].isdecimal() and not _is_ip(_socket.AF_INET, host):
        raise AddressError(f"{host!r} is no IPv4 address")
    return _checked_name(host)


def _checked_name(name: str) -> str:
    name = name.lower()
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(map(_is_host_label, labels)):
        raise AddressError(f"{name!r} is no name of a host (names in other scripts are written xn--...)")
    return name


def _checked_port(port: int) -> int:
    if not 0 < port < 65536:
        raise AddressError(f"{port} is no port: ports are 1 to 65535")
    return port


def _checked_fingerprint(sha256: str) -> str:
    """Colons and upper case, as the openssl program prints it, are put right."""
    digits = sha256.replace(":", "").lower()
    if len(digits) != 64 or not all(digit in "0123456789abcdef" for digit in digits):
        raise AddressError(f"{sha256!r} is no fingerprint: a SHA-256 has 64 hexadecimal digits")
    return digits


def _checked_label(label: str) -> str:
    if len(label) > _LABEL_CHARACTERS or not _is_word(label.lower()):
        raise AddressError(
            f"{label!r} is no label: labels have 1 to {_LABEL_CHARACTERS} letters, digits, and any of . _ -"
        )
    return label


def _is_host_label(label: str) -> bool:
    return 0 < len(label) < 64 and label[0] != "-" and _is_word(label)


def _is_word(text: str) -> bool:
    return bool(text) and _WORD.issuperset(text)


def _is_number(text: str) -> bool:
    return 0 < len(text) < 6 and _DIGITS.issuperset(text)


def _is_ip(family: int, text: str) -> bool:
    try:
        _socket.inet_pton(family, text)
        return True
    except (OSError, ValueError):  # ValueError: a NUL inside
        return False
