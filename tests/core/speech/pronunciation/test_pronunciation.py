import pytest

from wakeword_core.config import SynthesisConfig
from wakeword_core.errors import DataError
from wakeword_core.speech.pronunciation import Pronunciations, pronounce, spelt_out
from wakeword_core.speech.synthesis import pronunciations_of


def spell(texts, accent="en-us"):
    """A stand-in for an engine: letters are phonemes."""
    return [" ".join("_".join(filter(str.isalpha, word.lower())) for word in text.split()) for text in texts]


def given_as(given, **rest):
    return Pronunciations(given, phonemize=spell, **rest)


def test_without_anything_given_engines_read_by_themselves():
    nothing = given_as({})
    assert not nothing and nothing.of("hey robin") is None and nothing.ways("hey robin") == 1
    assert nothing.phonemize(["ab"]) == ["a_b"]
    assert nothing.unread("hey robin") == "hey robin"


@pytest.mark.parametrize("text", ["hey robin", "Hey, Robin!", "HEY ROBIN.", " hey  robin "])
def test_a_phrase_is_said_as_it_was_given_however_it_is_written(text):
    assert given_as({"hey robin": "/heɪ ˈɹɒbɪn/"}).of(text) == "heɪ ɹˈɒbɪn"


def test_several_ways_take_turns():
    ways = given_as({"robin": ["ɹɒbɪn", "ɹobin", "ɹɒbɪn"], "hey": ["heɪ", "haj", "e"]})
    assert ways.ways("hey robin") == 6
    assert len({ways.of("hey robin", turn=turn) for turn in range(6)}) == 6
    assert ways.of("hey robin", turn=6) == ways.of("hey robin")


def test_words_of_a_phrase_are_said_so_elsewhere_and_the_rest_by_the_engine():
    ways = given_as({"hey robin": "heɪ ɹɒbɪn", "robin hood": "ɹɒbɪnhʊd"})
    assert ways.of("robin hey") == "ɹɒbɪn heɪ"
    assert ways.of("we say hey robin now") == "we saj heɪ ɹɒbɪn now".replace("saj", "say")
    assert ways.of("robin hood") == "ɹɒbɪnhʊd"
    assert ways.of("no bird") is None
    assert ways.unread("oh robin dear") == "oh dear"


def test_a_word_for_itself_comes_before_the_same_word_of_a_phrase():
    assert given_as({"hey robin": "heɪ ɹɒbɪn", "robin": "ɹobin"}).of("robin") == "ɹobin"
    # one word for two sounds of it tells nothing of each
    assert given_as({"tv two": "tiː viː tuː"}).of("two") is None


@pytest.mark.parametrize("text", ["24/7", "24 7", "open 24/7"])
def test_what_is_given_for_an_abbreviation_is_said_however_it_is_written(text):
    assert "bənana" in given_as({"24/7": "bənana"}).of(text)
    assert given_as({"Dr. Who": ["dɒktəhuː", "hu"]}).all_ways("doctor who") == ["dɒktəhuː", "hu"]
    assert given_as({"Dr.": "dɒk"}).of("Dr. Who") == given_as({"Dr.": "dɒk"}).of("doctor Who") == "dɒk who"
    assert given_as({"Dr. Who": "a", "doctor who": "e"}).of("doctor who") == "e"


def test_a_phonemizer_that_knows_them():
    ways = given_as({"小智": "ʃaʊdʒɨ"})
    assert ways.phonemize(["hey", "hey 小智", "小智"]) == ["h_e_y", "hey ʃaʊdʒɨ", "ʃaʊdʒɨ"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"robin": "ɹ%bin"}, "'%'"),
        ({"robin": []}, "'robin' needs"),
        ({"!": "a"}, "'!' needs"),
        ({"robin": ["a", ""]}, "no sound"),
    ],
)
def test_what_cannot_be_said_is_refused_at_once(wrong, reason):
    with pytest.raises(DataError, match=reason):
        given_as(wrong)


@pytest.mark.parametrize(
    ("text", "language", "spelt"),
    [
        ("24/7", "en-us", "24 7"),
        ("No. 5", "en-gb", "number 5"),
        ("hey Dr. Who", "en-us", "hey doctor Who"),
        ("no. Not me", "en-us", "no. Not me"),
        ("Dr. Müller", "de", "Doktor Müller"),
        ("Hey KI", "de", "Hey Ka I"),
        ("kick", "de", "kick"),
        ("z. B. Nr. 5", "de", "zum Beispiel Nummer 5"),
        ("M. Dupont", "fr", "Monsieur Dupont"),
        ("n° 5", "fr", "numéro 5"),
        ("1.5", "ja", "1てん5"),
        ("sig.ra Rossi", "it", "signora Rossi"),
        ("hydro. power", "en-us", "hydro. power"),
        ("", "en-us", ""),
        ("TV 2", "xx", "TV 2"),
    ],
)
def test_abbreviations_are_spelt_out(text, language, spelt):
    assert spelt_out(text, language) == spelt


class TestEngine:
    @pytest.fixture(autouse=True)
    def _engine(self):
        pytest.importorskip("espeakng_loader")

    @pytest.mark.parametrize(
        ("text", "language", "said"),
        [
            ("TV 2", "en-us", "tˌiːvˈiː tˈuː"),
            ("R2D2", "en-us", "ˈɑːɹ tˈuː dˈiː tˈuː"),
            ("24/7", "en-us", "twˈɛnti fˈɔːɹ sˈɛvən"),
            ("24/7", "de", "fˈiːɾ ʊnttsvˈantsɪç zˈiːbən"),
            ("TV 2", "fr", "tˌevˈe dˈø"),
            ("24/7", "es", "bˌeɪntikwˈatɾo sjˈete"),
            ("R2D2", "ja", "ˈɑː nˈiː dˈiː nˈiː"),
            ("３", "ja", "sˈa\u0308n"),
            ("你好小智", "cmn", "niχˈɑu ɕjˈɑu tsˈi"),
            ("привет", "ru", "prʲivʲˈet"),
            ("안녕", "ko", "ˈɐnnjʌŋ"),
            ("नमस्ते", "hi", "nəmˈʌsteː"),
        ],
    )
    def test_numbers_and_other_scripts_are_said_as_people_do(self, text, language, said):
        assert pronounce(text, language) == said

    def test_a_long_vowel_sign_is_no_letter_of_its_own(self):
        assert pronounce("コンピューター", "ja").startswith("kˌo̞")

    @pytest.mark.parametrize(
        ("text", "language", "reason"),
        [
            ("24時", "ja", "language ja, .* cannot read 時"),
            ("你好", "de", "cannot read 你, 好"),
            ("ハロー", "es", "cannot read ハ, ロ"),
            ("привет", "cmn", "cannot read п, р"),
            ("你好", "en-gb", "cannot read 你, 好"),
            ("!", "de", "gives no sound"),
            ("hello", "xx", "no voice 'xx'"),
            ("hello", "../de", "no voice"),
        ],
    )
    def test_what_a_language_does_not_read_is_named(self, text, language, reason):
        with pytest.raises(DataError, match=reason):
            pronounce(text, language)

    def test_other_texts_are_read_in_the_language_as_wholes_where_it_can_read_them(self):
        ways = Pronunciations({}, ("Hallo",), "de", others=("Was hat er", "Hallo 小智", "Rot | Gold", "!"))
        assert ways.of("was hat er") == pronounce("Was hat er", "de") and ways.of("she hat me") is None
        assert ways.of("Rot | Gold") == pronounce("Rot Gold", "de") and ways.unread("Hallo 小智") == "小智"

    def test_what_is_given_is_enough_for_what_the_language_cannot_read(self):
        ways = Pronunciations({"hey 小智": "heɪʃaʊdʒɨ", "KI": "kaː iː"}, ("hey 小智",), "de")
        assert ways.of("hey 小智") == "heɪʃaʊdʒɨ"
        assert ways.of("KI") == ways.of("Ka I") == "kaː iː" and ways.of("I think") is None

    @pytest.mark.parametrize(("text", "language"), [("St. Pauli", "de"), ("No. 5", "fr"), ("Dr. ハル", "ja")])
    def test_abbreviations_of_a_phrase_are_those_of_its_language(self, text, language):
        config = SynthesisConfig(phrase_language=language, confusables=[f"Oh {text}"])
        ways = pronunciations_of(text, config)
        assert ways.of(spelt_out(text, language)) == pronounce(text, language)
        assert ways.of(spelt_out(f"Oh {text}", language)) == pronounce(f"Oh {text}", language)

    def test_a_phrase_read_in_its_language(self):
        ways = Pronunciations({"Tor": "toːɐ"}, ("guten Tag",), "de")
        assert ways.of("Guten Tag!") == pronounce("guten Tag", "de")
        assert ways.of("guten") == pronounce("guten Tag", "de").split()[0]
        # what was given comes first
        assert Pronunciations({"guten tag": "moɪn"}, ("guten Tag",), "de").of("guten tag") == "moɪn"
