"""A Kafka broker in a process of its own, and a gate before it that checks passwords and breaks connections."""

import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SERVERS = Path(__file__).parents[2] / ".venv-servers"
# the command in bin/ is a wrapper that ends before the server has saved its data
SERVER = next(_SERVERS.glob("lib/*/site-packages/noida_db/noida-db"), None)
_METADATA, _FIND_COORDINATOR, _SASL_AUTHENTICATE = 3, 10, 36
_AUTHENTICATION_FAILED = 58


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """`stop` keeps the data for the next `start`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> "Broker":
        assert SERVER is not None
        log = (self.directory / "broker.log").open("ab")
        self._process = subprocess.Popen(
            [SERVER, "start", "--only", "kafka", "--kafka-port", str(self.port),
             "--data-dir", str(self.directory / "data")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        self.stop()
        raise RuntimeError((self.directory / "broker.log").read_text())

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        self._process.wait(20)
        self._process = None


class Gate:
    """Clients reach the broker only through it, as it puts its own port into what the broker says of itself.

    A client that authenticates with another password than `password` is refused as Kafka does. With `tls` it speaks
    TLS to clients.
    """

    def __init__(self, broker: Broker, password: str, tls: ssl.SSLContext | None = None) -> None:
        self.password = password
        self._broker = broker
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def break_connections(self) -> None:
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError), ExitStack() as closing:
            closing.enter_context(client)
            server = closing.enter_context(
                socket.create_connection(("127.0.0.1", self._broker.port), 20)
            )
            if self._tls is not None:
                client = closing.enter_context(self._tls.wrap_socket(client, server_side=True))
            self._open |= {client, server}
            closing.callback(self._open.difference_update, {client, server})
            asked: set[int] = set()
            while True:
                ready = select.select([client, server], [], [])[0]
                if client in ready:
                    self._request(client, server, asked)
                    while isinstance(client, ssl.SSLSocket) and client.pending():
                        self._request(client, server, asked)
                if server in ready:
                    self._answer(client, server, asked)

    def _request(self, client: socket.socket, server: socket.socket, asked: set[int]) -> None:
        frame = _frame(client)
        kind, version, number = struct.unpack_from(">hhi", frame)
        if kind == _SASL_AUTHENTICATE and not frame.endswith(b"\0" + self.password.encode()):
            assert version <= 1, "the answer below is of the versions before flexible ones"
            reply = struct.pack(">ihh", number, _AUTHENTICATION_FAILED, 6) + b"denied"
            reply += struct.pack(">i", 0) + (b"" if version == 0 else bytes(8))
            client.sendall(struct.pack(">i", len(reply)) + reply)
            raise EOFError
        if kind in (_METADATA, _FIND_COORDINATOR):
            asked.add(number)
        server.sendall(struct.pack(">i", len(frame)) + frame)

    def _answer(self, client: socket.socket, server: socket.socket, asked: set[int]) -> None:
        frame = _frame(server)
        (number,) = struct.unpack_from(">i", frame)
        if number in asked:
            asked.remove(number)
            real, shown = (struct.pack(">i", port) for port in (self._broker.port, self.port))
            frame = frame.replace(real, shown)
        client.sendall(struct.pack(">i", len(frame)) + frame)


def certificate(directory: Path) -> tuple[ssl.SSLContext, str]:
    """A server's TLS for 127.0.0.1, and the PEM text of the authority that stands for it: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    path = directory / "server.pem"
    path.write_text(secret + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, pem


def _frame(source: socket.socket) -> bytes:
    (size,) = struct.unpack(">i", _exactly(source, 4))
    return _exactly(source, size)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = source.recv(size - len(found))
        if not more:
            raise EOFError
        found += more
    return found
