"""Real recordings of a wake word in which a recogniser does not hear it: mislabelled, cut short, or hard to hear."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wakeword_core.audio import from_pcm16, resample
from wakeword_core.config import Config
from wakeword_core.cores import available_cores
from wakeword_core.evaluation.report.players import Excerpt, cut
from wakeword_core.evaluation.streams.build import POSITIVE_ROLES
from wakeword_core.prefetch import prefetch
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording

_DIGITS = 4


@dataclass(frozen=True)
class Doubtful:
    """A recording, the words that were heard in it, and which share of its own word was not."""

    recording_id: str
    label: str
    source: str
    speaker: str
    heard: str
    unheard: float


@dataclass(frozen=True)
class DoubtfulRecordings:
    """How many real recordings of a wake word were listened to, how many are doubtful, and the worst of these."""

    listened: int
    doubtful: int
    worst: list[Doubtful]


def doubtful_recordings(
    shards: Path, config: Config, synthetic: Collection[str], progress: Progress = silent
) -> tuple[DoubtfulRecordings | None, list[Excerpt]]:
    """Listen to a split's real recordings of wake words; returns also an excerpt of each of the worst.

    None where the settings name no recogniser. What was said is compared as with synthetic recordings.
    MissingDependencyError without the recogniser or espeak-ng.
    """
    if config.evaluation.report.recognise == "none":
        return None, []
    from wakeword_core.speech.pronunciation import Pronunciations
    from wakeword_core.speech.quality import MOST_UNHEARD, least_unheard
    from wakeword_core.speech.recognition import SAMPLE_RATE, Whisper

    rate, report = config.data.audio.sample_rate, config.evaluation.report
    workers = config.compute.workers or available_cores()
    recogniser = Whisper(workers, "evaluation.report.recognise")
    recogniser.prepare()

    spoken = Pronunciations(config.synthesis.pronunciations)
    ways = {label: spoken.all_ways(label) or spoken.phonemize([label]) for label in config.labels[1:]}

    def hear(recording: Recording) -> tuple[Recording, str]:
        sound = from_pcm16(recording.audio)
        return recording, recogniser.hear(sound if rate == SAMPLE_RATE else resample(sound, rate, SAMPLE_RATE))

    real = (one for one in iter_recordings(shards, POSITIVE_ROLES) if one.source not in synthetic)
    found: list[tuple[Doubtful, Excerpt]] = []
    listened = doubtful = 0
    for recording, words in prefetch(hear, real, workers, 2 * workers):
        listened += 1
        progress("listening to training recordings", listened, 0)
        share = least_unheard(ways[recording.label], words)
        if share > MOST_UNHEARD:
            doubtful += 1
            found.append((_described(recording, words, share), _excerpt(recording, rate, report.clip_seconds)))
            found.sort(key=lambda pair: (-pair[0].unheard, pair[0].recording_id))
            del found[report.suspicious_clips :]
    return DoubtfulRecordings(listened, doubtful, [row for row, _ in found]), [excerpt for _, excerpt in found]


def _described(recording: Recording, words: str, share: float) -> Doubtful:
    unheard = round(share, _DIGITS)
    return Doubtful(recording.recording_id, recording.label, recording.source, recording.speaker, words, unheard)


def _excerpt(recording: Recording, rate: int, seconds: float) -> Excerpt:
    """Cut the speech that was found in a recording, or all of it."""
    start, end = float(recording.speech_start), float(recording.speech_end)
    if not 0 <= start < end:
        start, end = 0.0, len(recording.audio) / rate
    return cut(recording.audio, rate, start, end, seconds)
