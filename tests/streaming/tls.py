"""Servers behind TLS: a certificate authority of the test's own, and a proxy for a server that cannot speak TLS."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from select import select
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


class Authority:
    """A certificate authority; `file` holds its own certificate, which those who trust it name."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        own = self._certificate(self._name, self._key.public_key())
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(self, address: str = LOOPBACK) -> tuple[Path, Path]:
        """The files of a certificate for a server at an address, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")]), key.public_key()
        )
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        signed = certificate.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        files = self._folder / f"{address}.pem", self._folder / f"{address}.key"
        files[0].write_bytes(signed.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        return files

    def _certificate(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@contextmanager
def tls_before(port: int, certificate: tuple[Path, Path]) -> Iterator[int]:
    """The port of a proxy that speaks TLS and passes on what it hears to a port of loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    class Proxy(BaseRequestHandler):
        def handle(self) -> None:
            try:
                client = context.wrap_socket(self.request, server_side=True)
            except (ssl.SSLError, OSError):
                return
            with client, socket.create_connection((LOOPBACK, port)) as server:
                _pass_on(client, server)

    with ThreadingTCPServer((LOOPBACK, 0), Proxy) as listener:
        listener.daemon_threads = True
        Thread(target=listener.serve_forever, args=[0.05], daemon=True).start()
        yield listener.server_address[1]
        listener.shutdown()


def _pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
    ends = {client: server, server: client}
    while True:
        readable: list[socket.socket] = [client] if client.pending() else select(list(ends), [], [], 30)[0]
        for end in readable:
            try:
                data = end.recv(65_536)
                ends[end].sendall(data)
            except OSError:
                return
            if not data:
                return
