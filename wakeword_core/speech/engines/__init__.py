"""Speech engines behind one interface: who can speak, what they can say, and one line said at a time.

Each engine is a file here, with a function `engine` that makes it. Other packages add engines as plug-ins (`plugins`):
functions that take `EngineSettings` and return an `Engine`.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wakeword_core.config import Split, SynthesisConfig
from wakeword_core.config.synthesis import OWN_ENGINES
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.plugins import find_plugin

Samples = NDArray[np.float32]
Sex = Literal["female", "male"]

SPLIT_TURNS: tuple[Split, ...] = ("train", "test", "val", "train", "train")
"""The splits in turn, wherever voices or sounds are held in some: three of five learn."""
_LEAST_MAIN = 0.55
"""Of a mixture: who has more than half of it is who speaks."""
_MOST_OTHERS = 2
_FRAME_SECONDS = 0.005
_ENDINGS = (".", "!", "?", ",")
_NAME = re.compile(r"[A-Za-z0-9.-]+")
"""Of speakers and languages: recordings are named by them and the engine, and found again by these names."""


@dataclass(frozen=True)
class Voice:
    """A way in which an engine can speak.

    A speaker may have several voices, such as one an accent. A voice that is listed twice is drawn twice as often.
    """

    name: str
    speaker: str
    """Who it counts as when recordings are split: letters, digits, dots and hyphens."""
    language: str
    """A tag such as `en-us`: of the accent, whatever the language of the text is."""
    licence: str
    """Of what it says, as recordings of a source have it."""
    sex: Sex | None = None
    split: Split | None = None
    """The split that its recordings are held in; None: decided by its speaker, as of people."""


@dataclass(frozen=True)
class Line:
    """What an engine is to say, and how."""

    text: str
    voice: str
    """The name of one of its voices."""
    ipa: str | None = None
    """How to pronounce it, for engines that speak IPA; the others go by the text."""
    tempo: float = 1.0
    """Times the tempo of about 170 words a minute."""
    pitch: int = 50
    """0 (deep) to 99 (high), 50 being the voice's own; engines that cannot change it leave it."""
    intonation: int = 50
    """How far pitch moves, 0 to 99, as of `pitch`."""
    seed: int = 0
    """Of all that is random about it."""

    @property
    def ending(self) -> str:
        """Return the mark that the text ends with, which has no sound and gives the line its melody."""
        return self.text[-1:] if self.text[-1:] in _ENDINGS else ""


class Engine(Protocol):
    """Something that speaks. Making one loads nothing; `say` may load a model first."""

    name: str
    speaks_ipa: bool
    """Whether it goes by the IPA of a line, where that is given."""
    seconds: float
    """About how long a core takes for a short line, by which work is shared out."""

    @property
    def version(self) -> str:
        """All that the sound depends on besides the line: versions of packages, hashes of models, settings."""
        ...

    def voices(self) -> tuple[Voice, ...]:
        """Return all voices, always in the same order."""
        ...

    def can_say(self, text: str) -> bool:
        """Tell whether it reads all of a text."""
        ...

    def prepare(self) -> None:
        """Fetch what is missing and may be fetched; MissingDependencyError says how to install the rest."""
        ...

    def say(self, line: Line) -> tuple[Samples, int]:
        """Say a line on one thread: float32 [samples] in [-1, 1] and their rate in Hz.

        The samples are a function of the line alone. DataError when the text gives no sound.
        """
        ...


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is made from: the settings of synthesis, and a folder for files that are fetched once."""

    synthesis: SynthesisConfig
    cache: Path


def make_engine(name: str, settings: EngineSettings) -> Engine:
    """Make the engine of that name; ConfigError where there is none, WakewordError where it is broken."""
    if name in OWN_ENGINES:
        return cast(Engine, import_module(f"{__name__}.{name}").engine(settings))
    try:
        plugin = find_plugin("speech engine", name, OWN_ENGINES)
    except ConfigError as error:
        raise ConfigError(f"synthesis.engines: {name!r} {error}") from None
    make = plugin.load()
    with plugin.blamed():
        engine = cast(Engine, make(settings))
        _check_names(name, engine.voices())
    return engine


def missing_engines(settings: EngineSettings) -> dict[str, WakewordError]:
    """Return what is wrong with each of the engines that are to speak and cannot; what may be fetched is fetched."""
    missing = {}
    for name in settings.synthesis.engines:
        try:
            make_engine(name, settings).prepare()
        except WakewordError as error:
            missing[name] = error
    return missing


def _check_names(engine: str, voices: Iterable[Voice]) -> None:
    """Raise ValueError where recordings of a speaker could be taken for another's, or lie elsewhere, by their names."""
    if not _NAME.fullmatch(engine) or "-" in engine:
        raise ValueError(f"the name {engine!r} has other signs than letters, digits and dots")
    splits: dict[str, Split | None] = {}
    for voice in voices:
        for name in (voice.speaker, voice.language):
            if not _NAME.fullmatch(name):
                raise ValueError(f"the name {name!r} has other signs than letters, digits, dots and hyphens")
        if splits.setdefault(voice.speaker, voice.split) != voice.split:
            raise ValueError(f"the speaker {voice.speaker!r} has voices in two splits")


def package_versions(*names: str) -> str:
    """Return packages with their versions as one text, such as `hibari-tts 0.2.1`; those that are there."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def is_latin(text: str) -> bool:
    """Tell whether a text has letters or digits, and none but those of English with or without accents."""
    plain = unicodedata.normalize("NFKD", text)
    return all(character.isascii() for character in plain if character.isalnum()) and any(map(str.isalnum, plain))


def has_sounds(ipa: Iterable[str]) -> bool:
    """Tell whether IPA has more than marks, such as those of stress and length."""
    return any(unicodedata.category(sign) in ("Ll", "Lu", "Lo") for sign in ipa)


def of_languages(voices: Iterable[Voice], languages: Iterable[str]) -> tuple[Voice, ...]:
    """Return the voices of some languages, where `en` stands for `en-us` and its other accents; none given: all."""
    wanted = tuple(languages)
    return tuple(
        voice
        for voice in voices
        if not wanted or any(f"{voice.language}-".startswith(f"{language}-") for language in wanted)
    )


def draw_mixture(main: str, others: Sequence[str], generator: np.random.Generator) -> dict[str, float]:
    """Draw weights of a voice, which has more than half, and of one or two of the others; they sum to 1."""
    count = min(int(generator.integers(1, _MOST_OTHERS + 1)), len(others))
    if not count:
        return {main: 1.0}
    share = float(generator.uniform(_LEAST_MAIN, 1.0))
    rest = generator.dirichlet(np.ones(count)) * (1 - share)
    chosen = generator.choice(others, count, replace=False)
    return {main: share} | {str(name): float(part) for name, part in zip(chosen, rest, strict=True)}


def without_quiet(x: Samples, rate: int, ratio: float, before: float = 0.0, after: float = 0.0) -> Samples:
    """Cut the quiet before and after speech, but for some seconds of it: [samples] at `rate` Hz, not silent.

    Quiet are frames of 5 ms whose peak is at most `ratio` times that of the loudest.
    """
    frame = max(1, round(_FRAME_SECONDS * rate))
    padded = np.pad(x, (0, -len(x) % frame)).reshape(-1, frame)
    peaks = np.abs(padded).max(axis=1)
    loud = np.flatnonzero(peaks > ratio * peaks.max())
    start = loud[0] * frame - round(before * rate)
    return x[max(0, start) : (loud[-1] + 1) * frame + round(after * rate)]
