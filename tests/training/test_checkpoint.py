from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from tests.training.checkpoints import contents, same, small

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
