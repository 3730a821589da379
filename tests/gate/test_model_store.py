import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gate import Card, Model, ModelError, ModelStore, model_files
from gate import model_store as models_module
from gate.files import atomic_file, write_atomically
from gate.model_files import GRAPH_FILE
from gate.model_store import Rollback
from tests.support.models import brightness_model, write_model


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for version in ("2", "10"):
        write_model(tmp_path, brightness_model(version))
    return ModelStore(tmp_path)


def test_versions_are_in_natural_order(store: ModelStore) -> None:
    assert store.versions() == ["2", "10"]
    (store.folder / "²").mkdir()  # A digit that int() does not read.
    (store.folder / "²" / GRAPH_FILE).touch()
    assert set(store.versions()) == {"2", "10", "²"}


def test_the_current_version_is_loaded_unless_another_is_named(store: ModelStore) -> None:
    assert store.load().card.version == "10"
    assert store.load("2").card.version == "2"


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_the_card_of_every_shipped_version_is_read_without_a_change(version: str) -> None:
    text = (Path(__file__).parents[2] / f"models/glasses/{version}/card.json").read_text()
    card = Card.parse(text)
    assert card == Card.parse(card.model_dump_json())
    assert json.loads(card.model_dump_json(exclude_unset=True)) == json.loads(text)
    assert (card.band.classes is None) == (version in "12")


def test_promotion_changes_the_current_version(store: ModelStore) -> None:
    store.promote("2")
    assert store.current() == "2"


def test_a_version_that_is_broken_is_not_promoted(store: ModelStore) -> None:
    (store.folder / "2/model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"the hashes differ: copy both again$"):
        store.promote("2")
    assert store.current() == "10"


def refuse(model: Model) -> None:
    raise ModelError(f"not {model.card.version}")


def test_a_version_that_does_not_pass_is_not_promoted(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="not 2"):
        store.promote("2", verify=refuse)
    assert (store.current(), store.history()) == ("10", [])


@pytest.fixture
def many(tmp_path: Path) -> ModelStore:
    """Versions 1 to 4, promoted in order."""
    store = ModelStore(tmp_path)
    for version in "1234":
        write_model(tmp_path, brightness_model(version), current=False)
        store.promote(version)
    return store


def test_former_versions_are_kept_oldest_first(many: ModelStore) -> None:
    assert (many.folder / "HISTORY").read_text() == "1\n2\n3\n"


def test_promoting_the_current_version_adds_no_history(many: ModelStore) -> None:
    many.promote("4")
    assert many.history() == ["1", "2", "3"]


def test_each_rollback_goes_back_further(many: ModelStore) -> None:
    assert [many.rollback() for _ in range(3)] == [Rollback(version, ()) for version in "321"]
    with pytest.raises(ModelError, match="no version to go back to"):
        many.rollback()
    assert many.current() == "1"


def test_a_rollback_after_rollback_and_promotion_returns_to_the_restored_version(many: ModelStore) -> None:
    many.rollback()
    many.promote("1")
    assert [many.rollback().version for _ in range(3)] == ["3", "2", "1"]


def test_rollback_skips_deleted_versions(many: ModelStore) -> None:
    for version in "32":
        shutil.rmtree(many.folder / version)
    assert many.rollback() == Rollback("1", ("3", "2"))
    with pytest.raises(ModelError, match=r"no version to go back to: promote one of 4: lensgate models promote .* 4$"):
        many.rollback()


def test_the_command_that_is_named_promotes_the_highest_version_that_can_be_loaded(many: ModelStore) -> None:
    (many.folder / "CURRENT").unlink()
    (many.folder / "4" / GRAPH_FILE).write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"promote one of 1, 2, 3, 4: lensgate models promote .* 3$"):
        many.current()
    for version in "123":
        (many.folder / version / "card.json").unlink()
    with pytest.raises(ModelError, match=r"none of 1, 2, 3, 4 can be loaded: `lensgate models list` says why$"):
        many.current()


def test_the_command_that_is_named_is_for_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/glasses").mkdir(parents=True)
    for folder in ("models", tmp_path / "models"):
        assert ModelStore(Path(folder)).promotion("4") == "lensgate models promote 4"
    assert ModelStore(Path("my models")).promotion("4") == "lensgate models promote --models 'my models' 4"


def test_a_promotion_during_a_rollback_stays(many: ModelStore) -> None:
    def promote(_: Model) -> None:
        ModelStore(many.folder.parent).promote("1")

    with pytest.raises(ModelError, match="changed by another command meanwhile"):
        many.rollback(verify=promote)
    assert (many.current(), many.history()) == ("1", ["1", "2", "3", "4"])


def test_of_two_rollbacks_at_a_time_one_is_refused(many: ModelStore) -> None:
    with pytest.raises(ModelError, match="changed by another command meanwhile"):
        many.rollback(verify=lambda _: ModelStore(many.folder.parent).rollback())
    assert (many.current(), many.history()) == ("3", ["1", "2"])


def test_promotions_wait_for_one_another(many: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Future[None]] = []

    def write(path: Path, data: bytes) -> None:
        if not begun:
            begun.append(pool.submit(ModelStore(many.folder.parent).promote, "2"))
            time.sleep(0.2)
        write_atomically(path, data)

    monkeypatch.setattr(models_module, "write_atomically", write)
    with ThreadPoolExecutor(1) as pool:
        many.promote("1")
        begun[0].result()
    assert (many.current(), many.history()) == ("2", ["1", "2", "3", "4", "1"])


def test_concurrently_created_version_is_not_overwritten(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(path: Path, data: bytes) -> None:
        (store.folder / "11/taken").mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    monkeypatch.setattr(models_module, "write_atomically", take)
    with pytest.raises(ModelError, match="11 exists, and versions are never overwritten"):
        store.add(brightness_model("11"))
    assert sorted(path.name for path in store.folder.iterdir()) == ["10", "11", "2", "CURRENT"]


def test_a_rollback_is_done_once_it_is_current_even_if_the_disk_is_full(
    many: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path, data: bytes) -> None:
        if path.name == "HISTORY":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_atomically(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(models_module, "write_atomically", fill)
        assert many.rollback().version == "3"
    assert [many.rollback().version for _ in range(2)] == ["2", "1"]


@contextmanager
def crash_after(survived: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Die in the block at the write that follows so many."""
    written: list[Path] = []

    def crash(path: Path, data: bytes) -> None:
        if len(written) == survived:
            raise KeyboardInterrupt
        written.append(path)
        write_atomically(path, data)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(models_module, "write_atomically", crash)
        yield


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_crash_of_a_rollback_after_a_crash_loses_no_version(
    many: ModelStore, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a promotion that died before CURRENT leaves it.
    (many.folder / "HISTORY").write_text("1\n2\n3\n4\n")
    with crash_after(survived, monkeypatch):
        many.rollback()
    past = {"4": ["3", "2", "1"], "3": ["2", "1"]}[many.current()]
    assert [many.rollback().version for _ in past] == past


def test_a_rollback_without_versions_changes_no_file(many: ModelStore) -> None:
    for version in "123":
        shutil.rmtree(many.folder / version)
    with pytest.raises(ModelError, match=r"deleted ones \(3, 2, 1\): there is no other version to promote"):
        many.rollback()
    assert (many.current(), many.history()) == ("4", ["1", "2", "3"])


def test_a_version_that_does_not_pass_is_not_rolled_back_to(many: ModelStore) -> None:
    (many.folder / "3/model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="hashes differ"):
        many.rollback()
    with pytest.raises(ModelError, match="not 2"):
        many.promote("2", verify=refuse)
    assert (many.current(), many.history()) == ("4", ["1", "2", "3"])


@pytest.mark.parametrize("current", [None, b"", b"../4\n", b"\xff", b"4\0"])
def test_a_broken_current_can_be_replaced(many: ModelStore, current: bytes | None) -> None:
    path = many.folder / "CURRENT"
    path.unlink() if current is None else path.write_bytes(current)
    with pytest.raises(ModelError, match="CURRENT"):
        many.current()
    assert many.rollback().version == "3"
    path.unlink() if current is None else path.write_bytes(current)
    many.promote("4")
    assert (many.current(), many.history()) == ("4", ["1", "2"])


def test_a_current_that_cannot_be_read_is_named_with_the_reason(many: ModelStore) -> None:
    path = many.folder / "CURRENT"
    path.unlink()
    with pytest.raises(ModelError, match="CURRENT does not exist: promote one of 1, 2, 3, 4"):
        many.current()
    path.symlink_to("3")
    with pytest.raises(ModelError, match=r"CURRENT cannot be read \(Is a directory\): promote one of 1, 2, 3, 4"):
        many.current()


def test_a_promotion_writes_through_links_to_files_and_replaces_others(many: ModelStore, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    for name in ("CURRENT", "HISTORY"):
        (many.folder / name).rename(shared / name)
        (many.folder / name).symlink_to(shared / name)
    many.promote("2")
    assert (shared / "CURRENT").read_text() == "2\n"
    assert (shared / "HISTORY").read_text().split() == ["1", "2", "3", "4"]
    (many.folder / "CURRENT").unlink()
    (many.folder / "CURRENT").symlink_to("3")
    many.promote("1")
    assert (many.folder / "CURRENT").read_text() == "1\n"


def test_a_history_that_cannot_be_read_is_named_with_the_reason(many: ModelStore) -> None:
    (many.folder / "HISTORY").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"HISTORY cannot be read \('utf-8' codec .*\): restore it, or move it away"):
        many.rollback()


def test_files_with_a_byte_order_mark_name_the_same_versions(many: ModelStore) -> None:
    for name in ("CURRENT", "HISTORY"):
        path = many.folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert (many.current(), many.history()) == ("4", ["1", "2", "3"])


@pytest.mark.parametrize("survived", [0, 1])
@pytest.mark.parametrize("change", [lambda store: store.promote("1"), lambda store: store.rollback()])
def test_a_crash_between_two_files_loses_no_version(
    many: ModelStore, change: Callable[[ModelStore], object], survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crash_after(survived, monkeypatch):
        change(many)
    past = {"4": ["3", "2", "1"], "3": ["2", "1"]}[many.current()]
    assert [many.rollback().version for _ in past] == past


def test_a_rollback_that_crashed_after_a_gone_version_does_not_stay_where_it_is(many: ModelStore) -> None:
    shutil.rmtree(many.folder / "3")
    (many.folder / "CURRENT").write_text("2\n")
    assert many.rollback().version == "1"


@pytest.mark.parametrize("version", ["3", "..", "../glasses/2", ""])
def test_a_version_that_is_not_there_is_refused(store: ModelStore, version: str) -> None:
    with pytest.raises(ModelError, match="there is no model"):
        store.load(version)


def test_the_error_of_a_folder_without_models_gives_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give the folder of models as --models or LENSGATE_MODELS"):
        ModelStore(tmp_path / "nowhere").load()


@pytest.mark.parametrize("url", ["s3://bucket/models", "file:///models"])
def test_the_error_of_a_url_says_that_a_folder_is_needed(url: str) -> None:
    with pytest.raises(ModelError, match="URLs are not read: copy the folder of models to this machine"):
        ModelStore(Path(url)).load()


@pytest.mark.parametrize("inside", ["glasses", "glasses/2"])
def test_a_folder_inside_the_folder_of_models_is_told_the_right_one(
    store: ModelStore, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = store.folder.parent
    for folder in (root / inside, Path()):
        monkeypatch.chdir(root / inside)
        with pytest.raises(ModelError, match=f"the folder of models is {root}$"):
            ModelStore(folder).load("2")


def deny(*_: object) -> Any:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_folder_without_permission_is_not_taken_for_an_empty_one(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(ModelError, match=r"glasses cannot be read: Permission denied$"):
        store.load("2")


def test_a_version_without_permission_is_not_taken_for_a_deleted_one(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", deny)
    monkeypatch.setattr(model_files, "read_regular", deny)
    assert store.versions() == ["2", "10"]
    with pytest.raises(ModelError, match=r"version '2' cannot be read: .*Permission denied"):
        store.load("2")


def test_an_empty_current_is_refused(store: ModelStore) -> None:
    (store.folder / "CURRENT").write_text("\n")
    with pytest.raises(ModelError, match="is empty"):
        store.load()


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_a_pointer_of_git_lfs_is_named(store: ModelStore, name: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 100\n"
    (store.folder / "2" / name).write_text(pointer)
    with pytest.raises(ModelError, match=rf"{name} is a pointer of Git LFS in place of the file: run `git lfs pull`"):
        store.load("2")


@pytest.mark.parametrize("name", ["card.json", "model.onnx"])
def test_a_model_without_one_of_its_files_is_incomplete(store: ModelStore, name: str) -> None:
    (store.folder / "2" / name).unlink()
    with pytest.raises(ModelError, match=rf"version '2' is incomplete: .*{name}"):
        store.load("2")


def test_a_card_of_another_version_is_refused(store: ModelStore) -> None:
    text = (store.folder / "10/card.json").read_text()
    (store.folder / "2/card.json").write_text(text)
    with pytest.raises(ModelError, match="version '10'"):
        store.load("2")


def test_a_card_of_a_later_release_is_named_as_such() -> None:
    fields = json.loads(brightness_model().card.model_dump_json()) | {"thresholds": {}}
    with pytest.raises(ModelError, match="thresholds: this release does not know the field: use the release that"):
        Card.parse(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"band": {"low": 0.7, "high": 0.3}}, "band"),
        ({"calibration": {"temperature": 0}}, "calibration.temperature"),
        ({"surprise": 1}, "surprise"),
        ({"reference_histogram": {"edges": [0, 1], "counts": [1, 2]}}, "reference_histogram"),
        ({"reference_histogram": {"edges": [0, 1, 1], "counts": [1, 2]}}, "reference_histogram"),
        ({"reference_histogram": {"edges": [0, 0.5, 1], "counts": [0, 0]}}, "at least one score"),
        ({"reference_histogram": {"edges": [0, 1], "counts": [9]}}, "at least two bins, from 0 to 1"),
        ({"reference_histogram": {"edges": [0.2, 0.5, 1], "counts": [9, 9]}}, "at least two bins, from 0 to 1"),
        ({"reference_histogram": {"edges": [0, 0.5, 0.9], "counts": [9, 9]}}, "at least two bins, from 0 to 1"),
        ({"reference_histogram": {"edges": [0], "counts": []}}, "at least two bins, from 0 to 1"),
        ({"version": "../1"}, "version"),
    ],
)
def test_a_card_that_is_not_valid_says_where(change: dict[str, object], named: str) -> None:
    fields = json.loads(brightness_model().card.model_dump_json())
    with pytest.raises(ModelError, match=named):
        Card.parse(json.dumps({**fields, **change}))


def test_a_card_comes_back_as_it_was_written() -> None:
    card = brightness_model().card
    assert Card.parse(card.model_dump_json()) == card


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "CURRENT"
    write_atomically(path, b"1")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    with pytest.raises(OSError, match=re.escape(str(path))), atomic_file(path) as temporary:
        temporary.write_bytes(b"2")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # A full disk names no file.
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("version", ["../evil", "v 1", "", ".hidden", "x" * 65, "CURRENT", "2"])
def test_a_version_is_added_under_a_free_and_valid_name_only(version: str, tmp_path: Path) -> None:
    write_model(tmp_path, brightness_model("2"))
    store = ModelStore(tmp_path)
    with pytest.raises(ModelError, match=r"version name|name of a file|never overwritten"):
        store.free_version(version)
    assert store.free_version() == "3"
    assert store.add(brightness_model("new")) == store.folder / "new"
    assert (store.versions(), store.current()) == (["new", "2"], "2")


def test_the_number_of_a_version_that_was_in_service_is_not_given_again(many: ModelStore) -> None:
    many.promote("2")
    for version in "34":
        shutil.rmtree(many.folder / version)
    assert many.free_version() == "5"
    (many.folder / "HISTORY").unlink()
    (many.folder / "CURRENT").write_text("7")
    assert many.free_version() == "8"


def test_the_number_of_a_version_without_its_graph_is_not_given_again(many: ModelStore) -> None:
    (many.folder / "5").mkdir()
    assert many.free_version() == "6"


def test_a_file_system_that_renames_no_folders_is_named_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets that are mounted as folders rename files alone."""
    rename = Path.rename

    def refuse_folders(self: Path, target: Path) -> Path:
        if self.is_dir():
            raise OSError(errno.ENOSYS, "Function not implemented")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_folders)
    store = ModelStore(tmp_path)
    with pytest.raises(ModelError, match="glasses/1 cannot appear at once, because its file system renames no folders"):
        store.add(brightness_model())
    assert list(store.folder.iterdir()) == []
