import ssl
import subprocess
from pathlib import Path

import pytest

from service.access.tls import load_context
from service.access.validity import read_ends
from tests.service.access.certificates import make_certificate


@pytest.mark.parametrize("kind", ["ec", "rsa:2048"])
def test_the_ends_are_those_which_python_reads(tmp_path: Path, kind: str) -> None:
    files = make_certificate(tmp_path, kind=kind)
    pem = files.certificate.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode())
    (found,) = context.get_ca_certs()
    end = ssl.cert_time_to_seconds(str(found["notAfter"]))
    named = pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE")
    trusted = subprocess.run(
        ["openssl", "x509", "-trustout", "-addtrust", "serverAuth", "-in", str(files.certificate)],
        check=True,
        capture_output=True,
    ).stdout
    for written in (pem, named, trusted):
        (tmp_path / "written").write_bytes(written)
        load_context(tmp_path / "written", files.key)
    assert read_ends(b"a comment\n" + pem + files.key.read_bytes() + named + trusted) == [end] * 3


@pytest.mark.parametrize("content", ["", "AAAA", "MAA=", "MAQwAjAA", "MIL/////"])
def test_text_that_is_no_certificate_has_no_end(content: str) -> None:
    block = f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----"
    assert read_ends(block.encode()) == [None]
    assert read_ends(content.encode()) == []
