"""The recorded cases are reproduced, and the check of them notices when they are not.

``LSNN_GYM_VECTORS`` names the folder of recorded cases; without it only what needs none is tested.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine import obvious_lsnn
from tests.rules import obvious_timit
from tests.vectors.__main__ import KINDS, check, main
from tests.vectors.results import Recording, Result, compare, identical

FOLDER = os.environ.get("LSNN_GYM_VECTORS")
FILES = sorted(path for kind in KINDS for path in Path(FOLDER or "/nowhere").glob(f"{kind}_*.npz"))
NEEDS_FILES = pytest.mark.skipif(not FILES, reason="LSNN_GYM_VECTORS names no folder with recorded cases")


@NEEDS_FILES
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_case_is_reproduced(path: Path):
    missed = [result for result in check(path) if not result.ok]
    assert not missed


def nudged(array: np.ndarray) -> np.ndarray:
    """Return the array with its largest entry changed by a thousandth of itself."""
    changed = array.copy()
    where = np.unravel_index(np.abs(array).argmax(), array.shape)
    changed[where] *= 1.001
    return changed


def flipped(array: np.ndarray) -> np.ndarray:
    """Return the array, of zeros and one other value, with its last entry changed to the other."""
    changed = array.copy()
    changed.flat[-1] = array.max() - array.flat[-1]
    return changed


def spoilt(array: np.ndarray) -> np.ndarray:
    """Return the array with one entry not a number."""
    changed = array.copy()
    changed.flat[changed.size // 2] = np.nan
    return changed


def shortened(array: np.ndarray) -> np.ndarray:
    """Return the array without its last row."""
    return array[:-1]


TAMPERINGS = [
    ("lsnn_07", "z", flipped),
    ("lsnn_07", "g_theta_dense_rec", nudged),
    ("lsnn_07", "g_w_in_var", shortened),
    ("lsnn_04", "dloss_dz", nudged),
    ("lsnn_06", "thr_trace", spoilt),
    ("lsnn_09", "state0_v", nudged),
    ("lsnn_01", "W_in_delayed", spoilt),
    ("deepr_01", "step0_after0", nudged),
    ("eprop_02", "learning_signal_total", nudged),
    ("eprop_06", "g_eprop_rec", nudged),
    ("eprop_07", "z", flipped),
    ("eprop_10", "adaptive_g_B", nudged),
    ("task_01", "spikes", flipped),
    ("task_02", "g_w_out", nudged),
    ("task_03", "spike_probability", nudged),
    ("tssl_01", "gcur0", nudged),
    ("tssl_05", "spk1", flipped),
    ("tssl_08", "dW1", nudged),
    ("tssl_11", "step2_Wafter2", nudged),
    ("tssl_12", "gcur", nudged),
    ("antlr_01", "output", flipped),
    ("antlr_04", "gt0", nudged),
    ("antlr_07", "gvdep1", nudged),
    ("antlr_09", "loss_nospike", nudged),
    ("antlr_11", "dW0", nudged),
    ("antlr_16", "dbraw1", nudged),
    ("strsbp_01", "lateral_factor", nudged),
    ("strsbp_03", "spikes_out_bwd", flipped),
    ("strsbp_05", "P1_released", nudged),
    ("strsbp_07", "gWR1_full", nudged),
    ("strsbp_10", "step5_WR1", nudged),
]


@NEEDS_FILES
@pytest.mark.parametrize(("case", "name", "tamper"), TAMPERINGS)
def test_tampered_file_fails(
    case: str, name: str, tamper: Callable[[np.ndarray], np.ndarray], tmp_path: Path, capsys
):
    original = next((path for path in FILES if path.name.startswith(case)), None)
    if original is None:
        pytest.skip(f"the folder holds no {case}")
    with np.load(original) as archive:
        arrays = dict(archive)
    arrays[name] = tamper(arrays[name])
    changed = tmp_path / original.name
    np.savez(changed, **arrays)
    assert main([str(original)]) == 0
    assert main([str(changed)]) == 1
    assert "FAILED" in capsys.readouterr().out


UNSEEN = [
    {"rewired": False, "dt": 0.5, "V0": 1.0},
    {"rewired": False, "dt": 1.0, "V0": 2.5, "n_refractory": 0},
    {"rewired": True, "dt": 0.5, "V0": 0.5, "n_delay": 1},
    {"rewired": True, "n_refractory": 7, "n_delay": 4},
]


@pytest.mark.parametrize("changes", UNSEEN, ids=str)
def test_run_of_the_obvious_cell_is_reproduced(changes: dict[str, Any], tmp_path: Path):
    path = tmp_path / "lsnn_99.npz"
    obvious_lsnn.record(path, **changes)
    with np.load(path) as archive:
        assert 0 < np.count_nonzero(archive["z"]) < archive["z"].size / 2
    assert [result for result in check(path) if not result.ok] == []


@pytest.mark.parametrize("stops", [False, True])
def test_run_of_the_obvious_cell_that_adapts_while_refractory_is_reproduced(stops: bool, tmp_path: Path):
    path = tmp_path / "eprop_99.npz"
    obvious_timit.record(path, stops=stops)
    assert [result for result in check(path) if not result.ok] == []


@pytest.mark.parametrize("off", [0, 1])
def test_recorded_code_of_grey_values_is_checked(off: int, tmp_path: Path):
    path = tmp_path / "antlr_99.npz"
    grey = np.arange(256)
    exact = np.where(grey > 0, 24 - np.ceil(24 * grey / 255), -1).astype(int)
    exact[90] += off
    np.savez(path, grey=grey, exact=exact)
    assert all(result.ok for result in check(path)) == (off == 0)


@NEEDS_FILES
def test_missing_array_is_named(tmp_path: Path, capsys):
    with np.load(next(path for path in FILES if path.name.startswith("lsnn"))) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "g_w_rec_var"}
    np.savez(tmp_path / "lsnn_99.npz", **arrays)
    assert main([str(tmp_path / "lsnn_99.npz")]) == 1
    assert "array 'g_w_rec_var' is missing" in capsys.readouterr().out


@NEEDS_FILES
def test_kind_is_told_by_the_arrays_where_the_name_says_nothing(tmp_path: Path):
    for kind in KINDS:
        for number, original in enumerate(path for path in FILES if path.name.startswith(kind)):
            copy = tmp_path / f"copy{number}.npz"
            copy.write_bytes(original.read_bytes())
            assert all(result.ok for result in check(copy))


def test_unknown_kind_is_refused_in_one_line(tmp_path: Path, capsys):
    np.savez(tmp_path / "other_01.npz", x=np.zeros(3))
    assert main([str(tmp_path / "other_01.npz")]) == 1
    assert "of no known kind" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_damaged_file_is_refused_in_one_line(content: bytes, tmp_path: Path, capsys):
    path = tmp_path / "lsnn_01.npz"
    path.write_bytes(content)
    assert main([str(path)]) == 1
    assert "cannot be read as .npz" in capsys.readouterr().out


def test_missing_file_is_refused_and_the_others_are_still_checked(tmp_path: Path, capsys):
    assert main([str(tmp_path / "lsnn_01.npz"), str(tmp_path / "task_01.npz")]) == 1
    assert capsys.readouterr().out.count("FAILED") == 2


def test_not_a_number_is_never_within_tolerance():
    nan = np.array([1.0, np.nan])
    assert not compare("a", nan, np.ones(2), 1e9).ok
    assert not compare("a", np.ones(2), nan, 1e9).ok
    assert not Result("a", float("nan"), float("inf")).ok
    assert not identical("a", nan, nan).ok


def test_another_shape_is_never_within_tolerance():
    assert not compare("a", np.ones(1), np.ones(2), 1e9).ok
    assert not compare("a", np.ones((2, 1)), np.ones(2), 1e9).ok


def test_error_is_relative_to_the_largest_recorded_value():
    assert compare("a", np.array([3.0, -8.0]), np.array([3.5, -8.0]), 1.0).error == 0.5 / 8
    assert compare("a", np.array([0.25]), np.array([0.0]), 1.0).error == 0.25


def test_recording_without_meta_has_no_settings(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="meta holds no thr"):
        Recording(tmp_path / "a.npz").setting("thr")
