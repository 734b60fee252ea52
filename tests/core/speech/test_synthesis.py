import json
import re
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import SPLITS, Config, DataConfig, SynthesisConfig
from wakeword_core.config.globs import glob_regex
from wakeword_core.errors import DataError, MissingDependencyError, WakewordError
from wakeword_core.files import hash_file
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.recordings.sources import find_recordings
from wakeword_core.speech import people, rendering, synthesis
from wakeword_core.speech.confusables import confusable_phrases
from wakeword_core.speech.delivery import Delivery
from wakeword_core.speech.engines import EngineSettings, hibari, make_engine
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.engines.kokoro import all_voices
from wakeword_core.speech.phonetics import PhraseGuard
from wakeword_core.speech.plan import Around, Cast, Said, plan, plan_speech
from wakeword_core.speech.pronunciation import Pronunciations
from wakeword_core.speech.quality import measure
from wakeword_core.speech.rendering import Recording, render
from wakeword_core.speech.script import write_script
from wakeword_core.speech.synthesis import synthesize, synthesize_phrase, synthetic_sources
from wakeword_core.store.parts import Parts

RATE = 16_000
SMALL = SynthesisConfig(positives=16, hard_negatives=12, negatives=8, background_minutes=0.5)


@pytest.fixture(scope="module", autouse=True)
def _engines():
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("hibari")


@pytest.fixture
def cache(tmp_path):
    with closing(ScanCache(tmp_path / "scans")) as cache:
        yield cache


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    seen: list[tuple[int, int]] = []
    report = lambda _, done, total: seen.append((done, total))  # noqa: E731
    summary = synthesize("hey robin", SMALL, RATE, 1, out, out / "cache", report, workers=1)
    return out, summary, seen


def cast_of(config):
    engines = {"espeak": EspeakEngine()}
    return Cast(engines, config, 1, Delivery(("hey robin",), Pronunciations(), config, 1))


def hashes(folder):
    return {str(path.relative_to(folder)): hash_file(path) for path in sorted(folder.rglob("*.flac"))}


def test_files_figures_and_progress_agree(made):
    out, summary, seen = made
    assert summary.recordings == {"noise": 10, "background": 10, "positive": 16, "hard_negative": 12, "negative": 8}
    assert json.loads(json.dumps(asdict(summary))) == asdict(summary)
    found = hashes(out)
    assert len(found) == len(set(found.values())) == 56
    assert (
        seen[0] == (0, 56) and seen[-1] == (56, 56) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    )
    seconds = sum(soundfile.info(path).duration for path in (out / "positive").iterdir())
    assert summary.seconds["positive"] == pytest.approx(seconds, abs=0.01)
    assert summary.speakers["positive"] == 16


def test_recordings_are_sound_at_the_rate_with_quiet_around(made):
    out, _, _ = made
    for path in (out / "positive").iterdir():
        x, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE and np.abs(x).max() < 0.96
        loud = np.flatnonzero(np.abs(x) > 0.1 * np.abs(x).max()) / rate
        assert 0.19 < loud[0] < 0.75 and 0.19 < len(x) / rate - loud[-1] < 1.2
        assert 0.2 < loud[-1] - loud[0] < 1.5
        # A noise floor, not digital silence.
        assert 1e-5 < x[: RATE // 10].std() < 0.01


def test_sources_list_everything_once(made):
    out, summary, _ = made
    sources = synthetic_sources(out)
    names = [source.name for source in sources]
    assert len(set(names)) == len(names) and all(name.startswith("synthetic") for name in names)
    assert all(source.path.is_absolute() and source.licence for source in sources)
    listed = [source.path / file.path for source in sources for file in find_recordings(source)[0]]
    assert len(listed) == len(set(listed)) == sum(summary.recordings.values())
    assert {source.split for source in sources if source.role == "noise"} == {"train", "val", "test"}
    positives = {source.licence: source for source in sources if source.role == "positive"}
    assert [source.label for source in positives.values()] == ["hey robin", "hey robin"]
    assert any("espeak-ng" in licence for licence in positives) and any("hibari" in licence for licence in positives)


def test_the_one_neural_voice_is_on_one_side(made):
    sides = {source.split for source in synthetic_sources(made[0]) if source.name.endswith("hibari")}
    assert sides == {"train"}


def test_it_is_on_that_side_also_where_nobody_else_speaks(tmp_path):
    """Of one recording with other speech around it, the one voice is all there is, and is learnt from all the same."""
    config = SynthesisConfig(**NOTHING | {"positives": 8, "carrier_share": 0.1, "engines": SMALL.engines})

    def carried_by(seed):
        cast = Cast({"espeak": EspeakEngine(), "hibari": hibari.HibariEngine()}, config, seed)
        around = Around(["I said"], ["stop that"], PhraseGuard(["hey robin"]))
        said = [Said("positive", "positive", ["hey robin"], config.positives, around=around)]
        return {item.engine for item in plan(said, config, cast, seed, []).utterances if item.before or item.after}

    seed = next(seed for seed in range(100) if carried_by(seed) == {"hibari"})
    synthesize("hey robin", config, RATE, seed, tmp_path, tmp_path)
    sides = {source.name: source.split for source in synthetic_sources(tmp_path) if source.name.endswith("_hibari")}
    assert sides == {"synthetic_positive_hibari": "train", "synthetic_carriers_positive_hibari": "train"}


def test_voices_that_are_held_in_splits_are_in_sources_of_those(tmp_path):
    config = SynthesisConfig(engines={"espeak": 0.3, "hibari": 0.1, "kokoro": 0.6}, positives=200, hard_negatives=30)
    given = EngineSettings(config, tmp_path)
    cast = Cast({name: make_engine(name, given) for name in config.engines}, config, 1)
    script = [Said("positive", "positive", ["hey robin"], config.positives, "hey robin")]
    script.append(Said("hard_negative", "hard_negative", ["hey rob"], config.hard_negatives))
    planned = plan(script, config, cast, 1, ["It rains."])
    entries = [one for one in synthesis._sources(script, planned, cast, {}, tmp_path) if one["path"] == "positive"]
    assert {one["name"].removeprefix("synthetic_positive_"): one.get("split") for one in entries} == {
        "espeak": None,
        "hibari": "train",
        **{f"kokoro_{split}": split for split in SPLITS},
    }
    listed, main_voices = [], {}
    for entry in entries:
        patterns = [re.compile(glob_regex(pattern)) for pattern in entry["include"]]
        paths = [item.path.removeprefix("positive/") for item in planned.utterances if item.role == "positive"]
        found = [path for path in paths if any(pattern.fullmatch(path) for pattern in patterns)]
        listed += found
        main_voices[entry["name"]] = {path.split("_")[1] for path in found}
    assert len(listed) == len(set(listed)) == 200
    held = {voice.name.replace("_", "-"): voice.split for voice in all_voices()}
    for split in SPLITS:
        voices = {voice.removeprefix("kokoro-") for voice in main_voices[f"synthetic_positive_kokoro_{split}"]}
        assert voices and {held[voice] for voice in voices} == {split}


def test_bytes_depend_on_seed_and_not_on_workers(made, tmp_path, monkeypatch):
    out, _, _ = made
    monkeypatch.setattr(rendering, "_SECONDS_WORTH_A_PROCESS", 0.5)
    synthesize("hey robin", SMALL, RATE, 1, tmp_path / "again", tmp_path, workers=2)
    assert hashes(tmp_path / "again") == hashes(out)
    few = SMALL.model_copy(update={"negatives": 0, "hard_negatives": 0, "background_minutes": 0.0})
    synthesize("hey robin", few, RATE, 2, tmp_path / "other", tmp_path, workers=1)
    assert not set(hashes(tmp_path / "other").values()) & set(hashes(out).values())
    assert {source.role for source in synthetic_sources(tmp_path / "other")} == {"positive"}


def test_what_was_made_is_taken_from_its_parts_and_only_the_rest_is_made(tmp_path, caplog):
    parts, said = Parts(tmp_path / "parts", "generation"), []
    few = SMALL.model_copy(update={"negatives": 0, "hard_negatives": 0, "background_minutes": 0.2})

    def make(name, parts=parts, config=few, rate=RATE, seed=1):
        caplog.clear()
        with caplog.at_level("INFO"):
            synthesize("hey robin", config, rate, seed, tmp_path / name, tmp_path, workers=1, parts=parts)
        counts = [int(number) for number in re.findall(r" said (\d+) lines, [\d.]+ a second of processor", caplog.text)]
        said.append(sum(counts))
        return hashes(tmp_path / name)

    first = make("first")
    assert said == [16] and make("same") == first and said == [16, 0]
    assert all(parts.entries[tmp_path / "same" / name].sha256 == sha256 for name, sha256 in first.items())
    more = make("more", config=few.model_copy(update={"positives": 24}))
    assert said[-1] == 8 and first.items() < more.items()
    assert make("alone", parts=None, config=few.model_copy(update={"positives": 24})) == more and said[-1] == 24
    for others in (
        {"rate": 8_000},
        {"parts": Parts(parts.root, "next")},
        {"config": few.changed({"rate_range": [90, 99]})},
    ):
        make(f"other{len(said)}", **others)
        assert said[-1] == 16


def test_another_version_of_an_engine_says_its_lines_again(tmp_path, monkeypatch):
    parts = Parts(tmp_path / "parts")
    config = SMALL.model_copy(update={"negatives": 0, "hard_negatives": 0, "background_minutes": 0.0})
    synthesize("hey robin", config, RATE, 1, tmp_path / "a", tmp_path, parts=parts)
    kept = {path.name for path in parts.root.glob("*.flac")}
    monkeypatch.setattr(hibari, "package_versions", lambda *names: "hibari-tts 99")
    synthesize("hey robin", config, RATE, 1, tmp_path / "b", tmp_path, parts=parts)
    assert len({path.name for path in parts.root.glob("*.flac")} - kept) == 4 and len(kept) == 16


def test_a_synthesis_that_fails_keeps_what_it_made(tmp_path, monkeypatch):
    parts, say = Parts(tmp_path / "parts"), EspeakEngine.say
    config = SMALL.model_copy(update={"positives": 40, "negatives": 0, "hard_negatives": 0, "background_minutes": 0.0})
    lines = []

    def fails(self, line):
        lines.append(line)
        if len(lines) == 25:
            raise DataError("enough")
        return say(self, line)

    monkeypatch.setattr(EspeakEngine, "say", fails)
    with pytest.raises(DataError, match="enough"):
        synthesize("hey robin", config, RATE, 1, tmp_path / "a", tmp_path, workers=1, parts=parts)
    kept = len(list(parts.root.glob("*.flac")))
    assert kept == 24  # of two whole tasks
    monkeypatch.setattr(EspeakEngine, "say", say)
    seen = []
    report = lambda _, done, total: seen.append((done, total))  # noqa: E731
    synthesize("hey robin", config, RATE, 1, tmp_path / "b", tmp_path, report, workers=1, parts=parts)
    assert seen[0] == (24, 40) and seen[-1] == (40, 40)


def test_slow_engines_have_small_tasks_and_are_worth_a_process():
    costs = {0: 0.01, 1: 0.01, 2: 2.0, 3: 2.0, 4: 0.5, 5: 9.0, **{index: 0.01 for index in range(6, 32)}}
    tasks = rendering._tasks(list(costs), costs)
    assert tasks == [[0, 1, 2], [3, 4], [5], list(range(6, 18)), list(range(18, 30)), [30, 31]]


def test_single_words_are_negatives_and_by_themselves_for_training(tmp_path):
    nothing = {"positives": 0, "hard_negatives": 0, "negatives": 0, "background_minutes": 0}
    summary = synthesize("jarvis", SynthesisConfig(words=24, **nothing), RATE, 1, tmp_path / "a", tmp_path)
    assert summary.recordings == {"negative": 24} and summary.texts["negative"] > 15
    sources = synthetic_sources(tmp_path / "a")
    assert {one.name for one in sources} == {"synthetic_words_espeak", "synthetic_words_hibari"}
    assert {(one.role, one.split, one.path.name) for one in sources} == {("negative", "train", "words")}
    assert sum(len(find_recordings(one)[0]) for one in sources) == 24
    # beside speech of other kinds by the same voices they go where their speakers go
    synthesize("jarvis", SMALL.model_copy(update={"words": 8}), RATE, 1, tmp_path / "b", tmp_path)
    words = [one for one in synthetic_sources(tmp_path / "b") if one.path.name == "words"]
    assert {one.split for one in words if one.name.endswith("espeak")} == {None}
    assert {one.speaker_space for one in words} == {"synthetic"}


def test_more_words_change_nothing_else(tmp_path):
    for words in (0, 8):
        synthesize("hey robin", SMALL.model_copy(update={"words": words}), RATE, 1, tmp_path / f"{words}", tmp_path)
    without, added = hashes(tmp_path / "0"), hashes(tmp_path / "8")
    assert without.items() < added.items() and len(added) == len(without) + 8


def test_every_utterance_tells_on_the_sound():
    engines, config = {"espeak": EspeakEngine()}, SynthesisConfig(engines={"espeak": 1})

    def said_with(count, config):
        planned = plan_speech("positive", ["hey robin"], count, config, Cast(engines, config, 1), 1)
        return [render(item, RATE, engines)[0] for item in planned]

    said = said_with(6, config)
    assert len({x.tobytes() for x in said}) == 6
    loud = config.model_copy(update={"level_dbfs": (-20.0, -20.0), "margin_seconds": (0.0, 0.0)})
    quiet = config.model_copy(update={"level_dbfs": (-40.0, -40.0), "margin_seconds": (0.0, 0.0)})
    levels = [said_with(1, chosen)[0].std() for chosen in (loud, quiet)]
    assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(20, abs=3)


def plan_only(monkeypatch):
    """Say nothing; returns the list that what would be said comes into."""
    planned = []
    nothing = Recording(1.0, None)
    monkeypatch.setattr(synthesis, "write_all", lambda items, *_: planned.extend(items) or [nothing] * len(items))
    monkeypatch.setattr(synthesis, "find_faults", lambda *_: {})
    return planned


def test_no_negative_holds_the_phrase(monkeypatch, tmp_path):
    planned = plan_only(monkeypatch)
    synthesize("stop", SynthesisConfig(positives=1, hard_negatives=300, negatives=300), RATE, 1, tmp_path, tmp_path)
    texts = [item.text for item in planned if item.role in ("hard_negative", "negative")]
    texts += [talker.text for item in planned if item.role == "background" for talker in item.talkers]
    assert len(texts) > 600 and not any(PhraseGuard(["stop"]).contains(texts))


NOTHING = {"positives": 0, "hard_negatives": 0, "negatives": 0, "background_minutes": 0, "engines": {"espeak": 1}}


def test_where_the_word_is_among_other_speech_is_known(tmp_path, cache):
    config = SynthesisConfig(**NOTHING | {"positives": 8, "hard_negatives": 4, "carrier_share": 1.0})
    synthesize("hey robin", config, RATE, 1, tmp_path / "made", tmp_path)
    sources = synthetic_sources(tmp_path / "made")
    assert [(source.role, source.is_table) for source in sources] == [("positive", True), ("hard_negative", True)]
    build_manifest(sources, DataConfig(), "hey robin", 1, cache, tmp_path)
    rows = read_manifest(tmp_path)
    assert Counter(rows["label"]) == {"hey robin": 8, "_negative": 4}
    positives = rows[rows["role"] == "positive"]
    engines, planned = (
        {"espeak": EspeakEngine()},
        plan_speech("positive", ["hey robin"], 8, config, the_cast(config), 1),
    )
    plain = {
        item.path.rpartition("/")[2]: len(render(item, RATE, engines)[0]) / RATE - item.lead_seconds - item.tail_seconds
        for item in planned
    }
    for row in positives.itertuples():
        assert row.speech_end - row.speech_start == pytest.approx(plain[row.path] + 0.06, abs=0.001)
        x, _ = soundfile.read(tmp_path / "made/carriers/positive" / row.path)
        word, rest = (
            x[round(row.speech_start * RATE) : round(row.speech_end * RATE)],
            x[: round(row.speech_start * RATE)],
        )
        rest = np.concatenate([rest, x[round(row.speech_end * RATE) :]])
        assert word.std() > 0.01 and rest.std() > 0.1 * word.std(), "somebody speaks there too"


def test_no_word_is_said_to_end_after_its_recording(monkeypatch, tmp_path):
    config = SynthesisConfig(**NOTHING | {"positives": 60, "carrier_share": 1.0, "margin_seconds": (0.0, 0.0)})
    lengths = [(30_000 + index) / RATE for index in range(60)]
    paths = []
    spoken = measure(np.sin(np.arange(RATE) / 9).astype(np.float32) / 2, RATE, 0.7)

    def written(items, *_):
        paths.extend(item.path.rpartition("/")[2] for item in items)
        return [Recording(seconds, spoken) for seconds in lengths]

    monkeypatch.setattr(synthesis, "write_all", written)
    monkeypatch.setattr(synthesis, "find_faults", lambda *_: {})
    synthesize("hey robin", config, RATE, 1, tmp_path, tmp_path)
    table = pd.read_csv(next((tmp_path / "carriers").rglob("*.csv")))
    left = pd.Series(lengths, paths)[table["path"]].to_numpy() - table["speech_end"]
    assert len(left) == 60 and (left >= 0).all() and (left < 0.0002).sum() > 4, "some end with their recordings"


def the_cast(config):
    return Cast({"espeak": EspeakEngine()}, config, 1)


def test_what_is_around_a_word_changes_nothing_of_it():
    engines, config = {"espeak": EspeakEngine()}, SynthesisConfig(**NOTHING)
    (item,) = plan_speech("positive", ["hey robin"], 1, config, the_cast(config), 1)
    around = replace(
        item, before="and then I said", before_gap=0.1, after="turn on all the lights", after_gap=0.2,
        lead_seconds=0.7, tail_seconds=0.8,
    )  # fmt: skip
    plain, carried = (render(each, RATE, engines)[0] for each in (item, around))
    length = len(plain) - round((item.lead_seconds + item.tail_seconds) * RATE)
    assert len(carried) == round(0.7 * RATE) + length + round(0.8 * RATE)
    word = plain[round(item.lead_seconds * RATE) :][:length]
    np.testing.assert_allclose(carried[round(0.7 * RATE) :][:length], word, atol=0.01)
    loud = np.abs(carried) > 0.01
    start, end = round(0.7 * RATE), round(0.7 * RATE) + length
    assert not loud[start - round(0.09 * RATE) : start].any() and not loud[end : end + round(0.19 * RATE)].any()
    assert loud[: start - round(0.1 * RATE)].any() and loud[-round(0.1 * RATE) :].any(), "cut where the recording ends"
    assert abs(carried[0]) < 0.005 and abs(carried[-1]) < 0.005, "without a click"


def test_pieces_are_shorter_than_the_phrase_and_its_negatives(tmp_path):
    config = SynthesisConfig(**NOTHING | {"positives": 6, "pieces": 6, "margin_seconds": (0.2, 0.2)})
    summary = synthesize("hey robin", config, RATE, 1, tmp_path, tmp_path)
    assert summary.recordings == {"positive": 6, "hard_negative": 6}
    assert [(source.name, source.role, source.label) for source in synthetic_sources(tmp_path)] == [
        ("synthetic_positive_espeak", "positive", "hey robin"), ("synthetic_pieces_espeak", "hard_negative", None),
    ]  # fmt: skip
    pieces, wholes = (
        sorted(soundfile.info(path).duration - 0.4 for path in (tmp_path / folder).glob("*"))
        for folder in ("pieces", "positive")
    )
    assert 0.25 * wholes[0] < pieces[0] and pieces[-1] < 0.85 * wholes[-1] and sum(pieces) < 0.75 * sum(wholes)


def test_each_of_several_wake_words_is_a_label_with_its_own_hard_negatives(tmp_path):
    asked = {"positives": 4, "hard_negatives": 40, "negatives": 30, "pieces": 2, "phrases": ["okay ruby", "stop"]}
    config = SynthesisConfig(**NOTHING | asked)
    said = write_script("hey robin", config, 1).said
    assert [(one.folder, one.label) for one in said if one.label] == [
        ("positive", "hey robin"), ("positive_2", "okay ruby"), ("positive_3", "stop"),
    ]  # fmt: skip
    texts = {one.folder: one.texts for one in said}
    assert any("okay" in text for text in texts["hard_negative_2"])
    guard = PhraseGuard(["hey robin", "okay ruby", "stop"])
    others = [text for one in said if not (one.label or one.cut) for text in one.texts]
    assert len(others) == 150 and not any(guard.contains(others))
    synthesize("hey robin", config, RATE, 1, tmp_path, tmp_path)
    labels = {source.path.name: source.label for source in synthetic_sources(tmp_path) if source.role == "positive"}
    assert labels == {"positive": "hey robin", "positive_2": "okay ruby", "positive_3": "stop"}
    assert Config(phrase="hey robin", synthesis=config.model_copy(update={"enabled": True})).labels == (
        "_negative", "hey robin", "okay ruby", "stop",
    )  # fmt: skip


def test_of_a_wake_word_that_holds_another_no_pieces_are_made(caplog):
    asked = NOTHING | {"positives": 1, "pieces": 2, "phrases": ["robin", "stop"]}
    said = write_script("hey robin", SynthesisConfig(**asked), 1).said
    assert [one.folder for one in said if one.cut] == ["pieces_2", "pieces_3"]
    assert "No pieces are made of 'hey robin', because another wake word is heard in it" in caplog.text


def test_confusables_of_the_configuration_are_always_said(tmp_path):
    own = ("hay robot", "good morning")
    config = SynthesisConfig(**NOTHING | {"hard_negatives": 400, "confusables": own})
    (said,) = write_script("hey robin", config, 1).said
    assert tuple(said.texts[:2]) == own and [said.texts.count(text) for text in own] == [40, 40]
    fewer = config.model_copy(update={"hard_negatives": 50})
    assert said.texts[:50] == write_script("hey robin", fewer, 1).said[0].texts
    alone = config.model_copy(update={"confusable_kinds": ()})
    assert set(write_script("hey robin", alone, 1).said[0].texts) == set(own)
    for refused in ("hey robin", "say hay robin please"):
        with pytest.raises(DataError, match=f"confusables names '{refused}', in which a wake word is heard"):
            synthesize("hey robin", config.model_copy(update={"confusables": (refused,)}), RATE, 1, tmp_path, tmp_path)


def test_no_kind_of_confusables_is_an_error_that_names_the_setting():
    config = SynthesisConfig(**NOTHING | {"hard_negatives": 4, "confusable_kinds": []})
    with pytest.raises(DataError, match=r"synthesis.confusable_kinds, which are none"):
        write_script("hey robin", config, 1)


@pytest.mark.parametrize("phrases", [("hey robyn",), ("alexa", "Hay Robin!")])
def test_wake_words_that_sound_the_same_are_refused(phrases):
    config = SynthesisConfig(**NOTHING | {"positives": 1, "phrases": phrases})
    with pytest.raises(DataError, match=f"phrases names '{phrases[-1]}', which sounds as 'hey robin' does"):
        write_script("hey robin", config, 1)
    write_script("hey robin", config.model_copy(update={"phrases": ("robin", "hey robin please")}), 1)


@pytest.mark.parametrize("setting", ["phrases", "confusables"])
def test_a_setting_with_letters_that_would_be_named_is_told(setting, tmp_path):
    with pytest.raises(DataError, match=rf"cannot read п in 'п': .* leave it out of synthesis.{setting}$"):
        synthesize("hey", SMALL.model_copy(update={setting: ("п",)}), RATE, 1, tmp_path, tmp_path)


@pytest.mark.parametrize("kind", ["part", "cut", "near"])
def test_kinds_of_confusables_are_chosen(kind):
    config = SynthesisConfig(**NOTHING | {"hard_negatives": 40, "confusable_kinds": [kind]})
    texts = set(write_script("hey robin", config, 1).said[0].texts)
    found = confusable_phrases("hey robin", 3_000, 1, PhraseGuard(["hey robin"]))
    assert texts <= {item.text for item in found if item.kind == kind}


def test_a_phrase_of_one_letter_is_said_too():
    config = SynthesisConfig(**NOTHING | {"positives": 2, "hard_negatives": 8, "negatives": 4, "carrier_share": 1.0})
    said = {one.folder: one.texts for one in write_script("x", config, 1).said}
    assert len(said["hard_negative"]) == 8 and not any(PhraseGuard(["x"]).contains(said["hard_negative"]))


@given(st.text("abcdefghijklmnopqrstuvwxyz ", min_size=2, max_size=14), st.sampled_from(["stop", "alexa", "the"]))
@settings(deadline=None, max_examples=3)
def test_no_text_of_any_script_holds_a_wake_word(phrase, other):
    config = SynthesisConfig(
        **NOTHING | {"hard_negatives": 30, "negatives": 10, "words": 10, "carrier_share": 0.5, "phrases": [other]}
    )
    try:
        guard = PhraseGuard([phrase, other])
        said = write_script(phrase, config, 1).said
    except DataError:
        return
    for one in said:
        assert not any(guard.contains(one.texts))
        assert one.around is None or not any(guard.contains([*one.around.before, *one.around.after]))


def test_a_phrase_for_the_command(tmp_path):
    paths = synthesize_phrase("hey robin", 5, 8_000, 1, tmp_path, tmp_path)
    assert len(paths) == len({hash_file(path) for path in paths}) == 5
    assert all(path.parent == tmp_path and soundfile.info(path).samplerate == 8_000 for path in paths)
    assert synthesize_phrase("x", 0, 8_000, 1, tmp_path, tmp_path) == []


@pytest.mark.parametrize("text", ["...", " "])
def test_text_without_sound_is_named(text, tmp_path):
    with pytest.raises(DataError, match="gives no sound"):
        synthesize_phrase(text, 1, RATE, 1, tmp_path, tmp_path)
    with pytest.raises(DataError, match="gives no sound"):
        synthesize(text, SMALL, RATE, 1, tmp_path, tmp_path)


def test_other_scripts_are_said_by_espeak_alone(tmp_path, caplog):
    paths = synthesize_phrase("hey 안녕", 4, RATE, 1, tmp_path, tmp_path)
    assert all("espeak" in path.name for path in paths)
    assert "is more than hibari can read" in caplog.text


@pytest.mark.parametrize(
    ("phrase", "letters"),
    [
        ("你好小智", "你, 好, 小, 智"),
        ("ハロー", "ハ, ロ"),
        ("hey привет", "п, р, и, в, е, т"),
        ("hey ٣", "٣"),
        ("xin Việt", "ệ"),
    ],
)
def test_a_phrase_whose_letters_would_be_named_is_refused_before_anything_is_made(phrase, letters, tmp_path):
    for make, otherwise in (
        (lambda: synthesize(phrase, SMALL, RATE, 1, tmp_path, tmp_path), "bring recordings"),
        (lambda: synthesize_phrase(phrase, 1, RATE, 1, tmp_path, tmp_path), "use another text"),
    ):
        with pytest.raises(DataError, match=f"English voices cannot read {letters} in '{phrase}'.*{otherwise}"):
            make()
    assert not list(tmp_path.iterdir())


def test_a_phrase_that_nobody_has_to_say_may_have_any_letters(tmp_path):
    phrase = "你好小智"
    only_others = SMALL.model_copy(update={"positives": 0, "hard_negatives": 0})
    assert synthesize(phrase, only_others, RATE, 1, tmp_path, tmp_path).recordings["negative"] == SMALL.negatives


def test_sources_of_nothing_or_of_a_damaged_list(tmp_path):
    with pytest.raises(DataError, match="holds no sources"):
        synthetic_sources(tmp_path)
    for text in ("{", '[{"name": "x"}]', '[{"name": "x", "path": "x", "role": "nonsense"}]'):
        (tmp_path / "sources.json").write_text(text)
        with pytest.raises(DataError, match="damaged"):
            synthetic_sources(tmp_path)
    (tmp_path / "sources.json").write_text('[{"name": "x", "path": "../x", "role": "noise"}]')
    with pytest.raises(WakewordError, match="leads outside"):
        synthetic_sources(tmp_path)


def test_a_dead_worker_is_one_clear_error(monkeypatch, tmp_path):
    class Dead:
        def __init__(self, *_, **__): ...

        def submit(self, *_):
            raise BrokenProcessPool("died")

        def shutdown(self, **_): ...

    monkeypatch.setattr(rendering, "process_pool", Dead)
    monkeypatch.setattr(rendering, "_SECONDS_WORTH_A_PROCESS", 0.02)
    monkeypatch.setattr(rendering, "available_cores", lambda: 2)
    with pytest.raises(WakewordError, match="fewer workers"):
        synthesize_phrase("hey", 8, RATE, 1, tmp_path, tmp_path)


def test_a_pronunciation_makes_any_script_readable(tmp_path):
    config = SynthesisConfig(
        positives=8,
        hard_negatives=12,
        negatives=4,
        background_minutes=0,
        pronunciations={"你好 小智": "niː ˈhaʊ ʃaʊ ˈdʒɪ"},
    )
    with pytest.raises(DataError, match=r"cannot read 你, 好, 小, 智.*synthesis\.pronunciations"):
        synthesize("你好小智", config, RATE, 1, tmp_path / "a", tmp_path)
    config = config.model_copy(update={"pronunciations": {"你好小智": ("niː ˈhaʊ ʃaʊ ˈdʒɪ", "ni xau ʃjau tʂɨ")}})
    synthesis.require_readable("你好小智", config)
    summary = synthesize("你好小智", config, RATE, 1, tmp_path / "b", tmp_path)
    assert summary.recordings == {"positive": 8, "hard_negative": 12, "negative": 4}
    assert all(soundfile.info(path).duration > 0.5 for path in (tmp_path / "b" / "positive").iterdir())


def test_a_pronunciation_that_no_voice_knows_is_refused_before_anything_is_made(tmp_path):
    config = SMALL.model_copy(update={"pronunciations": {"robin": ("ɹ@bin",)}})
    for make in (
        lambda: synthesize("hey robin", config, RATE, 1, tmp_path, tmp_path),
        lambda: synthesis.require_readable("hey robin", config),
    ):
        with pytest.raises(DataError, match=r"'@' \(commercial at"):
            make()
    assert not list(tmp_path.iterdir())


def test_a_phrase_is_read_in_its_language(tmp_path, monkeypatch):
    planned = plan_only(monkeypatch)
    config = SMALL.model_copy(update={"phrase_language": "de", "hard_negatives": 48, "background_minutes": 0.0})
    synthesize("guten Tag", config, RATE, 1, tmp_path, tmp_path)
    assert {item.ipa for item in planned if item.role == "positive"} == {"ɡˈuːtən tˈɑːk"}
    apart = {item.text.rstrip(".!?"): item.ipa for item in planned if item.role == "hard_negative"}
    # what the phrase shares with what is like it sounds the same there
    assert apart["guten"] == "ɡˈuːtən" and any(ipa and ipa.endswith("tˈɑːk") for ipa in apart.values())
    assert not any(PhraseGuard(["guten Tag"]).contains(list(apart)))


def test_all_ways_of_saying_the_phrase_are_kept_from_the_negatives(tmp_path, monkeypatch):
    planned = plan_only(monkeypatch)
    config = SMALL.model_copy(update={"pronunciations": {"stop": ("stˈɑːp", "ɡˈoʊ")}, "words": 60, "negatives": 200})
    synthesize("stop", config, RATE, 1, tmp_path, tmp_path)
    texts = [item.text for item in planned if item.role in ("negative", "hard_negative")]
    assert len(texts) > 250 and not any(PhraseGuard(["go"]).contains(texts))
    said = [item.ipa for item in planned if item.role == "positive"]
    assert said.count("ɡˈoʊ") == said.count("stˈɑːp") == 8


def test_abbreviations_of_the_phrase_are_said_as_words(tmp_path, monkeypatch):
    planned = plan_only(monkeypatch)
    synthesize("hey dr. robin", SMALL, RATE, 1, tmp_path, tmp_path)
    assert {item.text.rstrip(".!?") for item in planned if item.role == "positive"} == {"hey doctor robin"}
    labels = {source.label for source in synthetic_sources(tmp_path) if source.role == "positive"}
    assert labels == {"hey dr. robin"}


def test_accents_and_people_change_the_recordings_and_follow_the_seed(made, tmp_path, monkeypatch):
    pytest.importorskip("pyworld")
    few = {"hard_negatives": 4, "negatives": 4, "background_minutes": 0.0}
    plain = SMALL.model_copy(update=few)
    others = SMALL.model_copy(update={**few, "accent_share": 0.5, "people_share": 0.5})
    for name, config, workers in (("plain", plain, 1), ("a", others, 1), ("b", others, 2)):
        monkeypatch.setattr(rendering, "_SECONDS_WORTH_A_PROCESS", 0.2)
        synthesize("hey robin", config, RATE, 1, tmp_path / name, tmp_path, workers=workers)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    before, after = hashes(tmp_path / "plain"), hashes(tmp_path / "a")
    assert before.keys() == after.keys()
    changed = sum(before[name] != after[name] for name in before)
    assert 0.4 * len(before) < changed < len(before)


def test_people_are_made_anew_with_another_vocoder(tmp_path, monkeypatch):
    pytest.importorskip("pyworld")
    config = SynthesisConfig(people_share=1.0, people=("whispered",), engines={"espeak": 1})
    item = plan_speech("positive", ["hey robin"], 1, config, cast_of(config), 1)[0]
    engines = {"espeak": EspeakEngine()}
    first = rendering._key(item, RATE, engines)
    monkeypatch.setattr(people, "_VOCODING", 99)
    assert rendering._key(item, RATE, engines) != first


def test_without_the_vocoder_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(people, "require", lambda: (_ for _ in ()).throw(MissingDependencyError("needs pyworld")))
    with pytest.raises(MissingDependencyError, match="pyworld"):
        synthesize("hey robin", SMALL.model_copy(update={"people_share": 0.1}), RATE, 1, tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())
