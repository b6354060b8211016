"""What fuzzing has found: one test for each kind of crash that was mended."""

from __future__ import annotations

import gzip
import json
import re
import struct
import tracemalloc
import wave
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import lsnn_gym.envs  # noqa: F401 (registers them)
from lsnn_gym.comparison import load_comparison
from lsnn_gym.data.archives import unpacked
from lsnn_gym.data.idx import read_idx
from lsnn_gym.data.sound_files import read_sound
from lsnn_gym.data.timit_files import read_phones
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_from
from lsnn_gym.plain_yaml import parse_yaml
from lsnn_gym.tensor_files import read_tensors
from lsnn_gym.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lsnn_gym.training.loop import resume
from lsnn_gym.training.optimization import make_checkpoint, restore_checkpoint
from lsnn_gym.training.results import read_results
from lsnn_gym.training.run_folder import RunFolder
from tests.data.made_files import sphere, wav, zip_of
from tests.fuzz.run_targets import trained

LINE = r"^[^\n]{1,1500}$"
SAMPLES = np.arange(8, dtype=np.int16)


def refused(call: Any, *arguments: Any, match: str = "") -> None:
    with pytest.raises(UserError, match=match) as caught:
        call(*arguments)
    assert re.match(LINE, str(caught.value)), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1, str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_takes_no_memory_for_what_its_header_claims(tmp_path: Path, zipped: bool):
    path, content = tmp_path / "a", b"\0\0\x08\x01" + (1 << 31).to_bytes(4, "big") + bytes(100)
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    try:
        refused(read_idx, path, match="truncated IDX file: expected 2,147,483,648 bytes")
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_idx_of_nothing_that_is_too_large_all_the_same(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"\0\0\x0e\x03" + b"\0\0\0\0" + b"\xff\xff\xff\xff" * 2)
    refused(read_idx, tmp_path / "a", match="more than an IDX file may have")


@pytest.mark.parametrize("axes", [33, 65, 255])
def test_idx_of_more_axes_than_arrays_have(tmp_path: Path, axes: int):
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, axes]) + b"\0\0\0\1" * axes + b"x")
    refused(read_idx, tmp_path / "a", match="the number of axes, at most 32")


@pytest.mark.parametrize(
    "line", ["0 " + "9" * 5000 + " h#", f"0 {2**63} h#", "0 1 " + "x" * 5000, "y" * 5000]
)
def test_phones_with_endless_words(tmp_path: Path, line: str):
    (tmp_path / "a.phn").write_text(line)
    refused(read_phones, tmp_path / "a.phn", match="line 1")


def test_a_wav_whose_chunk_ends_before_it_begins(tmp_path: Path):
    content = bytearray(wav(SAMPLES))
    for at in range(4, 44):  # wherever a length is
        for number in (0, 1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF):
            damaged = content[:at] + struct.pack("<I", number) + content[at + 4 :]
            (tmp_path / "a.wav").write_bytes(damaged)
            try:
                assert read_sound(tmp_path / "a.wav").rate_hz > 0
            except UserError as error:
                told = str(error)
            else:
                continue
            assert told.startswith(str(tmp_path / "a.wav"))


def test_python_s_reader_of_wav_has_errors_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError

    (tmp_path / "a.wav").write_bytes(wav(SAMPLES))
    monkeypatch.setattr(wave, "open", broken)
    refused(read_sound, tmp_path / "a.wav", match="truncated or damaged RIFF file")


@pytest.mark.parametrize(
    "content", [sphere(SAMPLES, sample_rate=0), wav(SAMPLES, 1)[:24] + bytes(4) + wav(SAMPLES, 1)[28:]]
)
def test_sound_of_no_samples_a_second(tmp_path: Path, content: bytes):
    (tmp_path / "a").write_bytes(content)
    refused(read_sound, tmp_path / "a", match="its rate is 0")


def test_sphere_with_an_endless_number(tmp_path: Path):
    (tmp_path / "a").write_bytes(sphere(SAMPLES, sample_count="9" * 500))
    refused(read_sound, tmp_path / "a", match="sample_count is '999")


def test_a_zip_with_a_name_of_no_letters(tmp_path: Path):
    archive = zip_of(tmp_path / "a.zip", {"x": b"x"})
    content = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
        begin = content.index(signature)
        content[begin + at : begin + at + 2] = (
            b"\0\0"  # the name's length; its letter becomes part of the rest
        )
        extra = begin + at + 2
        content[extra : extra + 2] = b"\1\0"
    archive.write_bytes(content)

    def unpack() -> None:
        with unpacked(archive, tmp_path):
            pass

    refused(unpack, match=str(archive))


def test_names_in_archives_that_are_no_text(tmp_path: Path):
    archive = zip_of(tmp_path / "a.zip", {"ü": b"x"})
    archive.write_bytes(archive.read_bytes().replace("ü".encode(), b"\xff\xff"))

    def unpack() -> None:
        with unpacked(archive, tmp_path):
            pass

    refused(unpack, match="truncated or damaged archive")


@pytest.mark.parametrize(
    "text",
    [
        '"\\UFFFFFFFF"',
        '"\\U80000000": 1',
        "!" + "x" * 9000 + " y",
        "'" + "k" * 9000 + "': 1\n'" + "k" * 9000 + "': 1",
    ],
)
def test_yaml_with_characters_and_words_that_are_too_large(text: str):
    refused(parse_yaml, text, "here", match="^here")


def test_experiments_whose_names_make_none_for_a_comparison(tmp_path: Path):
    for number in (1, 2):
        (tmp_path / f"{number}.yaml").write_text(f"name: 'of {number}'\ntask: {{kind: store-recall}}\n")
    refused(
        load_comparison,
        [str(tmp_path / "1.yaml"), str(tmp_path / "2.yaml")],
        (),
        (),
        match="name is 'of 1-of 2'",
    )


@pytest.mark.parametrize(("dtype", "shape"), [("F8_E8M0", [0]), ("F4", [0]), ("F32", [0, 2**63])])
def test_tensors_that_pytorch_has_not(tmp_path: Path, dtype: str, shape: list[int]):
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(read_tensors, path, match=re.escape(str(path)))


@pytest.mark.parametrize("iteration", [-1, 2**62, "3", 3.0, True, None])
def test_a_checkpoint_of_no_iteration(tmp_path: Path, iteration: Any, monkeypatch: pytest.MonkeyPatch):
    path = save_checkpoint(tmp_path, Checkpoint(3, {}))
    forged(path, lambda progress: progress | {"iteration": iteration})
    refused(load_checkpoint, path, match="progress.json is not laid out as expected: found iteration")


def test_a_checkpoint_whose_scalars_are_no_object(tmp_path: Path):
    path = save_checkpoint(tmp_path, Checkpoint(3, {}))
    forged(path, lambda progress: progress | {"scalars": [1]})
    refused(load_checkpoint, path, match="not laid out as expected")


def forged(path: Path, change: Any) -> None:
    """Change a checkpoint's progress, and put its checksum right, as an attacker can."""
    from lsnn_gym.training.checkpoint import _progress_sha256

    file = path / "progress.json"
    progress = change(json.loads(file.read_text()))
    file.write_text(json.dumps(progress | {"sha256": _progress_sha256(progress)}))


def without(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        (lambda told: 3.5, "no optimiser state: found keys"),
        (lambda told: told | {"shapes": 3}, "is not laid out as expected: shapes"),
        (lambda told: told | {"groups": 3}, "is not laid out as expected: groups"),
        (
            lambda told: told | {"groups": [{"params": ["weight"]}]},
            r"is not laid out as expected: groups\.0\.values",
        ),
        (lambda told: told | {"state": {"x": {}}}, "unknown parameter 'x'"),
        (
            lambda told: told | {"groups": [told["groups"][0] | {"values": {"lr": "high"}}]},
            "has lr 'high', expected a value like",
        ),
        (
            lambda told: told | {"groups": [told["groups"][0] | {"values": {"betas": [0.9]}}]},
            r"has betas \[0.9\]",
        ),
        (
            lambda told: told | {"groups": [told["groups"][0] | {"values": {"amsgrad": True}}]},
            "has amsgrad True",
        ),
        (lambda told: told | {"optimizer": "A" * 9000}, "is of AAA"),
    ],
)
def test_an_optimiser_s_values_of_other_kinds(scalars: Any, message: str):
    module, optimizer = trained()
    made = make_checkpoint(3, module, optimizer)
    wrong = Checkpoint(3, made.model, made.training, {"optimizer": scalars(made.scalars["optimizer"])})
    refused(restore_checkpoint, wrong, module, optimizer, match=message)


@pytest.mark.parametrize("name", ["weight/exp_avg", "weight/exp_avg_sq", "weight/step", "bias/exp_avg"])
@pytest.mark.parametrize("value", [None, torch.zeros(7), torch.zeros(3, 2, dtype=torch.int64)])
def test_an_optimiser_s_tensors_that_it_could_not_go_on_with(name: str, value: Any):
    module, optimizer = trained()
    made = make_checkpoint(3, module, optimizer)
    training = without(dict(made.training), name) | ({} if value is None else {name: value})
    refused(
        restore_checkpoint,
        Checkpoint(3, made.model, training, made.scalars),
        module,
        optimizer,
        match="which cannot be",
    )


def test_what_a_trainer_cannot_make_sense_of_is_a_line(tmp_path: Path):
    class Trainer:
        finished_iterations = 0

        def restore(self, checkpoint: Checkpoint) -> None:
            self.finished_iterations = checkpoint.scalars["epoch"]["number"]

    save_checkpoint(tmp_path / "checkpoints", Checkpoint(3, {}, {}, {"epoch": 3}))
    trainer: Any = Trainer()
    refused(
        resume, trainer, RunFolder(tmp_path), match="is not laid out as this run's checkpoints: TypeError"
    )


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_results_that_are_none(tmp_path: Path, content: bytes):
    (tmp_path / "results.json").write_bytes(content)
    refused(read_results, RunFolder(tmp_path), match="results.json is damaged")


@pytest.mark.parametrize(
    "action", [10**400, [10**400], [[10**400]], [[1], [2, 3]], 1 + 2j, "1", b"1", None, [None]]
)
@pytest.mark.parametrize("env_id", ["GoalReaching-v0", "FunctionRegression-v0", "BernoulliBandits-v0"])
def test_actions_that_are_no_numbers(env_id: str, action: Any):
    env = gym.make(f"lsnn_gym/{env_id}").unwrapped
    env.reset(seed=1)
    with pytest.raises(ValueError, match="an action must"):
        env.step(action)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("GoalReaching-v0", {"goal": [10**400, 0]}),
        ("WaterMaze-v0", {"position": [10**400, 0]}),
        ("BernoulliBandits-v0", {"means": [10**400] * 2}),
    ],
)
def test_reset_options_too_large_for_a_number(env_id: str, options: Any):
    with pytest.raises(ValueError, match="must be"):
        gym.make(f"lsnn_gym/{env_id}").unwrapped.reset(options=options)


@pytest.mark.parametrize("break_", ["\n", "\r", "\x0b", "\x85", "\u2028"])
def test_a_key_with_a_line_break_is_refused_in_one_line(break_: str):
    refused(experiment_from, {"name": "a", f"ta{break_}sk": {}}, "some.yaml", match="some.yaml")
    refused(experiment_from, {"name": "a", "train": {f"a{break_}" * 100: 1}}, "some.yaml", match="some.yaml")


def test_an_option_that_is_off_may_be_none_and_one_that_is_on_may_not():
    module, optimizer = trained()
    made = make_checkpoint(3, module, optimizer)
    told = made.scalars["optimizer"]
    values = told["groups"][0]["values"]
    assert values["amsgrad"] is False

    def with_amsgrad(value: Any) -> Checkpoint:
        group = told["groups"][0] | {"values": {**values, "amsgrad": value}}
        return Checkpoint(3, made.model, made.training, {"optimizer": {**told, "groups": [group]}})

    restore_checkpoint(with_amsgrad(None), module, optimizer)
    refused(restore_checkpoint, with_amsgrad(True), module, optimizer, match="has amsgrad True")
