"""Certificates that tests make for themselves, with Debian's openssl."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""

    certificate: Path
    key: Path

    def trust(self) -> ssl.SSLContext:
        """A client context that trusts only this certificate."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_certificate(folder: Path, name: str = "gate", *, is_locked: bool = False, kind: str = "ec") -> Files:
    """Write `name.crt` and `name.key`, the key of a kind that openssl knows, with a password if it is to be locked."""
    files = Files(folder / f"{name}.crt", folder / f"{name}.key")
    secret = ["-passout", "pass:secret"] if is_locked else ["-nodes"]
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else []
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", kind, *curve, *secret),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-out", str(files.certificate), "-keyout", str(files.key)),
        ],
        check=True,
        capture_output=True,
    )
    return files
