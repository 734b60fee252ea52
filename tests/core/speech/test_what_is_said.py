"""What a synthesis says in each kind of recording, and what it must not say there."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config, DataConfig, SynthesisConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.speech import synthesis
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.plan import Cast, plan_speech
from wakeword_core.speech.pronunciation import Pronunciations, pronounce
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard
from wakeword_core.speech.quality import measure
from wakeword_core.speech.rendering import Recording, render
from wakeword_core.speech.synthesis import pronunciations_of, synthesize, synthetic_sources
from wakeword_core.speech.texts.confusables import confusable_phrases
from wakeword_core.speech.texts.script import write_script
from wakeword_core.speech.texts.sentences import single_words, vocabulary

RATE = 16_000
SMALL = SynthesisConfig(positives=16, hard_negatives=12, negatives=8, background_minutes=0.5)
NOTHING = {"positives": 0, "hard_negatives": 0, "negatives": 0, "background_minutes": 0, "engines": {"espeak": 1}}


@pytest.fixture(scope="module", autouse=True)
def _engines():
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("hibari")


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
    fewer = config.model_copy(update={"hard_negatives": 2, "negatives": 2})
    synthesize("hey robin", fewer, RATE, 1, tmp_path, tmp_path)
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


@pytest.mark.parametrize(("phrase", "confusable"), [("number five", "no. 5"), ("miz robot", "Ms. Robot")])
def test_a_confusable_that_is_the_phrase_abbreviated_is_refused(phrase, confusable):
    config = SynthesisConfig(**NOTHING | {"hard_negatives": 4, "confusables": [confusable]})
    with pytest.raises(DataError, match=f"confusables names '{confusable}', in which a wake word is heard"):
        write_script(phrase, config, 1)


def test_confusables_are_spelt_out_and_of_the_language_of_the_phrase():
    settings = {"hard_negatives": 4, "phrase_language": "de", "confusables": ["Hallo Dr. Kühl"]}
    config = SynthesisConfig(**NOTHING | settings)
    pronunciations = pronunciations_of("Hallo Kamera", config)
    assert write_script("Hallo Kamera", config, 1, pronunciations).said[0].texts[0] == "Hallo Doktor Kühl"
    assert pronunciations.of("Hallo Doktor Kühl") == pronounce("Hallo Dr. Kühl", "de")


def test_what_some_people_say_for_the_phrase_is_no_single_word():
    guard = PhraseGuard(["robin"])
    assert guard.near(["robbing"]) == [True] and "robbing" in vocabulary()
    assert "robbing" not in " ".join(single_words(20_000, 1, guard)).split()


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


@pytest.mark.parametrize("phrases", [("hey blob", "hey sea"), ("hey sea", "hey blob")])
def test_wake_words_that_sound_the_same_in_any_of_their_ways_are_refused(phrases):
    config = SynthesisConfig(**NOTHING | {"positives": 1, "phrases": phrases})
    given = Pronunciations({"hey blob": ["heɪ blɒb", "heɪ siː"]})
    with pytest.raises(DataError, match=f"phrases names '{phrases[1]}', which sounds as '{phrases[0]}' does"):
        write_script("hey robin", config, 1, given)


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
