"""espeak-ng as an engine: many voices and accents of English by formant synthesis, in milliseconds."""

from wakeword_core.audio import from_pcm16
from wakeword_core.speech import espeak
from wakeword_core.speech.engines import EngineSettings, Line, Samples, Voice, package_versions
from wakeword_core.speech.pronunciation import mnemonics

LICENCE = "synthetic (espeak-ng)"
WORDS_A_MINUTE = 170
"""At a tempo of 1."""


class EspeakEngine:
    """Every variant of espeak-ng that passes for a person, in every accent."""

    name = "espeak"
    speaks_ipa = True
    seconds = 0.01

    def __init__(self) -> None:
        self.version = package_versions("espeakng-loader")

    def voices(self) -> tuple[Voice, ...]:
        """Return each variant in each accent; General American and British make up most of what is said."""
        return tuple(
            Voice(
                espeak.Voice(accent, variant).name,
                variant,
                accent,
                LICENCE,
                "female" if variant in espeak.FEMALE_VARIANTS else "male",
            )
            for variant in espeak.VARIANTS
            for accent in ("en-us", "en-gb", *espeak.ACCENTS)
        )

    def can_say(self, text: str) -> bool:
        """Return True: what cannot be read is named letter by letter."""
        return True

    def prepare(self) -> None:
        """See that the package is there."""
        espeak.require()

    def say(self, line: Line) -> tuple[Samples, int]:
        """Say a line."""
        accent, _, variant = line.voice.partition("+")
        named = line.ipa is not None
        text = f"{mnemonics.from_ipa(line.ipa)}{line.ending}" if line.ipa is not None else line.text
        pcm, rate = espeak.speak(
            text,
            espeak.Voice(accent, variant or None),
            rate=round(line.tempo * WORDS_A_MINUTE),
            pitch=line.pitch,
            intonation=line.intonation,
            named=named,
        )
        return from_pcm16(pcm), rate


def engine(settings: EngineSettings) -> EspeakEngine:
    """Make the engine."""
    return EspeakEngine()
