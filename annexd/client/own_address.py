"""
The address of the repository in the current directory, for peers that come to it over TLS.

Its certificate is made on first need, and kept with the key in ``annexd/tls.pem``
of the git directory.  git config may say the rest:

annexd.address   HOST:PORT, what peers connect to (else what this host seems to be called)
annexd.listen    HOST:PORT or PORT, where to listen (else the port of annexd.address, or one
                 that is free, which is then recorded here)

Where neither is set and a running annexd serves the repository to git-annex's own peers,
they come to it there, and nothing is made here.
"""

from __future__ import annotations

import posix

from annexd.client.git_settings import Settings, git_directory
from annexd.client.p2p_address import Address, AddressError, fingerprint, parse
from annexd.client.processes import Output
from annexd.client.program import Problem, say
from annexd.client.running import running_address

_PROGRAM = "git-annex-p2p-annexd"
_DAYS = 36500  # it is trusted by its fingerprint, which has no end
_PORTS = range(20000, 32768)  # below those that systems give out for the moment
_TRIES = 100

# openssl would else read one of the system, and not every system has it.
_OPENSSL_SETTINGS = b"""\
[req]
distinguished_name = name
x509_extensions = extensions
[name]
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
"""

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def print_address() -> int:
    settings = Settings()
    address = None
    if not settings.get("address") and not settings.get("listen"):
        address = running_address(settings, _absolute(_git_directory()))
    posix.write(1, f"{address or _own_address(settings)}\n".encode())
    return 0


def _own_address(settings: Settings) -> Address:
    pinned = own_fingerprint(own_certificate(own_directory()))
    place = settings.get("address")
    if place:
        address = _configured(place)
        return Address(address.host, address.port, pinned, address.name, address.label)
    _, port = listening(settings.get("listen")) if settings.get("listen") else ("", _choose_port())
    address = Address(_own_host(), port, pinned)
    say(_PROGRAM, f"peers will connect to {address.host} port {address.port}, or what annexd.address says")
    return address


def own_directory() -> str:
    """``annexd`` in the git directory that all work trees share; it is made if need be."""
    path = f"{_git_directory()}/annexd"
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass
    return path


def _git_directory() -> str:
    directory = git_directory()
    if not directory:
        raise Problem("there is no git repository here")
    return directory


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"{posix.getcwd()}/{path}"


def own_certificate(directory: str) -> str:
    """The file with key and certificate, made if need be."""
    path = f"{directory}/tls.pem"
    try:
        posix.stat(path)
    except FileNotFoundError:
        _make_certificate(path)
    return path


def own_fingerprint(path: str) -> str:
    from binascii import Error, a2b_base64

    with open(path, "rb") as file:
        _, begin, rest = file.read().partition(_BEGIN)
    try:
        return fingerprint(a2b_base64(rest.partition(_END)[0]))
    except Error:
        raise Problem(f"{path} holds no certificate") from None


def listening(text: str) -> tuple[str, int]:
    """Host (empty for all there are) and port of what ``annexd.listen`` says."""
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) or (colon and not host):
        raise Problem(f"annexd.listen is {text!r}, and should be HOST:PORT or PORT")
    return ("" if host == "*" else host.strip("[]")), int(port)


def _configured(text: str) -> Address:
    try:
        return parse(text)
    except AddressError as error:
        raise Problem(f"annexd.address in git config: {error}") from None


def _make_certificate(path: str) -> None:
    new = f"{path}.{posix.getpid()}"
    settings = f"{new}.cnf"
    mask = posix.umask(0o077)
    try:
        with open(settings, "wb") as file:
            file.write(_OPENSSL_SETTINGS)
        _openssl(settings, new)
        try:
            posix.link(new, path)
        except FileExistsError:
            pass  # another made one in the meantime, and that one counts
    finally:
        posix.umask(mask)
        for made in (settings, new):
            try:
                posix.unlink(made)
            except FileNotFoundError:
                pass


def _openssl(settings: str, new: str) -> None:
    what = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"]
    terms = ["-days", str(_DAYS), "-subj", "/CN=annexd", "-config", settings, "-keyout", new, "-out", new]
    try:
        code, _ = Output("openssl", *what, *terms, said=False).read()
    except Problem as problem:
        raise Problem(f"a certificate cannot be made: {problem}") from None
    if code:
        raise Problem(f"openssl made no certificate (exit code {code})")


def _choose_port() -> int:
    """One that is free, recorded so that the address stays."""
    import socket

    for _ in range(_TRIES):
        port = _PORTS[int.from_bytes(posix.urandom(4), "big") % len(_PORTS)]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
            try:
                tried.bind(("", port))
            except OSError:
                continue
        if Output("git", "config", "annexd.listen", str(port)).read()[0]:
            raise Problem("annexd.listen cannot be written to the git config of the repository")
        return port
    raise Problem("no free port was found: set annexd.listen in git config")


def _own_host() -> str:
    """The name of this host if it is a full one, else the IP address that it has towards others."""
    import socket

    name = posix.uname().nodename
    if "." in name.strip(".") and not name.startswith("localhost"):
        try:
            return Address(name, 1).host
        except AddressError:
            pass
    for family, other in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:  # for documentation only: no packet is sent, only a route looked up
            with socket.socket(family, socket.SOCK_DGRAM) as towards:
                towards.connect((other, 9))
                return str(towards.getsockname()[0])
        except OSError:
            pass
    raise Problem("this host has no network: set annexd.address in git config to HOST:PORT")
