import re
import sys
import types
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from wakeword_core.config import SynthesisConfig
from wakeword_core.errors import ConfigError, DataError, WakewordError
from wakeword_core.plugins import GROUPS
from wakeword_core.speech.engines import EngineSettings, Line, Voice, make_engine, without_quiet
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.synthesis import synthesize_phrase

RATE = 16_000
GROUP = GROUPS["speech engine"]


class Whistle:
    """An engine of another package: a tone whose pitch is that of the line."""

    name, speaks_ipa, seconds, version = "whistle", True, 0.001, "whistle 1"

    def __init__(self, settings):
        self.settings = settings

    def voices(self):
        return tuple(Voice(name, name, "en", "CC0-1.0") for name in ("low", "high"))

    def can_say(self, text):
        return True

    def prepare(self):
        pass

    def say(self, line):
        pitch = (300 if line.voice == "low" else 900) * (1 + line.pitch / 100)
        return np.sin(2 * np.pi * pitch * np.arange(RATE // 2) / RATE).astype(np.float32), RATE


@pytest.fixture
def installed(monkeypatch):
    """Packages with engines: one that works, one that is broken, and one whose engine has the name of ours."""
    package = types.ModuleType("whistling")
    package.Whistle = Whistle
    monkeypatch.setitem(sys.modules, "whistling", package)
    entries = [
        EntryPoint("whistle", "whistling:Whistle", GROUP),
        EntryPoint("broken", "no_such_package:engine", GROUP),
        EntryPoint("espeak", "whistling:Whistle", GROUP),
    ]
    monkeypatch.setattr("wakeword_core.plugins.entry_points", lambda group: entries if group == GROUP else [])


def settings(tmp_path, **options):
    return EngineSettings(SynthesisConfig(**options), tmp_path)


def test_another_package_adds_an_engine_and_takes_the_place_of_none(installed, tmp_path):
    given = settings(tmp_path)
    engine = make_engine("whistle", given)
    assert isinstance(engine, Whistle) and engine.settings == given
    assert isinstance(make_engine("espeak", given), EspeakEngine)


def test_an_engine_that_is_not_there_or_broken_is_one_sentence(installed, tmp_path):
    with pytest.raises(ConfigError, match="'flute' must be 'espeak', 'hibari', 'kokoro', 'piper', 'broken' "):
        make_engine("flute", settings(tmp_path))
    with pytest.raises(
        WakewordError, match=r"'broken' of the package no_such_package:engine cannot be used \(ModuleNotFound"
    ):
        make_engine("broken", settings(tmp_path))


def test_an_engine_of_another_package_makes_recordings(installed, tmp_path):
    pytest.importorskip("espeakng_loader")
    config = SynthesisConfig(engines={"whistle": 1})
    paths = synthesize_phrase("hey robin", 4, RATE, 1, tmp_path, tmp_path, config=config)
    assert {path.name.split("_")[1] for path in paths} == {"whistle-low", "whistle-high"}
    assert len({path.read_bytes() for path in paths}) == 4


@pytest.mark.parametrize(
    ("name", "voices", "reason"),
    [
        ("two_parts", [Voice("x", "x", "en", "")], "the name 'two_parts' has other signs"),  # all would be one speaker
        ("espeak-x", [Voice("x", "x", "en", "")], "the name 'espeak-x' has other signs"),  # and this one espeak's
        ("own", [Voice("x", "a_b", "en", "")], "the name 'a_b' has other signs"),
        ("own", [Voice("x", "x", "../../en", "")], "the name '../../en' has other signs"),
        (
            "own",
            [Voice("x", "x", "en", "", split="train"), Voice("y", "x", "en", "", split="test")],
            "the speaker 'x' has voices in two splits",
        ),
    ],
)
def test_names_that_would_mix_up_speakers_are_refused(monkeypatch, tmp_path, name, voices, reason):
    package = types.ModuleType("misnamed")
    package.engine = lambda settings: types.SimpleNamespace(voices=lambda: voices)
    monkeypatch.setitem(sys.modules, "misnamed", package)
    entry = EntryPoint(name, "misnamed:engine", GROUP)
    monkeypatch.setattr("wakeword_core.plugins.entry_points", lambda group: [entry] if group == GROUP else [])
    with pytest.raises(WakewordError, match=re.escape(f"the speech engine {name!r}") + f".*{re.escape(reason)}"):
        make_engine(name, settings(tmp_path))


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(RATE), np.full(RATE, np.nan)], ids=["none", "quiet", "nan"])
def test_an_engine_that_gives_no_sound_is_named(installed, tmp_path, monkeypatch, sound):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(Whistle, "say", lambda self, line: (sound.astype(np.float32), RATE))
    whistling = SynthesisConfig(engines={"whistle": 1})
    with pytest.raises(DataError, match=r"the engine whistle gives no sound for 'hey robin.?' in the voice"):
        synthesize_phrase("hey robin", 1, RATE, 1, tmp_path, tmp_path, config=whistling)


def test_espeak_says_what_the_binding_says():
    pytest.importorskip("espeakng_loader")
    engine = EspeakEngine()
    x, rate = engine.say(Line("hey robin", "en-gb+f3", tempo=1.2))
    slow, _ = engine.say(Line("hey robin", "en-gb+f3", tempo=0.8))
    assert rate == 22_050 and x.dtype == np.float32 and np.abs(x).max() <= 1 and len(slow) > 1.2 * len(x)
    np.testing.assert_array_equal(x, engine.say(Line("hey robin", "en-gb+f3", tempo=1.2))[0])
    assert {voice.language for voice in engine.voices()} >= {"en-us", "en-gb"}


def test_quiet_is_cut_at_both_ends_but_for_what_is_asked_to_stay():
    x = np.zeros(2_000, np.float32)
    x[1_000:1_200] = 0.5
    assert len(without_quiet(x, 1_000, 0.1)) == 200
    assert len(without_quiet(x, 1_000, 0.1, before=0.1, after=0.3)) == 600
    assert len(without_quiet(x, 1_000, 0.1, before=9, after=9)) == 2_000


def test_the_engines_that_speak_by_default_do_without_one_but_those_that_are_named_do_not(
    tmp_path, monkeypatch, caplog
):
    pytest.importorskip("espeakng_loader")
    from wakeword_core.speech.engines import hibari

    monkeypatch.setattr(hibari.importlib.util, "find_spec", lambda name: None)
    paths = synthesize_phrase("hey robin", 5, RATE, 1, tmp_path, tmp_path)
    assert all("espeak" in path.name for path in paths) and "espeak speaks without hibari" in caplog.text
    named = SynthesisConfig(engines={"espeak": 0.5, "hibari": 0.5})
    with pytest.raises(WakewordError, match=r"needs hibari-tts: .*\[speech\]"):
        synthesize_phrase("hey robin", 5, RATE, 1, tmp_path, tmp_path, config=named)


def test_engines_that_cannot_speak_are_told_apart_from_those_that_can(monkeypatch, tmp_path):
    from wakeword_core.speech.engines import kokoro, missing_engines

    monkeypatch.setattr(kokoro, "joined_model", lambda cache: cache)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    synthesis = SynthesisConfig(engines={"espeak": 0.5, "kokoro": 0.5})
    missing = missing_engines(EngineSettings(synthesis, tmp_path))
    assert list(missing) == ["kokoro"] and "leave kokoro out" in str(missing["kokoro"])
