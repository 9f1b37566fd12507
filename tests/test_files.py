"""Outputs are whole or absent."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest

from fastaed.errors import OutputError, StoreError
from fastaed.files import content_digest, input_digests, read_manifest, replacing, write_manifest


def test_result_appears_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.txt"
    with replacing(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["result.txt"]


def write_half(part: Path, interruption: type[BaseException]) -> None:
    part.mkdir()
    (part / "half").touch()
    raise interruption


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_interrupted_write_leaves_what_was_there(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(interruption), replacing(path) as part:
        write_half(part, interruption)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["store", "store/old"]


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for name in ("a", "b"):
        with replacing(path) as part:
            part.mkdir()
            (part / name).touch()
    assert [p.name for p in path.iterdir()] == ["b"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    for name in (".store.1.part", ".store.2.part", ".other.1.part"):
        (tmp_path / name).mkdir()
    (tmp_path / ".store.lock").touch()
    with replacing(tmp_path / "store") as part:
        part.mkdir()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.1.part", "store"]


def test_two_writers_take_turns(tmp_path: Path) -> None:
    """The first waits in the middle of its result until the second stands before the lock."""
    path, order = tmp_path / "store", []
    inside, waits = threading.Event(), threading.Event()

    def first() -> None:
        with replacing(path) as part:
            part.mkdir()
            inside.set()
            waits.wait(60)
            time.sleep(0.1)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(60)
    waits.set()
    with replacing(path) as part:
        order.append("second")
        part.mkdir()
    thread.join()
    assert order == ["first", "second"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_bytes_reach_the_disk_before_their_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    rename = Path.replace

    def sync(file: int) -> None:
        order.append(Path(f"/proc/self/fd/{file}").readlink().name)

    def replace(part: Path, target: Path) -> Path:
        order.append("renamed")
        return rename(part, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    with replacing(tmp_path / "store") as part:
        part.mkdir()
        (part / "chunk").write_text("x")
    assert order == ["chunk", part.name, "renamed", tmp_path.name]


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), replacing(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_faults_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), replacing(tmp_path / "x"):
        raise FileExistsError(errno.EEXIST, "ours")


def test_digest_sees_names_and_bytes_but_not_dates(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "c").mkdir(parents=True)
    (store / "c" / "0").write_bytes(b"abc")
    before = content_digest(store)
    os.utime(store / "c" / "0", (1, 1))
    (store / ".snakemake_timestamp").touch()
    assert content_digest(store) == before
    (store / "c" / "0").write_bytes(b"abd")
    changed = content_digest(store)
    (store / "c" / "0").rename(store / "c" / "1")
    assert len({before, changed, content_digest(store)}) == 3


def test_manifest_round_trip_and_damage(tmp_path: Path) -> None:
    store = tmp_path / "s"
    store.write_text("x")
    path = tmp_path / "s.json"
    write_manifest(path, "evaluate", {"a": 1}, store, {"01": 20}, source="somewhere")
    manifest = read_manifest(path)
    assert (manifest["settings"], manifest["clips"], manifest["source"]) == (
        {"a": 1},
        {"01": 20},
        "somewhere",
    )
    assert manifest["content"] == content_digest(store)
    path.write_text(path.read_text()[:30])
    with pytest.raises(StoreError, match="not a readable manifest"):
        read_manifest(path)
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        read_manifest(path)
    with pytest.raises(StoreError, match="is missing"):
        read_manifest(tmp_path / "no.json")


def test_inputs_are_recorded_by_their_manifests_or_their_bytes(tmp_path: Path) -> None:
    store, weights, foreign, nothing = (tmp_path / name for name in ("s.zarr", "w.safetensors", "f.npy", "x"))
    store.mkdir()
    (store / "chunk").write_text("pixels")
    write_manifest(tmp_path / "s.json", "decode", {}, store, {"s": 1})
    for file in (weights, foreign):
        file.write_text(file.name)
    (tmp_path / "f.json").write_text("[]")  # somebody's own, not a manifest
    nothing.mkdir()
    digests = input_digests([store, weights, foreign, nothing])
    assert digests == {str(path): content_digest(path) for path in (store, weights, foreign)}
    (tmp_path / "s.json").write_bytes(b"")  # the power went
    with pytest.raises(StoreError, match=r"s\.json is not a readable manifest .*; delete it"):
        input_digests([store])
    write_manifest(tmp_path / "s.json", "decode", {}, store, {"s": 1})
    (store / "chunk").write_text("others")  # unnoticed: the manifest speaks for the store
    assert input_digests([store]) == {str(store): digests[str(store)]}


def test_a_package_that_is_not_installed_has_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage's own environment holds what that stage needs and nothing else."""
    monkeypatch.setattr("fastaed.files._RECORDED_PACKAGES", ("numpy", "no-such-package"))
    write_manifest(tmp_path / "m.json", "decode", {}, tmp_path, {})
    versions = read_manifest(tmp_path / "m.json")["versions"]
    assert versions["no-such-package"] is None
    assert versions["numpy"]
