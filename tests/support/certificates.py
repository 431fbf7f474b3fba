"""Throw-away certificates, made by the openssl program."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from annexd.client.p2p_address import fingerprint
from tests.support.programs import program

_SETTINGS = """\
[ca]
default_ca = this
[this]
dir = .
new_certs_dir = .
database = index.txt
rand_serial = yes
default_md = sha256
policy = policy
email_in_dn = no
unique_subject = no
[policy]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
subjectAltName = {names}
"""

_LONG_AGO = ("20000101000000Z", "20000102000000Z")
_NOW = ("20200101000000Z", "20991231000000Z")


class Authority:
    """One that signs; ``file`` has its certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        (directory / "index.txt").touch()
        self.file = directory / "authority.pem"
        self._settings("")
        self._key("authority", "authority")
        self._sign("authority", "-selfsign", "-keyfile", "authority.key", "-extensions", "authority")

    def sign(self, name: str, *names: str, expired: bool = False) -> Path:
        """A file with key and certificate for ``names`` (``DNS:...``, ``IP:...``)."""
        self._settings(",".join(names or [f"DNS:{name}"]))
        self._key(name, name)
        terms = ("-cert", "authority.pem", "-keyfile", "authority.key", "-extensions", "leaf")
        self._sign(name, *terms, valid=_LONG_AGO if expired else _NOW)
        made = self._directory / f"{name}.pem"
        made.write_text((self._directory / f"{name}.key").read_text() + made.read_text())
        return made

    def _settings(self, names: str) -> None:
        (self._directory / "settings").write_text(_SETTINGS.format(names=names or "DNS:none"))

    def _key(self, name: str, subject: str) -> None:
        self._openssl(
            *("req", "-new", "-config", "settings", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", f"{name}.key", "-out", f"{name}.request", "-subj", f"/CN={subject}"),
        )

    def _sign(self, name: str, *terms: str, valid: tuple[str, str] = _NOW) -> None:
        self._openssl(
            *("ca", "-batch", "-config", "settings", "-notext", "-in", f"{name}.request"),
            *("-out", f"{name}.pem", "-startdate", valid[0], "-enddate", valid[1], *terms),
        )

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(
            [program("openssl", "openssl"), *words], cwd=self._directory, capture_output=True, timeout=60
        )
        if done.returncode:
            raise AssertionError(f"openssl {' '.join(words)}:\n{done.stderr.decode(errors='replace')}")


def pin(file: Path) -> str:
    """The fingerprint of the first certificate in a file."""
    _, begin, rest = file.read_text().partition("-----BEGIN CERTIFICATE-----")
    return fingerprint(
        ssl.PEM_cert_to_DER_cert(begin + rest[: rest.index("-----END")] + "-----END CERTIFICATE-----")
    )
