import zlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import gcsfs.core
import pytest

from tests.bulk import gcs as google
from tests.bulk.helpers import ANONYMOUS, Bucket, Bulk
from tests.support.models import brightness_model, write_model
from tests.support.objects import running_s3


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two versions, of which the second says the opposite; the second is current."""
    folder = tmp_path / "models"
    write_model(folder, brightness_model("1", inverted=True), current=False)
    write_model(folder, brightness_model("2"))
    return folder


@pytest.fixture
def bulk(models: Path, capsys: pytest.CaptureFixture[str]) -> Bulk:
    """The command, with these models."""
    return Bulk(models, capsys)


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """The variables by which a process finds a server that speaks S3."""
    with running_s3() as environment:
        yield environment


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket, found by the environment as any client of S3 finds it."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    store = fsspec.filesystem("s3", use_listings_cache=False)
    name = f"bucket-{zlib.crc32(request.node.name.encode())}"
    store.mkdir(name)
    return Bucket(f"s3://{name}", store)


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket of Google's, found by the variable that its emulators are found by."""
    # By default gcsfs queries the bucket type by gRPC, which the server does not support.
    default = fsspec.get_filesystem_class("gs")
    fsspec.register_implementation("gs", gcsfs.core.GCSFileSystem, clobber=True)
    with google.serving() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield Bucket("gs://bucket", fsspec.filesystem("gs", use_listings_cache=False, **ANONYMOUS))
    fsspec.register_implementation("gs", default, clobber=True)
