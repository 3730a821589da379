"""Names in kept tars: unpacking writes each file once, below one folder, for any names in the source."""

import io
import os
import re
import tarfile
import tempfile
import time
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from bulk.output.accepted_tar import AcceptedTar, fit_ending, fit_key, safe_name
from bulk.sources.sample import Sample
from bulk.sources.sample import given as data_given
from common.storage import LocalFiles
from tests.bulk.helpers import DARK, LIGHT, Bulk, face, read_rows, shards, tar_bytes, tar_members
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


@given(
    st.text(st.characters(codec="utf-8"), max_size=30)
    | st.sampled_from(["..", "__a__/b", "/..", "//a", "a//..", "\\..\\"])
)
def test_a_safe_name_stays_below_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert ".." not in safe.split("/")
    assert not safe.startswith("/")
    assert not any(ord(each) < 32 or each in "\\\x7f" for each in safe)
    assert safe_name(safe) == safe


def test_no_reader_takes_a_folder_for_metadata(bulk: Bulk, tmp_path: Path) -> None:
    for name in ("__faces__/a", "__faces__/b__/c", "__a/b", "d/__e__/f", "__g__"):
        path = tmp_path / "faces" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(face(LIGHT + len(name)))
    bulk(tmp_path / "faces", tmp_path / "out", "--keep", tmp_path / "keep")
    found = [name for tar in shards(tmp_path / "keep").values() for name in tar_members(tar)]
    # The rule of webdataset for members that it skips.
    assert not [name for name in found if re.match(r"__[^/]*__($|/)", name)]
    assert sorted(found) == ["%5F_faces__/a.png", "%5F_faces__/b__/c.png", "__a/b.png", "__g__.png", "d/__e__/f.png"]


def test_names_fit_into_folders_and_stay_apart(bulk: Bulk, tmp_path: Path) -> None:
    folder = tmp_path / "faces" / ("顔" * 80)
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{'眼' * 80}{number}.png").write_bytes(face(LIGHT + number))
    assert bulk(tmp_path / "faces", tmp_path / "out", "--keep", tmp_path / "keep").summary["accepted"] == 3
    (tar,) = shards(tmp_path / "keep").values()
    assert len(tar_members(tar)) == 3
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        unpack(opened, tmp_path / "unpacked")
    assert len(list((tmp_path / "unpacked").rglob("*.png"))) == 3
    # The next run reads what this one has kept.
    assert bulk(tmp_path / "keep", tmp_path / "again").summary["accepted"] == 3


parts = st.text(st.sampled_from("ab%/~.é眼\udcff\x00"), max_size=12).map(lambda text: text * 120)


@given(st.lists(parts | st.text("a.", max_size=3), min_size=2, max_size=4, unique=True), parts, parts)
@example(["a" * 2_001, "b"], "png", "json")
def test_every_member_has_a_name_of_its_own_that_fits(keys: list[str], ending: str, other: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tar"
        with AcceptedTar(LocalFiles(), str(path)) as accepted:
            for key in keys:
                beside = [(other, b"y")] if safe_name(other) != safe_name(ending) and ending and other else []
                accepted.add(Sample("a", "s", data_given(b""), key=key, ending=ending or "png", beside=beside), b"x")
        with tarfile.open(path) as tar:
            names = tar.getnames()
    assert len(names) == len(set(names))
    assert not any(name.startswith("/") for name in names)
    assert max(len(os.fsencode(part)) for name in names for part in name.split("/")) <= 255
    assert max(len(os.fsencode(name)) for name in names) <= 2_300


def test_names_that_differ_by_case_or_composition_are_told_apart(bulk: Bulk, tmp_path: Path) -> None:
    """File systems of macOS and Windows take them for one name: an unpacked image would replace another one."""
    names = ["A.png", "a.PNG", "\u00e9.png", "e\u0301.png", "x/a.png", "X/a.png"]
    (tmp_path / "x.tar").write_bytes(tar_bytes([(name, face(LIGHT + 256 * at)) for at, name in enumerate(names)]))
    bulk(tmp_path / "x.tar", tmp_path / "out", "--keep", tmp_path / "keep")
    assert len(read_rows(tmp_path / "out")) == 6
    (tar,) = shards(tmp_path / "keep").values()
    assert list(tar_members(tar)) == ["A.png", "a~2.PNG", "\u00e9.png", "e\u0301~2.png", "x/a.png", "X/a~2.png"]


def test_names_that_fit_stay_as_they_are() -> None:
    key = "/".join(["a" * 255] * 6 + ["眼" * 60])
    assert fit_key(key, 200) == key
    assert fit_ending("seg.mask.png") == "seg.mask.png"
    assert fit_ending("x" * 200 + ".png").endswith(".png")


def test_many_images_under_one_key_take_no_longer_than_others(tmp_path: Path) -> None:
    begin = time.monotonic()
    with AcceptedTar(LocalFiles(), str(tmp_path / "x.tar")) as accepted:
        for _ in range(20_000):
            accepted.add(Sample("a", "s", data_given(b""), key="a", ending="png"), b"x")
    # 200 million steps, minutes, where each begins to count at 2.
    assert time.monotonic() - begin < 60
    assert list(tar_members((tmp_path / "x.tar").read_bytes()))[-1] == "a~20000.png"
