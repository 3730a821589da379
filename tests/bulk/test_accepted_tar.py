"""Names in kept tars: unpacking writes each file once, below one folder, for any names in the source."""

import io
import tarfile
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bulk.output.accepted_tar import AcceptedTar, safe_name
from bulk.sources.sample import Sample
from bulk.sources.sample import given as data_given
from common.storage import LocalFiles
from tests.bulk.helpers import DARK, LIGHT, Bulk, face, shards, tar_bytes, tar_members
from tests.support.unpacking import unpack


def test_members_with_unsafe_paths_stay_below_their_folder(bulk: Bulk, tmp_path: Path) -> None:
    members = [
        ("../up.png", face(LIGHT)),
        ("../up.json", b"{}"),
        ("/etc/passwd.png", face(DARK)),
        ("a/../../b.png", face(LIGHT + 1)),
        ("%2E%2E/up.png", face(LIGHT + 2)),
        ("c\x1b[2J\\d.png", face(LIGHT + 3)),
        ("./plain/e.cls.png", face(LIGHT + 4)),
    ]
    (tmp_path / "x.tar").write_bytes(tar_bytes(members))
    bulk(tmp_path / "x.tar", tmp_path / "out", "--keep", tmp_path / "keep")
    (tar,) = shards(tmp_path / "keep").values()
    assert list(tar_members(tar)) == [
        "%2E%2E/up.png",
        "%2E%2E/up.json",
        "%2Fetc/passwd.png",
        "a/%2E%2E/%2E%2E/b.png",
        "%2E%2E/up~2.png",
        "c%1B[2J%5Cd.png",
        "./plain/e.cls.png",
    ]
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        unpack(opened, tmp_path / "unpacked")


@given(st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(["..", "/..", "//a", "a//..", "\\..\\"]))
def test_a_safe_name_stays_below_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert ".." not in safe.split("/")
    assert not safe.startswith("/")
    assert not any(ord(each) < 32 or each in "\\\x7f" for each in safe)
    assert safe_name(safe) == safe


def test_many_images_under_one_key_take_no_longer_than_others(tmp_path: Path) -> None:
    begin = time.monotonic()
    with AcceptedTar(LocalFiles(), str(tmp_path / "x.tar")) as accepted:
        for _ in range(20_000):
            accepted.add(Sample("a", "s", data_given(b""), key="a", ending="png"), b"x")
    # 200 million steps, minutes, where each begins to count at 2.
    assert time.monotonic() - begin < 60
    assert list(tar_members((tmp_path / "x.tar").read_bytes()))[-1] == "a~20000.png"
