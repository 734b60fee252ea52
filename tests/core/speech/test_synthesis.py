"""Recordings of a synthesis: their bytes, sources, parts and faults."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import soundfile

from wakeword_core.audio import write_audio
from wakeword_core.config import SPLITS, Config, SynthesisConfig
from wakeword_core.config.globs import glob_regex
from wakeword_core.errors import DataError, MissingDependencyError, WakewordError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.recordings.sources import find_recordings
from wakeword_core.speech import people, rendering, synthesis
from wakeword_core.speech.delivery import Delivery
from wakeword_core.speech.engines import EngineSettings, hibari, make_engine
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.engines.kokoro import all_voices
from wakeword_core.speech.plan import Around, Cast, Said, plan, plan_speech
from wakeword_core.speech.pronunciation import Pronunciations
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard
from wakeword_core.speech.rendering import render
from wakeword_core.speech.synthesis import synthesize, synthesize_phrase, synthetic_sources
from wakeword_core.store.parts import Parts
from wakeword_core.workers import base
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
NOTHING = {"positives": 0, "hard_negatives": 0, "negatives": 0, "background_minutes": 0, "engines": {"espeak": 1}}
SMALL = SynthesisConfig(positives=16, hard_negatives=12, negatives=8, background_minutes=0.5)


@pytest.fixture(scope="module", autouse=True)
def _engines():
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("hibari")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    seen: list[tuple[int, int]] = []
    report = lambda _, done, total: seen.append((done, total))  # noqa: E731
    summary = synthesize("hey robin", SMALL, RATE, 1, out, out / "cache", report, workers=LocalWorkers(1))
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
    monkeypatch.setattr(base, "WORTH_SECONDS", 0.5)
    synthesize("hey robin", SMALL, RATE, 1, tmp_path / "again", tmp_path, workers=LocalWorkers(2))
    assert hashes(tmp_path / "again") == hashes(out)
    few = SMALL.model_copy(update={"negatives": 0, "hard_negatives": 0, "background_minutes": 0.0})
    synthesize("hey robin", few, RATE, 2, tmp_path / "other", tmp_path, workers=LocalWorkers(1))
    assert not set(hashes(tmp_path / "other").values()) & set(hashes(out).values())
    assert {source.role for source in synthetic_sources(tmp_path / "other")} == {"positive"}


def test_what_was_made_is_taken_from_its_parts_and_only_the_rest_is_made(tmp_path, caplog):
    parts, said = Parts(tmp_path / "parts", "generation"), []
    few = SMALL.model_copy(update={"positives": 8, "negatives": 0, "hard_negatives": 0, "background_minutes": 0.2})
    longer = few.model_copy(update={"positives": 12})

    def make(name, parts=parts, config=few, rate=RATE, seed=1):
        caplog.clear()
        with caplog.at_level("INFO"):
            synthesize("hey robin", config, rate, seed, tmp_path / name, tmp_path, workers=LocalWorkers(1), parts=parts)
        counts = [int(number) for number in re.findall(r" said (\d+) lines, [\d.]+ a second of processor", caplog.text)]
        said.append(sum(counts))
        return hashes(tmp_path / name)

    first = make("first")
    assert said == [8] and make("same") == first and said == [8, 0]
    assert all(parts.entries[tmp_path / "same" / name].sha256 == sha256 for name, sha256 in first.items())
    more = make("more", config=longer)
    assert said[-1] == 4 and first.items() < more.items()
    assert make("alone", parts=None, config=longer) == more and said[-1] == 12
    for others in (
        {"rate": 8_000},
        {"parts": Parts(parts.root, "next")},
        {"config": few.changed({"rate_range": [90, 99]})},
    ):
        make(f"other{len(said)}", **others)
        assert said[-1] == 8


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
        synthesize("hey robin", config, RATE, 1, tmp_path / "a", tmp_path, workers=LocalWorkers(1), parts=parts)
    kept = len(list(parts.root.glob("*.flac")))
    assert kept == 24  # of two whole tasks
    monkeypatch.setattr(EspeakEngine, "say", say)
    seen = []
    report = lambda _, done, total: seen.append((done, total))  # noqa: E731
    synthesize("hey robin", config, RATE, 1, tmp_path / "b", tmp_path, report, workers=LocalWorkers(1), parts=parts)
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
    beside = SynthesisConfig(**nothing | {"words": 8, "positives": 16, "negatives": 8})
    synthesize("jarvis", beside, RATE, 1, tmp_path / "b", tmp_path)
    words = [one for one in synthetic_sources(tmp_path / "b") if one.path.name == "words"]
    assert {one.split for one in words if one.name.endswith("espeak")} == {None}
    assert {one.speaker_space for one in words} == {"synthetic"}


def test_a_source_that_is_called_as_one_of_synthetic_speech_is_refused(tmp_path):
    write_audio(tmp_path / "own.wav", np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32), RATE)
    source = {"name": "synthetic_words_espeak", "path": str(tmp_path), "role": "positive"}
    tree = {"data": {"sources": [source]}, "synthesis": {"enabled": True, "words": 2, **NOTHING}}
    project = Project(Config.model_validate(tree), tmp_path / "home")
    project.build("synthetic_speech")
    with pytest.raises(DataError, match="'synthetic_words_espeak' has the name of one of synthetic speech; give it"):
        project.build("raw_manifest")


def test_more_words_change_nothing_else(made, tmp_path):
    synthesize("hey robin", SMALL.model_copy(update={"words": 8}), RATE, 1, tmp_path / "more", tmp_path)
    without, added = hashes(made[0]), hashes(tmp_path / "more")
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


def test_accents_and_people_change_the_recordings_and_follow_the_seed(made, tmp_path, monkeypatch):
    pytest.importorskip("pyworld")
    few = {"hard_negatives": 4, "negatives": 4, "background_minutes": 0.0}
    plain = SMALL.model_copy(update=few)
    others = SMALL.model_copy(update={**few, "accent_share": 0.5, "people_share": 0.5})
    for name, config, workers in (("plain", plain, 1), ("a", others, 1), ("b", others, 2)):
        monkeypatch.setattr(base, "WORTH_SECONDS", 0.2)
        synthesize("hey robin", config, RATE, 1, tmp_path / name, tmp_path, workers=LocalWorkers(workers))
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
