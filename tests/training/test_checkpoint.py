from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint


def small(iteration: int = 3, fill: float = 1.5) -> Checkpoint:
    return Checkpoint(
        iteration,
        {"w": torch.full((3, 2), fill), "b": torch.arange(2)},
        {"adam/w": torch.full((3, 2), fill / 3), "generator": torch.arange(9, dtype=torch.uint8)},
        {"best": 0.1 + 0.2, "nested": {"list": [1, "two", None, True]}},
    )


def same(left: Checkpoint, right: Checkpoint) -> bool:
    return (
        left.iteration == right.iteration
        and left.scalars == right.scalars
        and all(
            a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)
            for a, b in ((left.model, right.model), (left.training, right.training))
        )
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refusal(path: Path) -> str:
    before = contents(path.parent)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert contents(path.parent) == before, "loading must change nothing"
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Round trips -------------------------------------------------------------------------------------


INTEGERS = ["bool", "uint8", "int8", "int16", "int32", "int64"]
DTYPES = [*INTEGERS, "float16", "bfloat16", "float32", "float64", "complex64"]


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in DTYPES], ids=DTYPES)
def test_every_dtype_and_layout_survives(tmp_path: Path, dtype: torch.dtype):
    base = (torch.arange(24).reshape(4, 6) % 5).to(dtype)
    tensors = {
        "plain": base,
        "transposed": base.T,
        "strided": base[::2, 1::2],
        "expanded": base[:1].expand(5, 6),
        "shared": base,
        "overlapping": base[1:],
        "scalar": base[2, 3],
        "empty": base[:0],
        "conjugate": base.conj(),
        "parameter": torch.nn.Parameter(base, requires_grad=False),
    }
    found = load_checkpoint(save_checkpoint(tmp_path, Checkpoint(1, tensors, {"twin": base}))).model
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor.detach()), name
    found["plain"][0, 0] = 1  # own, writable memory
    assert torch.equal(found["shared"], base)


def test_special_values_survive_bit_for_bit(tmp_path: Path):
    values = torch.tensor([math.nan, -math.nan, math.inf, -0.0, 5e-324], dtype=torch.float64)
    scalars = {
        "inf": -math.inf,
        "tiny": 5e-324,
        "third": 1 / 3,
        "negative zero": -0.0,
        "big": 2**127 + 1,
        "text": "é\n\0",
        "none": None,
        "flag": True,
        "empty": {},
        "deep": [[{"a": [1.0, 2]}]],
    }
    path = save_checkpoint(tmp_path, Checkpoint(1, {"v": values}, {}, {**scalars, "nan": math.nan}))
    found = load_checkpoint(path)
    assert torch.equal(found.model["v"].view(torch.int64), values.view(torch.int64))
    assert math.isnan(found.scalars["nan"])
    rest = {key: value for key, value in found.scalars.items() if key != "nan"}
    assert rest == scalars
    assert math.copysign(1, rest["negative zero"]) == -1
    assert type(rest["deep"][0][0]["a"][0]) is float
    assert type(rest["deep"][0][0]["a"][1]) is int
    assert found.training == {}


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path):
    first = save_checkpoint(tmp_path / "a", small())
    second = save_checkpoint(tmp_path / "b", small())
    assert contents(first) == contents(second)
    assert sorted(contents(first)) == ["model.safetensors", "progress.json", "training.safetensors"]
    progress = json.loads((first / "progress.json").read_text())
    assert (progress["format"], progress["format_version"]) == ("lsnn_gym-checkpoint", 1)
    digest = hashlib.sha256((first / "model.safetensors").read_bytes()).hexdigest()
    assert progress["files"]["model.safetensors"]["sha256"] == digest


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ((1, 2), "scalars['x'] is of type tuple"),
        ({1: 2}, "scalars['x'] is of type dict"),
        ([0, {"a": {1}}], "scalars['x'][1]['a'] is of type set"),
        (torch.ones(1), "scalars['x'] is of type Tensor"),
        (object(), "scalars['x'] is of type object"),
    ],
)
def test_scalars_that_would_not_come_back_are_refused(tmp_path: Path, value: Any, where: str):
    with pytest.raises(TypeError) as caught:
        save_checkpoint(tmp_path, Checkpoint(1, {}, {}, {"x": value}))
    assert str(caught.value).startswith(where)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("iteration", "keep"), [(-1, 3), (1, 0)])
def test_nonsense_arguments(tmp_path: Path, iteration: int, keep: int):
    with pytest.raises(ValueError, match="must be at least 1"):
        save_checkpoint(tmp_path, Checkpoint(iteration, {}), keep)


# Which are kept ----------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_are_kept(tmp_path: Path):
    folder = tmp_path / "run" / "checkpoints"
    assert latest_checkpoint(folder) is None
    paths = [save_checkpoint(folder, small(iteration), keep=2) for iteration in (0, 5, 10, 99_999_999)]
    assert names(folder) == ["00000010", "99999999"]
    assert latest_checkpoint(folder) == paths[-1]
    last = save_checkpoint(folder, small(100_000_000), keep=2)
    assert last.name == "100000000"
    assert latest_checkpoint(folder) == last


def test_saving_an_iteration_again_replaces_it(tmp_path: Path):
    save_checkpoint(tmp_path, small(4))
    save_checkpoint(tmp_path, small(5, fill=1))
    for fill in (2, 3):
        path = save_checkpoint(tmp_path, small(5, fill))
        assert same(load_checkpoint(path), small(5, fill))
        assert latest_checkpoint(tmp_path) == path
    assert names(tmp_path) == ["00000004", "00000005.2"]


def test_going_on_from_an_earlier_point_drops_the_abandoned_course(tmp_path: Path):
    for iteration in (1, 2, 3):
        save_checkpoint(tmp_path, small(iteration))
    path = save_checkpoint(tmp_path, small(2, fill=7), keep=1)
    assert names(tmp_path) == ["00000002.1"]
    assert same(load_checkpoint(path), small(2, fill=7))


def test_strangers_in_the_folder_are_ignored(tmp_path: Path):
    save_checkpoint(tmp_path, small(1))
    for name in ("notes", "123", "00000009.tmp", "00000009x", ".00000009"):
        (tmp_path / name).mkdir()
    (tmp_path / "00000010").write_text("a file")
    assert latest_checkpoint(tmp_path) == tmp_path / "00000001"
    save_checkpoint(tmp_path, small(2), keep=1)
    assert latest_checkpoint(tmp_path) == tmp_path / "00000002"
    assert {"notes", "123", "00000009.tmp", "00000009x", "00000010"} <= set(names(tmp_path))


def test_leftovers_of_a_killed_process_are_ignored_then_cleared(tmp_path: Path):
    save_checkpoint(tmp_path, small(1))
    leftover = tmp_path / ".00000002.0123456789ab.tmp"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) == tmp_path / "00000001"
    save_checkpoint(tmp_path, small(2))
    assert names(tmp_path) == ["00000001", "00000002"]


def test_unwritable_places(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write .*/file/checkpoints/00000003: Not a directory$"):
        save_checkpoint(tmp_path / "file" / "checkpoints", small())
    with pytest.raises(UserError, match=r"^cannot read .*/file: Not a directory$"):
        latest_checkpoint(tmp_path / "file")


def test_a_failed_write_leaves_the_earlier_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_checkpoint(tmp_path, small(1))
    before = contents(tmp_path)
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^cannot write .*00000002: No space left on device$"):
        save_checkpoint(tmp_path, small(2), keep=1)
    assert contents(tmp_path) == before


def test_death_while_removing_old_ones_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for iteration in (1, 2):
        save_checkpoint(tmp_path, small(iteration))

    class DeathError(Exception):
        pass

    def die_half_way(path: Path, ignore_errors: bool = False) -> None:
        if path.is_dir():
            (path / "model.safetensors").unlink()
            raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die_half_way)
        with pytest.raises(DeathError):
            save_checkpoint(tmp_path, small(3), keep=1)
    whole = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert {load_checkpoint(path).iteration for path in whole} == {2, 3}
    save_checkpoint(tmp_path, small(4), keep=1)
    assert names(tmp_path) == ["00000004"]


# Damage ------------------------------------------------------------------------------------------


def test_truncation_anywhere_is_one_line(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    for file in path.iterdir():
        whole = file.read_bytes()
        for length in [*range(0, len(whole), 7), len(whole) - 1]:
            file.write_bytes(whole[:length])
            if file.name == "progress.json" and length == len(whole) - 1:
                assert same(load_checkpoint(path), small())  # only the last line end is gone
                continue
            text = refusal(path)
            assert str(file) in text
            if file.suffix == ".safetensors":
                expected = f"{file} is truncated: found {length} bytes, expected {len(whole)}"
                assert text == expected
            else:
                assert text == f"{file} is damaged: found {length} bytes that are no whole JSON text"
        file.write_bytes(whole)
    assert same(load_checkpoint(path), small())


def readable(path: Path) -> bool:
    with contextlib.suppress(UserError):
        return bool(load_checkpoint(path))
    return False


def test_any_flipped_bit_is_found(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    flips = random.Random(0)
    for file in path.iterdir():
        whole = file.read_bytes()
        for position in range(len(whole)):
            bit = flips.randrange(8)
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            file.write_bytes(changed)
            # A space may become another space, a float's last digit one that rounds to the same float.
            if file.name == "progress.json" and readable(path):
                assert same(load_checkpoint(path), small())
            else:
                assert str(file) in refusal(path)
        file.write_bytes(whole)


def test_longer_file(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    file = path / "training.safetensors"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"x")
    assert refusal(path) == f"{file} is damaged: found {size + 1} bytes, expected {size}"


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "progress.json"])
def test_missing_file(tmp_path: Path, name: str):
    path = save_checkpoint(tmp_path, small())
    (path / name).unlink()
    assert refusal(path) == f"{path / name} is missing from the checkpoint"


def test_swapped_files(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    other = save_checkpoint(tmp_path / "other", small(fill=9.0))
    (other / "model.safetensors").rename(path / "model.safetensors")
    assert refusal(path).startswith(f"{path}/model.safetensors is damaged: found checksum ")


def rewrite(path: Path, *, signed: bool, **changes: Any) -> Path:
    file = path / "progress.json"
    progress = {**json.loads(file.read_text()), **changes}
    if signed:
        covered = {key: value for key, value in progress.items() if key != "sha256"}
        canonical = json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()
        progress["sha256"] = hashlib.sha256(canonical).hexdigest()
    file.write_text(json.dumps(progress))
    return file


def test_newer_version(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    file = rewrite(path, signed=True, format_version=2)
    assert refusal(path) == (
        f"{file}: found format_version 2, expected 1 (written by a newer lsnn_gym: upgrade to read it)"
    )
    rewrite(path, signed=True, format_version="1")
    assert refusal(path) == f"{file}: found format_version '1', expected 1"
    rewrite(path, signed=True, format_version=True)
    assert refusal(path) == f"{file}: found format_version True, expected 1"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"format": "other-checkpoint", "format_version": 1}', "'other-checkpoint'"),
        ("{}", "None"),
        ("[1, 2]", "None"),
        ("null", "None"),
        ('{"format": "' + "long\\n" * 100 + '"}', "'"),
    ],
)
def test_foreign_json(tmp_path: Path, text: str, found: str):
    path = save_checkpoint(tmp_path, small())
    file = path / "progress.json"
    file.write_text(text)
    message = refusal(path)
    assert message.startswith(f"{file} is no checkpoint's: found format {found}")
    assert message.endswith(", expected 'lsnn_gym-checkpoint'")
    assert len(message) < len(str(file)) + 150


def test_json_nested_without_end(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    (path / "progress.json").write_text("[" * 200_000)
    assert "is damaged" in refusal(path)


def test_a_damaged_version_is_not_taken_for_a_newer_one(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    file = rewrite(path, signed=False, format_version=3)
    assert refusal(path).startswith(f"{file} is damaged: found checksum ")
    file.write_text(file.read_text().replace('"sha256": ', '"sha257": '))
    assert (
        refusal(path)
        == f"{file}: found format_version 3, expected 1 (written by a newer lsnn_gym: upgrade to read it)"
    )


def test_changed_scalar(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    file = rewrite(path, signed=False, iteration=4)
    assert refusal(path).startswith(f"{file} is damaged: found checksum ")


def test_well_signed_nonsense(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    progress: dict[str, Any] = {"format": "lsnn_gym-checkpoint", "format_version": 1}
    canonical = json.dumps(progress, sort_keys=True, separators=(",", ":")).encode()
    progress["sha256"] = hashlib.sha256(canonical).hexdigest()
    (path / "progress.json").write_text(json.dumps(progress))
    assert refusal(path) == f"{path}/progress.json is not laid out as expected: 'files'"


def test_an_older_whole_checkpoint_is_named(tmp_path: Path):
    paths = [save_checkpoint(tmp_path, small(iteration), keep=9) for iteration in (1, 2, 3, 4)]
    (paths[1] / "model.safetensors").unlink()
    (paths[2] / "model.safetensors").write_bytes(b"")
    text = refusal(paths[2])
    assert text.startswith(f"{paths[2]}/model.safetensors is truncated: found 0 bytes, expected ")
    assert text.endswith(f"; an older checkpoint is whole: {paths[0]}")
    alone = save_checkpoint(tmp_path / "alone", small()).with_name("00000002")
    assert refusal(alone) == f"no checkpoint at {alone}"
    missing = tmp_path / "00000009"
    assert refusal(missing) == f"no checkpoint at {missing}; an older checkpoint is whole: {paths[3]}"


def test_loading_a_pickle_runs_nothing(tmp_path: Path):
    path = save_checkpoint(tmp_path, small())
    torch.save(small().model, path / "model.safetensors")
    assert "is damaged" in refusal(path) or "is truncated" in refusal(path)
