"""Which recordings a fold trains on and tests on."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from folds import FOLDS, WORDS, sources, text_sources

from wakeword_core.config import SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.sources import find_recordings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names as those of the real folders; the files are empty."""
    root = tmp_path_factory.mktemp("audio")
    digits = "0123456789abcdef"
    names = {f"keywords/{word}": [f"{number:04}.flac" for number in range(60)] for word in WORDS}
    names["speech/commands_en"] = [f"data-speech-clean-{one}075d273-51bb.ogg" for one in digits]
    names["speech/wake_words_en"] = [
        f"{word}-en-e9dbe{one}.ogg" for word in ("amelia", "heycomputer") for one in digits
    ]
    names["speech/not_wake_words"] = [f"notwakeword-es-{one}f{one}.ogg" for one in digits]
    names["speech/read_en"] = [f"d-train-clean-100-{n}-{n}-77-{u:04}.ogg" for n in range(100, 142) for u in (1, 2)]
    names |= {
        f"speech/{one}": [f"{number}.ogg" for number in range(4)] for one in ("read_de", "prompts_en", "prompts_es")
    }
    names["noise/esc10"] = [
        f"001_-_Dog_bark-{f}-{n}-{p}.ogg" for f in range(1, 6) for n in (100032, 4441) for p in "AB"
    ]
    names |= {"noise/ambient": [f"loop-{n}.ogg" for n in range(12)], "noise/household": ["a.ogg", "b.ogg", "c.ogg"]}
    for folder, files in names.items():
        (root / folder).mkdir(parents=True)
        for name in files:
            (root / folder / name).touch()
    return root


def split_files(root: Path, word: str, fold: int, elsewhere: bool = False) -> dict[str, list[tuple[str, str]]]:
    """(folder and file, role) of each split."""
    return files_of(root, sources(root, word, fold, elsewhere))


def files_of(root: Path, trees: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """(folder and file, role) of each split of some sources."""
    found: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for tree in trees:
        source = SourceConfig.model_validate(tree)
        folder = source.path.relative_to(root)
        assert source.split is not None
        found[source.split] += [(str(folder / file.path), source.role) for file in find_recordings(source)[0]]
    return found


@pytest.mark.parametrize("fold", range(FOLDS))
@pytest.mark.parametrize("word", WORDS)
def test_every_recording_is_in_one_split(root: Path, word: str, fold: int) -> None:
    found = split_files(root, word, fold)
    counts = Counter(path for files in found.values() for path, _ in files)
    assert set(counts.values()) == {1}
    everything = {str(path.relative_to(root)) for path in root.rglob("*.*")}
    missing = everything - set(counts)
    assert all("computer" in path for path in missing) and bool(missing) == (word == "computer")
    assert all(files for files in found.values())
    positives = {path for files in found.values() for path, role in files if role == "positive"}
    assert positives == {path for path in everything if path.startswith(f"keywords/{word}/")}


@pytest.mark.parametrize(("fold", "heard_nowhere"), [(0, "read_de"), (1, "prompts_"), (2, "commands_en")])
@pytest.mark.parametrize("word", WORDS)
def test_elsewhere_no_other_wake_word_and_not_one_whole_source_is_learnt(
    root: Path, word: str, fold: int, heard_nowhere: str
) -> None:
    found = split_files(root, word, fold, elsewhere=True)
    counts = Counter(path for files in found.values() for path, _ in files)
    assert set(counts.values()) == {1} and len(counts) == sum(map(len, split_files(root, word, fold).values()))
    strangers = (*(f"keywords/{other}/" for other in WORDS if other != word), "speech/wake_words_en/")
    learnt = [path for split in ("train", "val") for path, _ in found[split]]
    assert learnt and not [path for path in learnt if path.startswith(strangers)]
    assert {role for path, role in found["test"] if path.startswith(strangers)} == {"negative"}
    assert [path for path, _ in found["test"] if heard_nowhere in path]
    assert not [path for path in learnt if heard_nowhere in path]


@pytest.mark.parametrize("word", WORDS)
def test_every_word_and_sentence_is_tested_in_one_fold(root: Path, word: str) -> None:
    tested = Counter(path for fold in range(FOLDS) for path, _ in split_files(root, word, fold)["test"])
    assert set(tested.values()) == {1}
    assert sum(path.startswith("keywords/") for path in tested) == 180
    assert sum(path.startswith("speech/read_en") for path in tested) == 84


@pytest.mark.parametrize("fold", range(FOLDS))
def test_tested_readers_and_voices_are_heard_nowhere_else(root: Path, fold: int) -> None:
    found = split_files(root, "alexa", fold)

    def readers(split: str) -> set[str]:
        return {path.split("-")[-4] for path, _ in found[split] if path.startswith("speech/read_en")}

    assert readers("test") and readers("train")
    assert not readers("test") & (readers("train") | readers("val")) and not readers("train") & readers("val")
    voices = {"read_de": "german", "prompts_en": "allison", "prompts_es": "allison"}
    heard = {split: {voices.get(path.split("/")[1], path) for path, _ in files} for split, files in found.items()}
    assert not heard["test"] & (heard["train"] | heard["val"])


def test_the_words_own_thirds_are_contiguous(root: Path) -> None:
    test = [path for path, role in split_files(root, "jarvis", 1)["test"] if role == "positive"]
    assert sorted(test) == [f"keywords/jarvis/{number:04}.flac" for number in range(20, 40)]


def own_files(root: Path, word: str, trees: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Files of the word's own recordings by split."""
    found = files_of(root, trees)
    return {split: sorted(path for path, role in files if role == "positive") for split, files in found.items()}


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("fold", range(FOLDS))
@pytest.mark.parametrize("word", WORDS)
def test_a_word_taught_by_text_is_heard_in_the_test_alone(root: Path, word: str, fold: int, elsewhere: bool) -> None:
    trees = text_sources(root, word, fold, elsewhere)
    every = sorted(f"keywords/{word}/{number:04}.flac" for number in range(60))
    assert own_files(root, word, trees) == {"train": [], "val": [], "test": every}
    found, usual = files_of(root, trees), split_files(root, word, fold, elsewhere)
    for split, files in found.items():
        assert not [path for path, _ in files if word in path and not path.startswith(f"keywords/{word}/")]
        others = {(path, role) for path, role in files if role != "positive"}
        assert others and others == {(path, role) for path, role in usual[split] if role != "positive"}
    assert set(Counter(path for files in found.values() for path, _ in files).values()) == {1}


def test_the_first_recordings_are_learnt_and_the_same_last_ones_are_tested(root: Path) -> None:
    tested = [f"keywords/jarvis/{number:04}.flac" for number in range(24, 60)]
    for learnt in (0, 1, 10, 24):
        own = own_files(root, "jarvis", text_sources(root, "jarvis", 0, learnt=learnt, tested=0.6))
        first = [f"keywords/jarvis/{number:04}.flac" for number in range(learnt)]
        assert own == {"train": first, "val": [], "test": tested}


@pytest.mark.parametrize("learnt", [25, -1])
def test_no_recording_is_both_learnt_and_tested(root: Path, learnt: int) -> None:
    with pytest.raises(DataError, match=f"{learnt} recordings of 'jarvis' cannot be learnt from: 24 of them"):
        text_sources(root, "jarvis", 0, learnt=learnt, tested=0.6)


def test_a_wrong_fold_or_folder_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folds 0 to 2"):
        sources(root, "alexa", 3)
    with pytest.raises(DataError, match="0 FLAC files"):
        sources(tmp_path, "alexa", 0)
