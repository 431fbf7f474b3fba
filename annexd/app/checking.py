"""What is wrong with the files that a configuration names, for who asks before a daemon uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from annexd.app.certificates import check
from annexd.app.config import Config
from annexd.app.listen import Ssh, Tls, public_address
from annexd.app.ssh_listener import given_host_keys
from annexd.app.ssh_users import problems_of
from annexd.errors import ConfigError

_SOON = timedelta(days=14)


def check_files(config: Config, state: str) -> list[str]:
    """
    Notes on what will do, but hardly is what somebody wants.  Nothing is made,
    and ``state`` may be a directory that only the daemon may look into.
    Raises `ConfigError`, with a line for each thing that a daemon would refuse.
    """
    tls, ssh = config.listen.tls, config.listen.ssh
    checks: list[Callable[[], object]] = []
    if tls is not None:
        checks.append(lambda: check(tls, state))
    if ssh is not None:
        checks.append(lambda: given_host_keys(ssh))
    errors = [error for one in checks for error in _errors(one)]
    if errors:
        raise ConfigError("\n".join(errors))
    return [*_about_certificate(tls), *_about_users(ssh)]


def _errors(check_one: Callable[[], object]) -> Iterator[str]:
    try:
        check_one()
    except ConfigError as error:
        yield str(error)


def _about_users(ssh: Ssh | None) -> list[str]:
    return [] if ssh is None else problems_of(ssh.authorized_keys, ssh.users)


def _about_certificate(tls: Tls | None) -> Iterator[str]:
    """Clients who know it by its authority, and not by its fingerprint, look at its dates and names."""
    if tls is None or tls.certificate is None:
        return
    try:
        from cryptography import x509
    except ImportError:
        return  # a daemon with a certificate of somebody else's does without
    with open(tls.certificate, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        yield f"{tls.certificate} is not good before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now > end:
        yield f"{tls.certificate} has expired on {end:%Y-%m-%d}"
    elif now + _SOON > end:
        yield f"{tls.certificate} expires on {end:%Y-%m-%d}"
    if tls.public is not None and not _is_for(certificate, public_address(tls).host):
        yield f"{tls.certificate} is not for {tls.public.host}, which is what peers are told to connect to"


def _is_for(certificate: object, host: str) -> bool:
    from cryptography import x509

    assert isinstance(certificate, x509.Certificate)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    wanted = host.lower().rstrip(".")
    return wanted in addresses or any(
        name.lower() in (wanted, "*." + wanted.partition(".")[2])
        for name in names.get_values_for_type(x509.DNSName)
    )
