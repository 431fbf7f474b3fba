"""What is particular to the OpenSSL that annexd brings; the rest is in `test_tls` and `test_tls_loan`."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_der_x509_certificate, load_pem_x509_certificates
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from annexd.app.certificates import system_context
from annexd.app.listen import Address, Tls
from annexd.transports import openssl
from annexd.transports.openssl import Connection, Context, reader
from annexd.transports.secured import common_name
from tests.support.authorities import Authority
from tests.support.tls_in_memory import OWN, server


class Opaque:
    """A pyOpenSSL that lets nothing be seen."""

    def recv_into(self, buffer: memoryview) -> int:
        buffer[:3] = b"abc"
        return 3


class Reading(SynchronousTestCase):
    def test_where_pyopenssl_keeps_to_itself(self) -> None:
        buffer = memoryview(bytearray(4))
        self.assertEqual((reader(Opaque())(buffer), bytes(buffer)), (3, b"abc\0"))  # type: ignore[arg-type]

    def test_openssl_itself_is_asked(self) -> None:
        """Else it is slow, and nothing says so."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD), None)
        self.assertNotEqual(reader(connection), connection.recv_into)


class Reasons(SynchronousTestCase):
    def test_what_is_wrong_with_certificates(self) -> None:
        self.assertEqual(openssl._meaning(10), "certificate has expired")
        self.patch(SSL, "_lib", None)
        self.assertEqual(openssl._meaning(10), "error 10 of OpenSSL")

    def test_of_the_system(self) -> None:
        error = openssl._translated(SSL.SysCallError(32, "EPIPE"))
        self.assertEqual((type(error), error.errno, error.strerror), (BrokenPipeError, 32, os.strerror(32)))

    def test_nothing_is_said(self) -> None:
        for nothing in (SSL.Error(), SSL.Error([])):
            error = openssl._translated(nothing)
            self.assertEqual(getattr(error, "reason", None), "UNKNOWN_ERROR")


class Shown:
    """What a connection knows of a peer whose certificate names it by bytes that are no text."""

    def __init__(self, directory: str) -> None:
        with open(Authority(directory, "ca").issue("alice"), "rb") as file:
            [certificate] = load_pem_x509_certificates(
                file.read().partition(b"-----END PRIVATE KEY-----\n")[2]
            )
        self._der = certificate.public_bytes(Encoding.DER).replace(b"alice", b"al\xff\xfee")

    def set_accept_state(self) -> None:
        pass

    def get_peer_certificate(self, as_cryptography: bool) -> Certificate:
        return load_der_x509_certificate(self._der)


class Names(SynchronousTestCase):
    def test_one_that_cannot_be_read(self) -> None:
        """Is nobody's, for whom there is no rule."""
        with tempfile.TemporaryDirectory() as directory, socket.socket() as sock:
            connection = Connection(Shown(directory), sock)  # type: ignore[arg-type]
            self.assertEqual(common_name(connection), "")


class Settings(SynchronousTestCase):
    def test_ciphers_are_those_of_the_other(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            pem = Authority(directory, "ca").issue("annex")
            system = system_context(Tls((Address("::", 7001),), minimum_version="1.2"))
            context = Context(system, pem, pem, None)
        ciphers = set(SSL.Connection(context._context, None).get_cipher_list())
        self.assertEqual(ciphers, {cipher["name"] for cipher in system.get_ciphers()})


class Files(SynchronousTestCase):
    def test_one_that_only_the_system_likes(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            pem = Authority(directory, "ca").issue("annex")
            junk = os.path.join(directory, "junk")
            with open(junk, "wb") as file:
                file.write(b"nonsense")
            system = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            Context(system, pem, pem, os.path.join(directory, "ca-ca.pem"))
            for certificate, key, client_ca in ((junk, pem, None), (pem, junk, None), (pem, pem, junk)):
                error = self.assertRaises(ssl.SSLError, Context, system, certificate, key, client_ca)
                self.assertTrue(error.reason)


class Closed(SynchronousTestCase):
    def test_nothing_reaches_who_has_the_descriptor_now(self) -> None:
        for end in (Connection.close, lambda connection: os.close(connection.detach())):
            near, far = socket.socketpair()
            self.addCleanup(far.close)
            connection = server(OWN)(near)
            fd = connection.fileno()
            assert isinstance(connection, Connection)
            end(connection)
            other, peer = socket.socketpair()
            self.addCleanup(other.close)
            self.addCleanup(peer.close)
            self.assertIn(fd, (other.fileno(), peer.fileno()))
            self.assertRaises(OSError, connection.do_handshake)
            self.assertRaises(OSError, connection.recv, 1)
            self.assertRaises(OSError, connection.recv_into, memoryview(bytearray(1)))
            self.assertRaises(OSError, connection.send, b"x")
            self.assertRaises(OSError, connection.unwrap)
