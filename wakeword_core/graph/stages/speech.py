"""Synthetic speech: recordings made from text, as one more source."""

from dataclasses import asdict
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.graph.stage import CheckRun, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Synthesize the phrase, phrases like it and other sentences, in many voices; what went wrong is set apart."""
    from wakeword_core.speech.quality import DROPPED_PAGE
    from wakeword_core.speech.synthesis import synthesize

    config = run.config
    summary = synthesize(
        config.phrase,
        config.synthesis,
        config.data.audio.sample_rate,
        config.seed,
        run.out,
        run.cache,
        run.progress,
        run.workers,
        run.parts,
    )
    run.figures = asdict(summary)
    run.volatile.add(DROPPED_PAGE)  # what it says is in the list of reasons


def speech_verifies(speech: Artifact, run: CheckRun) -> Verdict:
    """Fail where a recording is not as it was made."""
    problems = [f"{name} changed since it was made" for name in speech.damaged(read=True)]
    return verdict_on(problems, f"all {len(speech.files)} files are as they were written")


def voice_files(config: Config) -> tuple[Path, ...]:
    """Return the files of the user's voices, which may hold another voice tomorrow."""
    from wakeword_core.speech.engines.piper import files_of_voice

    voices = config.synthesis.piper_voices if "piper" in config.synthesis.engines else ()
    return tuple(file for voice in voices for file in files_of_voice(voice))


STAGE = Stage(
    name="synthetic_speech",
    version="3",
    make=make,
    inputs=(),
    settings=("phrase", "seed", "synthesis", "data.audio.sample_rate"),
    group="ingest",
    kinds=("python", "flac"),
    description=__doc__,
    checks=(check(speech_verifies),),
    libraries=("numpy", "scipy", "soundfile", "soxr"),
    files=voice_files,
    optional=lambda config: config.synthesis.enabled,
)
