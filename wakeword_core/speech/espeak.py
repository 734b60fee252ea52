"""The espeak-ng synthesizer through ctypes: speech and phonemes.

espeak-ng (GPL-3.0-or-later) is neither linked nor shipped with this project; the optional package `espeakng_loader`
carries its library and data.
"""

import ctypes
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.python import install_command

ACCENTS: dict[str, str] = {
    "en-us": "en-us",
    "en-gb": "en",
    "en-gb-scotland": "en-gb-scotland",
    "en-gb-x-rp": "en-gb-x-rp",
    "en-gb-x-gbclan": "en-gb-x-gbclan",
    "en-us-nyc": "en-us-nyc",
    "en-029": "en-029",
}
"""English accents by language tag, and the name espeak-ng loads each by. West Midlands is left out because it drops
the h of "hey", which makes it another word, and Shavian because only its spelling differs."""

FEMALE_VARIANTS: tuple[str, ...] = (
    "Alicia", "Andrea", "Annie", "anika", "belinda", "f1", "f2", "f3", "f4", "f5", "grandma", "linda",
    "shelby", "steph", "zac",
)  # fmt: skip
MALE_VARIANTS: tuple[str, ...] = (
    "Alex", "Andy", "Denis", "Gene", "Jacky", "Lee", "Mario", "Mike", "Reed", "Storm", "antonio",
    "benjamin", "boris", "david", "ed", "edward", "gustave", "iven2", "john", "kaukovalta", "m1", "m2", "m3", "m4",
    "m5", "m6", "m7", "m8", "marcelo", "max", "miguel", "mike2", "norbert", "pablo", "paul", "pedro", "quincy",
    "robert", "sandro", "travis", "victor",
)  # fmt: skip
"""Variants that pass for a person. Left out: whispers, which have no pitch (whisper, whisperf, caleb); creaking
(croak, grandpa); machines and monsters, most by a metallic echo (robosoft*, UniRobot, anikaRobot, RicishayMax*,
announcer, Demonic, Tweaky, klatt*, Marco); drawls (AnxiousAndy); `fast`, a test; and all but one of families that
share their formants (Diogo, Henrique, Hugo and michel are miguel; rob is robert, aunty f4, adam Reed, Nguyen m7 by
the distance of their mean spectra), so that one voice never counts as several speakers. `zac` is a child."""

VARIANTS: tuple[str, ...] = FEMALE_VARIANTS + MALE_VARIANTS

_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT_ON_ERROR = 0x8000
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_PHONEME_NAMES = 0x100
_PHONEMES_IPA = 0x02
_PHONEME_SEPARATOR = "_"
_CLAUSE_SEPARATOR = " | "
_NOTE = re.compile(r"\([a-z-]+\)")
"""What it puts into IPA where it reads a word by the rules of another language, such as (en)."""
_VOICE_NAME = re.compile(r"[A-Za-z0-9-]+(\+\w+)?")
_BREATH_SEED = 1
_MOST_TAKES = 16
"""Times that a text is said in search of two that are the same; see `_engine`."""
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()


@dataclass(frozen=True)
class Voice:
    """An accent of English and a variant: who speaks."""

    accent: str = "en-us"
    variant: str | None = None

    @property
    def name(self) -> str:
        """Return the name in espeak-ng's form: `en-us+f3`."""
        return self.accent if self.variant is None else f"{self.accent}+{self.variant}"


def speak(
    text: str, voice: Voice, *, rate: int = 170, pitch: int = 50, intonation: int = 50, named: bool = False
) -> tuple[NDArray[np.int16], int]:
    """Synthesize `text`: int16 [samples] and their rate in Hz; the same bytes for the same arguments, always.

    With `named`, what stands in `[[...]]` are names of phonemes, see `mnemonics`.

    `rate` in words a minute (80 to 450), `pitch` and `intonation` (how far pitch moves) from 0 to 99.
    DataError when the text gives no sound, the voice does not exist, or other threads never let it be.
    """
    chunks: list[bytes] = []

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _SynthCallback(collect)
    encoded = _encoded(text)
    parameters = ((_PARAMETER_RATE, rate), (_PARAMETER_PITCH, pitch), (_PARAMETER_RANGE, intonation))

    def take() -> tuple[bytes, int, bool]:
        chunks.clear()
        with _engine() as (library, sample_rate):
            library.espeak_SetSynthCallback(callback)
            _set_voice(library, _espeak_name(voice))
            for parameter, value in parameters:
                library.espeak_SetParameter(parameter, value, 0)
            status = _synthesize(library, encoded, named)
            drawn = _random_was_drawn(library)
        if status != 0:
            raise DataError(f"espeak-ng failed with status {status} on {text!r}; choose another text")
        return b"".join(chunks), sample_rate, drawn

    said, sample_rate = _undisturbed(take, voice)
    samples = np.frombuffer(said, dtype=np.int16)
    if not samples.any():
        raise DataError(f"the text {text!r} gives no sound in the voice {voice.name}; use a text with words in it")
    return samples, sample_rate


def _undisturbed(take: Callable[[], tuple[bytes, int, bool]], voice: Voice) -> tuple[bytes, int]:
    """Return what is said and its rate: that of one take which drew no random numbers, or of two that are the same."""
    last: bytes | None = None
    for _ in range(_MOST_TAKES):
        said, sample_rate, drawn = take()
        if not drawn or said == last:
            return said, sample_rate
        last = said
    raise DataError(
        f"the voice {voice.name} sounds different each time, because other threads of this process draw the random "
        "numbers of the C library as well; run again when the machine is at rest, or with compute.engine local"
    )


def _random_was_drawn(library: ctypes.CDLL) -> bool:
    """Tell whether the library, or another thread, drew of the C library's random numbers since `_engine` began."""
    if not hasattr(library, "srand"):
        return False
    following = library.rand()
    library.srand(_BREATH_SEED)
    return bool(following != library.rand())


def phonemes(texts: Sequence[str], language: str = "en-us", named: bool = False) -> list[str]:
    """Return the IPA of each text, "" where nothing is spoken; `_` is between phonemes, ` | ` between clauses.

    `language` is an accent of English or another language of espeak-ng, such as de; `named` is as in `speak`.
    DataError when espeak-ng does not know the language.
    """
    encoded = [_encoded(text) for text in texts]
    with _engine() as (library, _):
        _set_voice(library, ACCENTS.get(language, language))
        if named:
            silent = _SynthCallback(lambda *_: 0)
            library.espeak_SetSynthCallback(silent)
            _synthesize(library, b"a", named)  # espeak-ng keeps the way of reading from what it said last
        return [_CLAUSE_SEPARATOR.join(_clauses(library, text)) for text in encoded]


def as_read(ipa: str) -> str:
    """Return IPA as neural voices read it: without notes of languages, and with a comma where clauses meet."""
    return _NOTE.sub("", ipa).replace(_CLAUSE_SEPARATOR, ", ")


def _synthesize(library: ctypes.CDLL, encoded: bytes, named: bool) -> int:
    flags = _CHARACTERS_UTF8 | (_PHONEME_NAMES if named else 0)
    buffer = ctypes.create_string_buffer(encoded)
    return int(library.espeak_Synth(buffer, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None))


def _clauses(library: ctypes.CDLL, encoded: bytes) -> Iterator[str]:
    mode = ord(_PHONEME_SEPARATOR) << 8 | _PHONEMES_IPA
    buffer = ctypes.create_string_buffer(encoded)
    position = ctypes.c_void_p(ctypes.addressof(buffer))
    while position.value:
        spoken = (library.espeak_TextToPhonemes(ctypes.byref(position), _CHARACTERS_UTF8, mode) or b"").decode()
        if spoken.strip():
            yield spoken.strip()


def _encoded(text: str) -> bytes:
    if "\0" in text:
        raise DataError(f"the text {text!r} holds a null character; remove it")
    try:
        # letters in pieces, as some file systems keep them, would be read without their accents
        return unicodedata.normalize("NFC", text).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"the text {text!r} is not valid Unicode; write it anew") from None


def require() -> None:
    """Raise MissingDependencyError, which says what to install, where espeak-ng is not installed."""
    _paths()


def _paths() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError:
        raise MissingDependencyError(
            f"speech from text needs espeak-ng, which is under the GPL-3 licence: {install_command('speech')}"
        ) from None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


@contextmanager
def _engine() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load espeak-ng for one piece of work, one at a time, and unload it after.

    Its oscillator phases are static and outlive espeak_Terminate, and the breath of some variants comes from random
    numbers seeded by the clock, or from the C library's `rand`: only a freshly loaded library with fresh seeds says the
    same text in the same bytes whatever was said before. Loading takes half a millisecond. But all threads of a process
    share `rand`, and those of a Ray worker draw of it: what rests on it is said until it is the same twice.
    """
    library_path, data_path = _paths()
    with _lock:
        try:
            library = ctypes.CDLL(library_path)
        except OSError as error:
            raise MissingDependencyError(
                f"the espeak-ng library {library_path} cannot be loaded ({error}); reinstall espeakng-loader"
            ) from error
        try:
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
            library.espeak_Synth.argtypes = [
                ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
                ctypes.c_void_p, ctypes.c_void_p,
            ]  # fmt: skip
            sample_rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), _DONT_EXIT_ON_ERROR)
            if sample_rate <= 0:
                raise MissingDependencyError(
                    f"espeak-ng cannot read its data in {data_path}; reinstall espeakng-loader"
                )
            library.espeak_ng_SetRandSeed(ctypes.c_long(_BREATH_SEED))
            if hasattr(library, "srand"):
                library.srand(_BREATH_SEED)
            try:
                yield library, sample_rate
            finally:
                library.espeak_Terminate()
        finally:
            _unload()(library._handle)


def _unload() -> Callable[[int], object]:
    import _ctypes

    unload: Callable[[int], object] = getattr(_ctypes, "FreeLibrary" if os.name == "nt" else "dlclose")
    return unload


def _espeak_name(voice: Voice) -> str:
    language = ACCENTS.get(voice.accent)
    if language is None:
        raise DataError(f"no voice {voice.name!r}: the accent must be one of {', '.join(ACCENTS)}")
    if voice.variant is None:
        return language
    # espeak-ng itself silently falls back to the plain accent.
    if voice.variant not in os.listdir(Path(_paths()[1]) / "voices" / "!v"):
        raise DataError(f"no voice {voice.name!r}: the variant must be one of {', '.join(VARIANTS)}")
    return f"{language}+{voice.variant}"


def _set_voice(library: ctypes.CDLL, name: str) -> None:
    # a name may also be the path of a file
    if not _VOICE_NAME.fullmatch(name) or library.espeak_SetVoiceByName(name.encode()) != 0:
        raise DataError(
            f"espeak-ng has no voice {name!r}; name a language as it does, such as en-us, de, fr, es, ja or cmn, or, "
            "where that is one of them, reinstall espeakng-loader"
        )
