import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.speech.pronunciation.accents import ACCENTS, Listener, accented, accented_safely
from wakeword_core.speech.pronunciation.ipa import canonical
from wakeword_core.speech.pronunciation.phonetics import TOO_NEAR, edit_cost, edit_cost_within, normalise

PHRASE = "hˈeɪ ɹˈɑːbɪn"
SAID = st.text(st.sampled_from(list("ptkbdɡszfvθðmnlɹwhjʃiɪeɛæaʌəuʊoɔ ˈː")), min_size=1, max_size=16)


def rng(seed=1):
    return np.random.default_rng(seed)


def heard(text, accent, speakers=40):
    return {accented(text, accent, rng(seed)) for seed in range(speakers)}


@pytest.mark.parametrize(
    ("accent", "text", "said"),
    [
        ("german", "θˈɪŋk", "sˈɪŋk"),
        ("german", "wˈɛn", "vˈɛn"),
        ("german", "bˈæd", "bˈɛt"),
        ("italian", "θˈɪŋk", "tˈiŋk"),
        ("london", "θˈɪŋk", "fˈɪŋk"),
        ("london", "hˈaʊs", "ˈaʊs"),
        ("london", "bˈɔːtəl", "bˈɔːʔəʊ"),
        ("london", "ðə bɹˈʌðɚ", "ðə bɹˈʌvɚ"),
        ("french", "hˈaʊs", "ˈaʊs"),
        ("french", "ɹˈɛd", "ʁˈɛd"),
        ("spanish", "stˈɑːp", "ɛstˈɔp"),
        ("spanish", "vˈɛɹi", "bˈɛri"),
        ("spanish", "ʃˈɪp", "ʃˈip"),
        ("spanish", "bəskˈɪt", "baskˈit"),
        ("portuguese", "stˈɑːp", "istˈɑːpi"),
        ("japanese", "lˈaɪt", "ɹˈaɪto"),
        ("japanese", "ɹˈaɪs", "lˈaɪsu"),
        ("japanese", "kəmpjˈuːtɚ", "kəmpjˈuːtaː"),
        ("mandarin", "dˈɔɡ", "dˈɔk"),
        ("mandarin", "fˈæt mˈæn", "fˈɛt mˈɛn"),
        ("russian", "hˈoʊm", "xˈoʊm"),
        ("hindi", "vˈaɪn", "ʋˈaɪn"),
        ("hindi", "tˈeɪp", "ʈˈeːp"),
        ("arabic", "pˈɑːɹk", "bˈɑːrk"),
        ("cantonese", "θɹˈiː", "flˈi"),
        ("polish", "jˈɛs ʃˈiːz", "jˈɛs ʃˈis"),
    ],
)
def test_an_accent_is_known_by_its_sounds(accent, text, said):
    assert said in heard(text, accent)


@pytest.mark.parametrize("accent", ACCENTS)
def test_diphthongs_and_affricates_are_not_cut_apart(accent):
    for text, kept in (("bˈaɪt", "aɪ"), ("hˈaʊ", "aʊ"), ("dʒˈɔɪ", "ɔɪ")):
        assert all(kept in said for said in heard(text, accent))
    assert all("tʃ" in said or "ʃ" in said for said in heard("ˈɪtʃ", accent))


@pytest.mark.parametrize("accent", ACCENTS)
def test_speakers_differ_and_a_speaker_is_always_the_same(accent):
    text = "ðə vˈɛɹi ɹˈɛd skˈuːl hˈæz ə pˈɑːθ wˈɪð bˈætz"
    assert len(heard(text, accent)) > 4
    assert accented(text, accent, rng(3)) == accented(text, accent, rng(3))


def test_a_word_of_which_nothing_is_left_leaves_no_space_behind():
    said = {accented(text, accent, rng(seed)) for text in ("a h", "h a") for accent in ACCENTS for seed in range(20)}
    assert "a" in said and not any(one != one.strip() for one in said)


@given(SAID, st.sampled_from(sorted(ACCENTS)), st.integers(0, 99))
@settings(deadline=None)
def test_an_accent_of_any_text_can_be_pronounced(text, accent, seed):
    try:
        ipa = canonical(text)
    except Exception:
        return
    said = accented(ipa, accent, rng(seed))
    # a word of nothing but an h may be silent
    assert canonical(said or "a") == (said or "a") or not said.strip()


def test_the_phrase_stays_the_phrase():
    other = "hˈeɪ lˈɑːbin"
    assert any(said == other for said in heard(PHRASE, "cantonese"))
    alone, beside = Listener([PHRASE]), Listener([PHRASE], [other])
    assert alone.hears_phrase(other) and not beside.hears_phrase(other)
    # nor something that is in what others say
    assert not Listener([PHRASE], speech=["sˈeɪ hˈeɪ lˈɑːbin naʊ"]).hears_phrase(other)
    # nor something that nobody would know
    assert not alone.hears_phrase("ˈaɪ ɹˈʌɡ") and not alone.hears_phrase("ˈ")


def test_another_text_never_becomes_the_phrase():
    listener = Listener([PHRASE])
    near = "hˈeɪ ɹˈʌbɪŋ"
    for nearer in ("hˈeɪ ɹˈɑːbɪŋ", PHRASE, "ðɪ hˈeɪ lˈɑːbɪn dˈɪɹ"):
        assert not listener.hears_other(nearer, near) and not listener.hears_other(nearer, nearer)
    assert listener.hears_other("hˈeɪ rˈʌbiŋ", near) and listener.hears_other("hˈeɪ ɹˈɛbɪt", "hˈeɪ ɹˈæbɪt")
    drawn = [accented_safely("hˈeɪ ɹˈæbɪn", list(ACCENTS), False, listener, rng(seed)) for seed in range(60)]
    far = min(edit_cost_within(normalise(PHRASE), normalise(said[0])) for said in drawn if said is not None)
    assert TOO_NEAR <= edit_cost_within(normalise(PHRASE), normalise("hˈeɪ ɹˈæbɪn")) <= far


@given(SAID, st.lists(SAID, max_size=6))
@settings(deadline=None, max_examples=60)
def test_the_listener_hears_as_by_comparing_with_everything(said, others):
    if not normalise(said):
        return
    listener = Listener([PHRASE], others)
    own = edit_cost(normalise(said), normalise(PHRASE))
    least = min((edit_cost(normalise(said), normalise(o)) for o in others if normalise(o)), default=99)
    assert listener.hears_phrase(said) == (own <= 0.25 * len(normalise(said)) and least >= max(TOO_NEAR, own))


def test_an_accent_that_changes_nothing_is_none():
    listener = Listener(["mˈa"])
    assert accented_safely("mˈa", ["german"], True, listener, rng()) is None
    found = accented_safely(PHRASE, ["german", "italian"], True, Listener([PHRASE]), rng())
    assert found is not None and found[0] != PHRASE and found[1] in ("german", "italian")
    assert accented_safely(PHRASE, ["german", "italian"], True, Listener([PHRASE]), rng()) == found
