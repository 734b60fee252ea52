"""`wakeword synth`: what the voices make of a text, as files or for the ear."""

import logging
from collections.abc import Sequence
from pathlib import Path

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError, DataError, MissingDependencyError
from wakeword_core.runtime.loudspeaker import play
from wakeword_core.speech.synthesis import say, synthesize_phrase
from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import home_path

log = logging.getLogger(__name__)


def synth_phrase(
    text: str, out: Path | None, count: int, seed: int, ipa: Sequence[str], config: Path | None, settings: Sequence[str]
) -> None:
    """Write recordings of a text into `out`, each in another voice."""
    if out is None:
        raise ConfigError("name a folder for the recordings with --out, or hear the first one with --say")
    chosen = _settings(text, ipa, config, settings)
    with Bars() as progress:
        cache, rate = home_path() / "cache", chosen.data.audio.sample_rate
        paths = synthesize_phrase(text, count, rate, seed, out, cache, progress, chosen.synthesis)
    print(printable(f"{len(paths)} recordings of {text!r} in {out}"))


def say_phrase(
    text: str, out: Path | None, seed: int, ipa: Sequence[str], config: Path | None, settings: Sequence[str]
) -> None:
    """Play the first of the recordings of a text, and print how it is pronounced.

    It is written besides where a folder is named, and into the working directory where nothing can be played.
    """
    chosen = _settings(text, ipa, config, settings)
    rate = chosen.data.audio.sample_rate
    said = say(text, rate, seed, home_path() / "cache", chosen.synthesis)
    print(printable(f"{text!r} as {said.ipa} by {said.speaker}" + (f", {said.manner}" if said.manner else "")))
    try:
        play(said.samples, rate)
    except (MissingDependencyError, DataError) as error:
        log.warning("It is not played: %s", error)
        out = out or Path.cwd()
    if out is not None:
        path = out / said.name
        write_audio(path, said.samples, rate)
        print(printable(f"written to {path}"))


def _settings(text: str, ipa: Sequence[str], config: Path | None, settings: Sequence[str]) -> Config:
    chosen = load_config(config, settings)
    if not ipa:
        return chosen
    given = {**chosen.synthesis.pronunciations, text: tuple(ipa)}
    return chosen.changed({"synthesis.pronunciations": given})
