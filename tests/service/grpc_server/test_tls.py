"""TLS of the gRPC port: the certificate of the HTTP port, and its successor."""

from pathlib import Path

import grpc

from tests.service.access.certificates import Files, make_certificate
from tests.service.grpc_server.calls import Caller, Refused, address, encoded, pixels_request, read_answer
from tests.support.servers import Running, running_service, wait_until


def ask(service: Running, trusted: Files, message: bytes) -> bytes | Refused:
    credentials = grpc.ssl_channel_credentials(trusted.certificate.read_bytes())
    with grpc.secure_channel(address(service), credentials) as channel:
        return Caller(channel).ask(message, timeout=5.0)


def test_calls_are_encrypted_and_a_new_certificate_is_used(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    other = make_certificate(tmp_path, "other")
    request = encoded(pixels_request())
    with running_service(grpc_port=0, tls_certificate=files.certificate, tls_key=files.key) as service:
        read_answer(ask(service, files, request))
        assert isinstance(ask(service, other, request), Refused)
        with grpc.insecure_channel(address(service)) as plain:
            assert isinstance(Caller(plain).ask(b"", method="ServerLive", timeout=1.0), Refused)
        files.certificate.write_bytes(other.certificate.read_bytes())
        files.key.write_bytes(other.key.read_bytes())
        wait_until(lambda: isinstance(ask(service, other, request), bytes))
