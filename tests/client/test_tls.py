"""What goes wrong with TLS is said so that a user can act on it."""

from __future__ import annotations

import ssl

from twisted.trial.unittest import SynchronousTestCase

from annexd.client.p2p_address import parse
from annexd.client.tls import alert, explained

ADDRESS = parse("host.example:7001")


class SentenceTests(SynchronousTestCase):
    def said(self, error: OSError) -> str:
        sentence = str(explained(error, ADDRESS, 20.0))
        self.assertTrue("host.example port 7001" in sentence and "\n" not in sentence, sentence)
        return sentence

    def failure(self, reason: str) -> ssl.SSLError:
        error = ssl.SSLError(1, f"[SSL: {reason}] ... (_ssl.c:1000)")
        error.reason = reason
        return error

    def test_reasons_of_openssl(self) -> None:
        for reason, part in {
            "WRONG_VERSION_NUMBER": "is no TLS server",
            "TLSV1_ALERT_PROTOCOL_VERSION": "no version of TLS in common",
            "UNSUPPORTED_PROTOCOL": "no version of TLS in common",
            "TLSV13_ALERT_CERTIFICATE_REQUIRED": "demands a client certificate",
            "TLSV1_ALERT_UNKNOWN_CA": "does not accept the client certificate",
            "SSLV3_ALERT_CERTIFICATE_EXPIRED": "does not accept the client certificate",
            "TLSV1_UNRECOGNIZED_NAME": "does not answer to the name",
            "UNEXPECTED_EOF_WHILE_READING": "closed the connection during the handshake",
            "SOMETHING_NEW": "failed: [SSL: SOMETHING_NEW]",
        }.items():
            self.assertIn(part, self.said(self.failure(reason)))

    def test_other_ends(self) -> None:
        self.assertIn("speaks no TLS within 20 seconds", self.said(TimeoutError()))
        for error in (ConnectionResetError(), ssl.SSLEOFError(), ssl.SSLZeroReturnError()):
            self.assertIn("closed the connection", self.said(error))

    def test_distrust(self) -> None:
        for code, part in {
            9: "not valid yet",
            10: "has expired",
            62: "another name",
            64: "another name",
        }.items():
            error = ssl.SSLCertVerificationError(1, "x")
            error.verify_code, error.verify_message = code, "x"
            self.assertIn(part, self.said(error))
        error.verify_code, error.verify_message = 19, "self-signed certificate in chain"
        self.assertIn("is not trusted (self-signed certificate in chain)", self.said(error))

    def test_what_is_no_matter_of_tls(self) -> None:
        self.assertEqual(alert(ConnectionResetError(), "x"), "")
