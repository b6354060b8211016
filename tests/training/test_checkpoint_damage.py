"""Damaged checkpoints: each is refused in one line that names the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.training.checkpoint import load_checkpoint, save_checkpoint
from tests.training.checkpoints import refusal, same, small


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
