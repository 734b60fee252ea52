"""Listeners of every kind: what they give is what their own libraries give, however the sound is cut."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import ConfigError, MissingDependencyError
from wakeword_core.listeners.listener import OURS
from wakeword_core.listeners.peers import RATE, MicroWakeWord, OpenWakeWord
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import smooth

LEAD = 1.0
NAMES = (OURS, MicroWakeWord.name, OpenWakeWord.name)
# What an engine has heard but does not use yet: openWakeWord keeps half a block of samples and four frames back.
HELD_BACK = {OURS: 0.03, MicroWakeWord.name: 0.03, OpenWakeWord.name: 0.11}
each_engine = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="session")
def spoken():
    """The word, said by a synthetic voice."""
    pytest.importorskip("espeakng_loader", reason="needs the speech extra: pip install -e '.[speech]'")
    import soxr

    from wakeword_core.speech.espeak import Voice, speak

    samples, rate = speak("Alexa.", Voice())
    sound = soxr.resample(samples.astype(np.float32), rate, RATE)
    return (sound / np.abs(sound).max() * 8_000).astype(np.int16)


@pytest.fixture(scope="session")
def sentence(spoken, make_noise):
    """Quiet, the word, quiet: int16 [samples], and when the word ends."""
    pcm = np.concatenate([make_noise(LEAD, 1, 10), spoken, make_noise(0.7, 2, 10)])
    return pcm, LEAD + len(spoken) / RATE


@pytest.fixture(scope="session")
def scored(adapters, sentence):
    """The scores of the sentence by each engine."""
    return {name: engine.score(sentence[0]) for name, engine in adapters.items()}


class TestEngines:
    # microWakeWord: three frames of 30 ms, 10 ms apart, for a score
    @pytest.mark.parametrize(("name", "first", "step"), [(NAMES[1], 800, 480), (NAMES[2], 1_280, 1_280)])
    def test_one_score_a_step_at_the_end_of_what_was_heard(self, sentence, scored, name, first, step):
        times, scores = scored[name]
        assert times == pytest.approx(np.arange(first, len(sentence[0]) + 1, step) / RATE)
        assert len(scores) == len(times)
        assert ((scores >= 0) & (scores <= 1)).all()

    # openWakeWord begins each stream with eight seconds of silence, which take it half a second
    @pytest.mark.parametrize("name", NAMES[:2])
    @settings(deadline=None, max_examples=5)
    @given(cuts=st.lists(st.integers(0, 40_000), max_size=30))
    def test_any_cutting_gives_the_same_scores(self, adapters, sentence, scored, name, cuts):
        self._cut(adapters[name], sentence[0], cuts, scored[name])

    def test_any_cutting_gives_the_same_scores_of_openwakeword(self, adapters, sentence, scored):
        cuts = [0, 1, 1_279, 1_281, 5_000, 5_000, 20_480, 33_000]
        self._cut(adapters[NAMES[2]], sentence[0], cuts, scored[NAMES[2]])

    @staticmethod
    def _cut(engine, pcm, cuts, wanted):
        engine.reset()
        ends = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
        found = [engine.push(pcm[start:end]) for start, end in pairwise(ends)]
        times, scores = (np.concatenate([one[index] for one in found]) for index in (0, 1))
        assert np.array_equal(times, wanted[0])
        if engine.name == OURS:  # on some processors a layer's last bits depend on how many steps it gets at once
            assert scores == pytest.approx(wanted[1], rel=0, abs=1e-6)
        else:
            assert np.array_equal(scores, wanted[1])

    @each_engine
    def test_a_score_knows_all_that_was_heard_and_nothing_more(self, adapters, make_noise, sentence, scored, name):
        engine, (pcm, end), (times, scores) = adapters[name], sentence, scored[name]
        wake = scores.reshape(len(times), -1)[:, -1]
        # where the score moves, as some engines round small ones to nothing
        rising = times[np.argmax(wake > 0.05)] if name != OURS else end - 0.3
        for moment in (rising - 0.02, rising + 0.03):
            cut = round(moment * RATE)
            after, other = engine.score(np.concatenate([pcm[:cut], make_noise(0.6, 3, 8_000)]))
            shared = min(len(times), len(after))
            same = (scores[:shared] == other[:shared]).reshape(shared, -1).all(axis=1)
            assert same[times[:shared] <= cut / RATE].all()
            late = times[:shared][~same][0] - cut / RATE - engine.detector.stride_seconds
            assert late < HELD_BACK[name]

    @pytest.mark.parametrize("name", NAMES[1:])
    def test_the_word_is_found_where_it_ends(self, sentence, scored, name):
        end, (times, scores) = sentence[1], scored[name]
        assert scores.max() > 0.9
        assert scores[times < LEAD].max() < 0.1
        assert end - 0.2 < times[scores.argmax()] < end + 0.5

    @each_engine
    def test_a_session_begins_afresh(self, adapters, make_noise, sentence, scored, name):
        engine, half = adapters[name], len(sentence[0]) // 2
        engine.score(make_noise(0.8, 4, 6_000))
        times, scores = engine.score(sentence[0][:half])
        assert np.array_equal(times, scored[name][0][: len(times)])
        assert np.array_equal(scores, scored[name][1][: len(times)])
        assert len(times) > 3

    def test_ours_is_the_model_itself(self, adapters, rules, sentence, scored):
        times, scores = WakewordModel(adapters[OURS].files[0]).score_audio(sentence[0])
        assert scored[OURS][0] == pytest.approx(times)
        assert scored[OURS][1] == pytest.approx(scores, abs=1e-6)
        assert adapters[OURS].detector == rules

    def test_the_mean_is_the_one_microwakeword_decides_on(self, adapters, sentence, scored):
        import pymicro_wakeword as library

        engine, (pcm, _) = adapters[MicroWakeWord.name], sentence
        shipped, features = library.MicroWakeWord.from_builtin(library.Model.ALEXA), library.MicroWakeWordFeatures()
        answers = [shipped.process_streaming_prob(one) for one in features.process_streaming(pcm.tobytes())]
        wanted = answers[shipped.stride - 1 :: shipped.stride]
        found = smooth(scored[engine.name][1], engine.detector.smoothing)
        full = shipped.sliding_window_size - 1
        assert found[full:] == pytest.approx(wanted[full:])
        assert max(wanted) > shipped.probability_cutoff

    def test_scores_are_those_openwakeword_gives(self, sentence, scored):
        import pyopen_wakeword as library

        pcm, shipped = sentence[0], library.OpenWakeWord.from_builtin(library.Model.ALEXA)
        features = library.OpenWakeWordFeatures.from_builtin()
        whole = pcm[: len(pcm) // 1_280 * 1_280].reshape(-1, 1_280)
        answers = [
            [score for one in features.process_streaming(block.tobytes()) for score in shipped.process_streaming(one)]
            for block in whole
        ]
        assert all(len(answer) == 1 for answer in answers[1:])
        assert scored[OpenWakeWord.name][1].tolist() == [answer[-1] for answer in answers]

    def test_rules_are_shared_but_for_the_smoothing(self, adapters, rules):
        for name, smoothing, stride in ((NAMES[1], 5, 0.03), (NAMES[2], 1, 0.08)):
            detector = adapters[name].detector
            assert (detector.smoothing, detector.votes, detector.hold) == (smoothing, 0, 1)
            assert detector.stride_seconds == pytest.approx(stride)
            for rule in ("off_ratio", "rearm_seconds", "lockout_seconds"):
                assert getattr(detector, rule) == getattr(rules, rule)

    def test_files_are_all_that_a_device_holds(self, adapters):
        names = {name: [path.name for path in one.files] for name, one in adapters.items()}
        assert names[NAMES[1]] == ["alexa.tflite"]
        assert sorted(names[NAMES[2]]) == ["alexa.tflite", "embedding_model.tflite", "melspectrogram.tflite"]
        assert all(path.is_file() for one in adapters.values() for path in one.files)


class TestRefusals:
    @pytest.mark.parametrize(
        ("module", "engine"),
        [("pymicro_wakeword.microwakeword", MicroWakeWord), ("pyopen_wakeword.openwakeword", OpenWakeWord)],
    )
    def test_a_missing_extra_is_one_sentence_with_the_command(self, monkeypatch, rules, module, engine):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependencyError, match="pip install") as caught:
            engine("alexa", rules)
        assert engine.package in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("engine", [MicroWakeWord, OpenWakeWord])
    def test_a_word_that_a_rival_does_not_know(self, adapters, rules, engine):
        with pytest.raises(ConfigError, match=r"'computer'.*alexa, hey_jarvis"):
            engine("computer", rules)
