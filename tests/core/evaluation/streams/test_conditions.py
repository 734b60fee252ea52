"""Each condition does what its name says, and the test of before is heard as before."""

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.config.base import deciding
from wakeword_core.config.evaluation import WAYS
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.evaluation.streams.build import positive_sessions
from wakeword_core.evaluation.streams.conditions import Condition, all_conditions, target_conditions
from wakeword_core.evaluation.streams.ways import levelled, passed

RATE = 16_000
TEST = Config().evaluation.conditions.test
OCTAVES = 62.5 * 2.0 ** np.arange(8)
BEFORE = ["clean", "20 dB", "10 dB", "5 dB", "0 dB", "far", "far, 10 dB"]


@pytest.fixture(scope="module")
def voiced():
    """Five seconds of bursts of harmonics over faint white noise, float32 in [-1, 1]."""
    random = np.random.default_rng(3)
    times = np.arange(RATE) / RATE
    swell = np.exp(-(((times - 0.5) / 0.12) ** 2))
    sound = [
        swell * sum(np.sin(2 * np.pi * pitch * harmonic * times) for harmonic in range(1, 20))
        for pitch in random.uniform(110, 220, 5)
    ]
    return (0.02 * np.concatenate(sound) + random.normal(0, 0.003, 5 * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def white():
    """Ten seconds of white noise."""
    return np.random.default_rng(4).normal(0, 0.05, 10 * RATE).astype(np.float32)


def band_db(sound, low, high):
    """Power of a sound in a band, in dB."""
    spectrum = np.abs(np.fft.rfft(sound.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
    return 10 * np.log10(spectrum[(hertz >= low) & (hertz < high)].mean())


def lag(heard, sound):
    """By how many samples a sound is late."""
    size = 2 * len(sound)
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sound, size)), size)
    place = int(product.argmax())
    return place - size if place > size // 2 else place


def test_names_are_read_as_they_are_written():
    for way in (None, *WAYS):
        for far in (False, True):
            for under, snr_db in (("noise", None), ("noise", -2.5), ("speech", 5.0), ("music", 10.0)):
                condition = Condition(snr_db, far, under, way)
                assert Condition.named(condition.name) == condition
    assert Condition.named("10dB, telephone") == Condition(10.0, way="telephone")
    assert Condition.named("noise 10 dB") == Condition(10.0)


@pytest.mark.parametrize(
    "name", ["", "loud", "clean, far", "5 dB, 10 dB", "song 5 dB", "telephone, gsm", "speech", "far, far"]
)
def test_other_names_are_refused_with_those_that_there_are(name):
    with pytest.raises(ConfigError, match="clean, or of far, telephone, gsm, opus, microphone, quiet, clipped"):
        Condition.named(name)


def test_the_usual_test_is_what_it_was_and_so_is_what_it_depends_on():
    conditions = Config().evaluation.conditions
    assert [condition.name for condition in all_conditions(conditions)] == BEFORE
    assert [condition.name for condition in target_conditions(conditions)] == ["clean", "10 dB"]
    assert set(deciding(conditions.test)) == {"snr_db", "far_snr_db", "far_rooms", "far_rt60_seconds"}


def test_what_is_named_comes_after_the_usual_conditions_and_decides_with_its_own_numbers():
    test = {"speech_db": [5, 10], "music_db": [0], "ways": ["opus", "telephone"]}
    conditions = Config.model_validate({"evaluation": {"conditions": {"test": test}}}).evaluation.conditions
    names = [condition.name for condition in all_conditions(conditions)]
    assert names == [*BEFORE, "speech 10 dB", "speech 5 dB", "music 0 dB", "telephone", "opus"]
    decides = set(deciding(conditions.test))
    assert {"speech_db", "music_db", "ways", "opus_kbps"} <= decides
    assert not {"microphone_db", "quiet_dbfs", "clipped_db"} & decides


def test_a_telephone_lets_300_to_3400_hertz_through(white):
    heard = passed(white, "telephone", TEST, RATE, 1)
    middle = band_db(heard, 500, 3_000)
    assert middle == pytest.approx(band_db(white, 500, 3_000), abs=1.0)
    assert band_db(heard, 20, 100) < middle - 30 and band_db(heard, 4_100, 8_000) < middle - 30
    assert band_db(heard, 3_700, 3_950) < middle - 15


def test_gsm_knows_nothing_above_4_kilohertz_and_the_word_stays_where_it_is(voiced, white):
    heard = passed(voiced, "gsm", TEST, RATE, 1)
    assert len(heard) == len(voiced) and abs(lag(heard, voiced)) <= 1
    assert 0.6 < np.corrcoef(heard, voiced)[0, 1] < 0.98  # a coder of 13 kbit/s is far from the sound, and like it
    noise = passed(white, "gsm", TEST, RATE, 1)
    assert band_db(noise, 4_200, 8_000) < band_db(noise, 500, 3_000) - 30


def test_opus_is_the_nearer_the_more_bits_it_has_and_the_word_stays_where_it_is(voiced):
    likeness = []
    for kbps in (6.0, 12.0, 64.0):
        heard = passed(voiced, "opus", TEST.changed({"opus_kbps": kbps}), RATE, 1)
        assert len(heard) == len(voiced) and abs(lag(heard, voiced)) <= 1
        likeness.append(np.corrcoef(heard, voiced)[0, 1])
    assert 0.6 < likeness[0] < likeness[1] < 0.999 < likeness[2]


def test_a_microphone_colours_octaves_by_at_most_so_many_decibels_and_by_its_seed(white):
    def colour(seed, most):
        heard = passed(white, "microphone", TEST.changed({"microphone_db": most}), RATE, seed)
        return np.array([band_db(heard, low, 2 * low) - band_db(white, low, 2 * low) for low in OCTAVES[:-1]])

    first = colour(1, 12.0)
    assert np.abs(first).max() <= 12.5 and np.ptp(first) > 3
    assert np.array_equal(first, colour(1, 12.0)) and not np.allclose(first, colour(2, 12.0), atol=1)
    assert np.abs(colour(1, 0.0)).max() < 0.1


def test_a_quiet_word_has_the_level_that_it_says(voiced):
    words = [slice(4_000, 12_000), slice(20_000, 28_000)]
    recordings = [slice(0, 16_000), slice(16_000, 32_000)]
    heard = levelled(voiced, "quiet", TEST.changed({"quiet_dbfs": -55.0}), words, recordings)
    for word in words:
        assert 10 * np.log10((heard[word].astype(np.float64) ** 2).mean()) == pytest.approx(-55.0, abs=0.01)


@pytest.mark.parametrize(("over_db", "least", "most"), [(0.0, 0.0, 0.001), (6.0, 0.01, 0.1), (20.0, 0.1, 1.0)])
def test_a_clipped_word_is_cut_off_the_more_the_further_it_is_over(voiced, over_db, least, most):
    word = slice(6_000, 10_000)
    heard = levelled(voiced, "clipped", TEST.changed({"clipped_db": over_db}), [word], [slice(0, 16_000)])
    assert np.abs(heard).max() == 1.0
    assert least <= (np.abs(heard[word]) == 1.0).mean() <= most


@pytest.mark.parametrize("way", ["quiet", "clipped", "telephone", "gsm", "opus", "microphone"])
def test_a_stream_is_heard_on_its_way_with_the_words_where_they_were(shards, config, way):
    clean = list(positive_sessions(shards.folder, config, 1, Condition(None)))
    changed = list(positive_sessions(shards.folder, config, 1, Condition(None, way=way)))
    for before, after in zip(clean, changed, strict=True):
        assert before.words == after.words and before.sources == after.sources
        assert len(before.pcm) == len(after.pcm) and not np.array_equal(before.pcm, after.pcm)
        word = before.words[0]
        inside, outside = (
            np.abs(after.pcm[round(start * RATE) : round(end * RATE)].astype(float)).mean()
            for start, end in ((word.start, word.end), (word.begin - 0.5, word.begin))
        )
        assert inside > 3 * outside


def residue(shards, config, condition):
    """What lies under each word in a condition: (word's sound, what is added to it)."""
    near = config.changed({"evaluation.streams.noise_seconds": 0.0, "evaluation.streams.floor_dbfs": -80.0})
    clean = positive_sessions(shards.folder, near, 1, Condition(None))
    mixed = positive_sessions(shards.folder, near, 1, condition)
    for before, after in zip(clean, mixed, strict=True):
        for word in before.words:
            span = slice(round(word.start * RATE), round(word.end * RATE))
            pure = before.pcm[span].astype(float)
            yield pure, after.pcm[span].astype(float) - pure


@pytest.fixture
def make_recordings(tmp_path, pack_shards):
    """Make shards of faint words of noise, other noise, and perhaps speech, which is a tone of 1 kHz."""

    def make(with_speech):
        random = np.random.default_rng(6)
        words = [
            {"audio": random.normal(0, 0.02, RATE), "role": "positive", "label": "hey robin", "speech": (0.2, 0.7)}
            for _ in range(4)
        ]
        tone = 0.1 * np.sin(2 * np.pi * 1_000 * np.arange(3 * RATE) / RATE)
        rest = [{"audio": random.normal(0, 0.05, 3 * RATE), "role": "noise"}]
        return pack_shards(tmp_path, words + rest + [{"audio": tone, "role": "negative"}] * with_speech)

    return make


@pytest.mark.parametrize(("under", "snr_db"), [("noise", 5.0), ("speech", 5.0), ("speech", -3.0), ("music", 8.0)])
def test_what_lies_under_a_word_is_of_its_kind_and_so_far_below_it(make_recordings, config, under, snr_db):
    for pure, added in residue(make_recordings(True), config, Condition(snr_db, under=under)):
        assert 10 * np.log10((pure**2).mean() / (added**2).mean()) == pytest.approx(snr_db, abs=0.2)
        spectrum = np.abs(np.fft.rfft(added * np.hanning(len(added)))) ** 2
        tone = spectrum[np.abs(np.fft.rfftfreq(len(added), 1 / RATE) - 1_000) < 20].sum() / spectrum.sum()
        tenth = np.sort(spectrum)[-len(spectrum) // 10 :].sum() / spectrum.sum()
        assert (tone > 0.99) == (under == "speech")
        assert (tenth > 0.9) == (under != "noise")  # music and tones have their power in few places


def test_without_other_speech_it_is_said_what_to_do(make_recordings, config):
    silent = make_recordings(False)
    with pytest.raises(DataError, match="no other speech to put under the wake words; add a source of role negative"):
        next(positive_sessions(silent.folder, config, 1, Condition(5.0, under="speech")))
