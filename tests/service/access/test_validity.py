import ssl
from pathlib import Path

import pytest

from service.access.validity import read_end
from tests.service.access.certificates import make_certificate


@pytest.mark.parametrize("kind", ["ec", "rsa:2048"])
def test_the_end_is_that_which_python_reads(tmp_path: Path, kind: str) -> None:
    pem = make_certificate(tmp_path, kind=kind).certificate.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    (found,) = context.get_ca_certs()
    assert read_end(b"a comment\n" + pem) == ssl.cert_time_to_seconds(str(found["notAfter"]))


@pytest.mark.parametrize("content", ["", "AAAA", "MAA=", "MAQwAjAA", "MIL/////"])
def test_text_that_is_no_certificate_has_no_end(content: str) -> None:
    assert read_end(f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----".encode()) is None
    assert read_end(content.encode()) is None
