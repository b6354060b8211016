"""TIMIT's layout, on a corpus of noise that the tests write themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lsnn_gym.data as data
from lsnn_gym.data.phones import PHONES_61, TO_39, TO_48, class_names, label_of
from lsnn_gym.data.timit_files import (
    CORE_TEST_SPEAKERS,
    DEV_SPEAKERS,
    find_utterances,
    read_phones,
)
from lsnn_gym.errors import UserError
from tests.data.made_files import mini_timit, sphere

pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")

# Without SA: three sentences of each speaker.
SIZES = {"train": 9, "dev": 3, "core-test": 6, "test": 12}


@pytest.fixture(scope="module", params=["lower", "upper", "riff"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("corpus")
    inner = [phone for phone in PHONES_61 if phone != "h#"]
    return root, mini_timit(root, inner, upper=request.param == "upper", riff=request.param == "riff")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    mini_timit(tmp_path, ["sh", "iy", "q"])
    return tmp_path / "timit"


def _one(root: Path, suffix: str) -> Path:
    return root / "test" / "dr1" / "mdab0" / f"sx11{suffix}"


class TestPhones:
    def test_there_are_61_48_and_39(self) -> None:
        assert len(PHONES_61) == len(set(PHONES_61)) == 61
        assert [len(class_names(classes)) for classes in (61, 48, 39)] == [61, 48, 39]
        assert {phone for phone, folded in TO_39.items() if folded is None} == {"q"}

    def test_the_folding_is_the_usual_one(self, real_data: Path) -> None:
        table = real_data / "timit-format" / "map_61_48_39.tsv"
        if not table.is_file():
            pytest.skip(f"{table.name} is not in LSNN_GYM_DATA")
        rows = [line.split() for line in table.read_text().splitlines()]
        assert {row[0]: (row[1], row[2]) for row in rows} == {
            phone: (TO_48[phone] or "-", TO_39[phone] or "-") for phone in PHONES_61
        }

    @pytest.mark.parametrize(
        ("phone", "to_48", "to_39"),
        [
            ("tcl", "cl", "sil"),
            ("h#", "sil", "sil"),
            ("zh", "zh", "sh"),
            ("ax-h", "ax", "ah"),
            ("s", "s", "s"),
        ],
    )
    def test_examples_of_the_folding(self, phone: str, to_48: str, to_39: str) -> None:
        assert (TO_48[phone], TO_39[phone]) == (to_48, to_39)
        assert class_names(39)[label_of(39)[phone] or 0] == to_39

    def test_the_glottal_stop_is_silence_or_nothing(self) -> None:
        assert label_of(39)["q"] == class_names(39).index("sil")
        assert label_of(39, "unlabelled")["q"] is None
        assert label_of(61, "unlabelled")["q"] == class_names(61).index("q")

    def test_other_numbers_and_words_are_refused(self) -> None:
        with pytest.raises(UserError, match="classes is 40, expected 61, 48 or 39"):
            label_of(40)
        with pytest.raises(UserError, match="glottal_stop is 'sil', expected 'silence' or 'unlabelled'"):
            label_of(39, "sil")  # pyright: ignore[reportArgumentType]

    def test_standard_speakers(self) -> None:
        assert len(CORE_TEST_SPEAKERS) == 24
        assert len(DEV_SPEAKERS) == 50
        assert not CORE_TEST_SPEAKERS & DEV_SPEAKERS
        assert sum(speaker.startswith("m") for speaker in CORE_TEST_SPEAKERS) == 16


class TestCorpus:
    @pytest.mark.parametrize("split", SIZES)
    def test_splits_leave_out_sa(self, corpus: tuple[Path, dict], split) -> None:
        found = data.timit(corpus[0], split, complete=False).utterances
        assert len(found) == SIZES[split]
        assert not any("/sa" in utterance.name for utterance in found)
        assert [utterance.name for utterance in found] == sorted(utterance.name for utterance in found)
        speakers = {utterance.name.split("/")[1] for utterance in found}
        if split == "core-test":
            assert speakers == {"mdab0", "fpas0"}
        if split == "dev":
            assert speakers == {"faks0"}

    @pytest.mark.parametrize("classes", [61, 48, 39])
    def test_every_frame_has_the_phone_at_its_middle(self, corpus: tuple[Path, dict], classes) -> None:
        root, segments_of = corpus
        labels = label_of(classes)
        found = data.timit(root, "train", classes=classes, complete=False)
        assert found.classes == class_names(classes)
        for name, features, given in found.utterances:
            assert features.shape == (len(given), 39)
            assert features.dtype == np.float32
            expected = []
            for frame in range(len(given)):
                middle = 160 * frame + 200
                heard = [phone for begin, end, phone in segments_of[name] if begin <= middle < end]
                expected.append(labels[heard[0]] if heard else data.NO_LABEL)
            assert given.tolist() == expected

    def test_the_tail_has_no_label(self, corpus: tuple[Path, dict]) -> None:
        tails = [
            utterance.labels[-1] for utterance in data.timit(corpus[0], "test", complete=False).utterances
        ]
        assert data.NO_LABEL in tails

    def test_the_glottal_stop_can_be_left_out(self, corpus: tuple[Path, dict]) -> None:
        def unlabelled(glottal_stop) -> int:
            found = data.timit(corpus[0], "train", classes=39, glottal_stop=glottal_stop, complete=False)
            return sum((utterance.labels == data.NO_LABEL).sum() for utterance in found.utterances)

        assert unlabelled("unlabelled") > unlabelled("silence")

    def test_root_may_be_the_folder_itself(self, corpus: tuple[Path, dict]) -> None:
        (inner,) = corpus[0].iterdir()
        assert len(find_utterances(inner, "train")) == 9

    def test_lower_upper_and_riff_hold_the_same(self, tmp_path: Path) -> None:
        read = []
        for number, form in enumerate(({}, {"upper": True}, {"riff": True})):
            mini_timit(tmp_path / str(number), ["sh", "iy"], **form)
            read.append(data.timit(tmp_path / str(number), "dev", complete=False).utterances)
        for other in read[1:]:
            for one, two in zip(read[0], other, strict=True):
                assert one.name == two.name
                np.testing.assert_array_equal(one.features, two.features)
                np.testing.assert_array_equal(one.labels, two.labels)


class TestOnesOwnCopy:
    def test_without_one_it_says_how_to_point_to_it(self, cache: Path, tmp_path: Path) -> None:
        message = r"TIMIT is proprietary .* licence it .*LDC93S1.*\$LSNN_GYM_DATA/timit, or pass it as root"
        for verb in (data.locate, data.fetch, data.check, lambda _: data.timit(None, "train")):
            with pytest.raises(UserError, match=message):
                verb("timit")
        with pytest.raises(UserError, match=f"nowhere: no such folder. {message}"):
            data.timit(tmp_path / "nowhere", "train")
        assert not cache.exists()

    def test_it_is_found_by_the_environment_variable(self, own_folder: Path) -> None:
        mini_timit(own_folder, ["sh", "iy"])
        assert data.locate("timit") == own_folder / "timit"
        assert len(data.timit(None, "dev", complete=False).utterances) == 3

    def test_a_part_is_refused_unless_asked_for(self, small: Path) -> None:
        with pytest.raises(
            UserError, match=r"expected 3,696 utterances in 'train', found 9: not the whole corpus"
        ):
            data.timit(small, "train")

    def test_check_counts(self, own_folder: Path) -> None:
        mini_timit(own_folder, ["sh", "iy"])
        train, test = data.check("timit")
        assert str(train) == f"{own_folder / 'timit'}: expected 4,620 utterances in train, found 15"
        assert test.found == "20"

    def test_another_layout_is_refused(self, tmp_path: Path, own_folder: Path) -> None:
        with pytest.raises(UserError, match=r"no folder 'train' in it .* expected TIMIT's layout"):
            data.timit(tmp_path, "train")
        (own_folder / "timit").mkdir()
        with pytest.raises(UserError, match="the data set 'timit' lacks train and 1 more"):
            data.timit(None, "train")
        assert "no folder 'test'" in data.check("timit")[1].found

    def test_an_unknown_split_gets_the_nearest(self, small: Path) -> None:
        with pytest.raises(UserError, match="unknown split 'core_test': did you mean 'core-test'"):
            data.timit(small, "core_test")  # pyright: ignore[reportArgumentType]


class TestDamage:
    @pytest.mark.parametrize(("suffix", "lacks"), [(".wav", "sound (.wav)"), (".phn", "phones (.phn)")])
    def test_a_missing_file(self, small: Path, suffix: str, lacks: str) -> None:
        _one(small, suffix).unlink()
        with pytest.raises(UserError) as caught:
            data.timit(small, "core-test", complete=False)
        assert str(caught.value).endswith(f"mdab0: sx11 lacks its {lacks}")

    def test_truncated_sound(self, small: Path) -> None:
        content = _one(small, ".wav").read_bytes()
        _one(small, ".wav").write_bytes(content[:-10])
        with pytest.raises(UserError, match=r"sx11\.wav: truncated: expected [\d,]+ samples, found"):
            data.timit(small, "core-test", complete=False)

    def test_another_rate(self, small: Path) -> None:
        samples = np.zeros(30_000, np.int16)
        _one(small, ".wav").write_bytes(sphere(samples, sample_rate=8000))
        with pytest.raises(UserError, match=r"sx11\.wav: has 8000 samples a second, expected 16000"):
            data.timit(small, "core-test", complete=False)

    def test_phones_longer_than_the_sound(self, small: Path) -> None:
        _one(small, ".phn").write_text("0 1000000 h#\n")
        with pytest.raises(
            UserError, match=r"sx11\.phn: its last phone ends at sample 1000000, but sx11\.wav has"
        ):
            data.timit(small, "core-test", complete=False)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "truncated: no phones in it"),
            ("0 100 h#\n100 200\n", "line 2: '100 200', expected two sample numbers and a phone"),
            ("0 100 h#\n100 2O0 sh\n", "line 2: '100 2O0 sh', expected two sample numbers"),
            ("0 100 h#\n100 200 shh\n", "line 2: unknown phone 'shh': did you mean 'sh'"),
            ("0 100 h#\n120 200 sh\n", "line 2: 120 to 200, expected to begin at 100 and end later"),
            ("0 100 h#\n100 100 sh\n", "line 2: 100 to 100, expected to begin at 100 and end later"),
        ],
    )
    def test_impossible_phones(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "sx11.phn"
        path.write_text(text)
        with pytest.raises(UserError, match=rf"sx11\.phn(, |: ){message}"):
            read_phones(path)
