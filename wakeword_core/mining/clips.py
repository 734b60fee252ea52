"""Mined clips: which are kept, the table of where each is from, and the shards that hold their sound."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.audio import encode_wav
from wakeword_core.config import Role
from wakeword_core.errors import ArtifactError
from wakeword_core.files import replacing
from wakeword_core.shards.packed_split import iter_recordings, shard_name
from wakeword_core.shards.packing import ShardRow, write_and_read_back
from wakeword_core.shards.shard_file import Recording, Wav

if TYPE_CHECKING:
    import pandas as pd

TABLE = "clips.parquet"
MINED_ROLES: tuple[Role, ...] = ("negative", "hard_negative", "background", "noise")
"""Recordings that should hold no wake word, which the model listens to."""
CLIP_ROLE: Role = "hard_negative"
"""The role of every clip."""
_SHARD_BYTES = 64 << 20
"""A shard of clips that has reached this is closed; features are computed a shard at a time."""


@dataclass(frozen=True)
class Clip:
    """A stretch of a recording around a moment at which the model scored high, without a wake word there."""

    id: str
    """SHA-256 of its sound as a WAV file, as of any recording."""
    origin: str
    start: float
    """Seconds of the origin, as are `end` and `time`."""
    end: float
    time: float
    """End of the window that scored; a little after the end of the origin where the quiet after it is scored."""
    score: float
    origin_role: str
    label: str
    speaker: str
    source: str
    speech_start: float
    """The window that scored, in seconds of the clip: what training rows are aligned on."""
    speech_end: float


def cut_clip(
    origin: Recording, window_end: int, score: float, window: int, reach: tuple[int, int], sample_rate: int
) -> Clip:
    """Cut the clip around a window of `window` samples that ends at sample `window_end` of a recording.

    It holds `reach` samples before and after that, as far as the recording goes.
    """
    length = len(origin.audio)
    start, end = max(0, window_end - reach[0]), min(length, window_end + reach[1])
    return Clip(
        id=hashlib.sha256(encode_wav(origin.audio[start:end], sample_rate)).hexdigest(),
        origin=origin.id,
        start=start / sample_rate,
        end=end / sample_rate,
        time=window_end / sample_rate,
        score=float(score),
        origin_role=origin.role,
        label=origin.label,
        speaker=origin.speaker,
        source=origin.source,
        speech_start=(max(window_end - window, start) - start) / sample_rate,
        speech_end=(min(window_end, end) - start) / sample_rate,
    )


def choose_clips(clips: Iterable[Clip], most: int) -> list[Clip]:
    """Return the `most` clips with the highest scores, the highest first; of equal sounds only the highest."""
    kept: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda clip: (-clip.score, clip.origin, clip.start)):
        kept.setdefault(clip.id, clip)
    return list(kept.values())[:most]


def write_clips(
    shards: Path, clips: list[Clip], sample_rate: int, out: Path, on_clip: Callable[[int], None] = lambda done: None
) -> None:
    """Write the table of clips and, from the shards of their origins, their sound as shards of their own to `out`.

    Clips lie in the order of their origins; a shard without clips is written where there are none. `on_clip` is called
    with how many are done.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("id", "origin", "origin_role", "source", "speaker", "label", "role")
    numbers = ("start", "end", "time", "score", "seconds", "speech_start", "speech_end")
    schema = pa.schema([*((name, pa.string()) for name in texts), *((name, pa.float64()) for name in numbers)])
    table = [{**asdict(clip), "seconds": clip.end - clip.start, "role": CLIP_ROLE} for clip in clips]
    with replacing(out / TABLE) as part:
        pq.write_table(pa.Table.from_pylist(table, schema), part, write_page_checksum=True)
    written = 0

    def shard_of(row: tuple[ShardRow, Wav, float]) -> int:
        nonlocal written
        shard, written = written // _SHARD_BYTES, written + len(row[1])
        return shard

    rows = _shard_rows(shards, clips, sample_rate, on_clip)
    for number, (_, group) in enumerate(groupby(rows, key=shard_of)):
        write_and_read_back(out / shard_name(number), group, sample_rate)
    if not written:
        write_and_read_back(out / shard_name(0), [], sample_rate)


def read_clips(folder: Path) -> "pd.DataFrame":
    """Read the table of clips, the highest score first: the fields of `Clip`, and their own `seconds` and `role`.

    Raises ArtifactError if it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        clips: pd.DataFrame = pq.read_table(folder / TABLE, page_checksum_verification=True).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{folder / TABLE} cannot be read ({error}); build mined_negatives again") from error
    return clips


def check_origins(clips: "pd.DataFrame", manifest: "pd.DataFrame") -> list[str]:
    """Return a sentence for each origin of clips that is not in the training split of a manifest, or not only there."""
    splits = manifest.groupby("id")["split"].agg(set).to_dict()
    splits_of_origins = {origin: splits.get(origin, set()) for origin in clips["origin"].unique()}
    return [
        f"a clip is from recording {origin}, which is in {' and '.join(sorted(where)) or 'no split'}; only recordings "
        "of train may be mined: build mined_negatives again"
        for origin, where in splits_of_origins.items()
        if where != {"train"}
    ]


def _shard_rows(
    shards: Path, clips: list[Clip], sample_rate: int, on_clip: Callable[[int], None]
) -> Iterator[tuple[ShardRow, Wav, float]]:
    """Yield each clip as a shard holds it, in the order of their origins and of time."""
    wanted: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.start):
        wanted.setdefault(clip.origin, []).append(clip)
    done = 0
    for recording in iter_recordings(shards, roles=MINED_ROLES) if wanted else ():
        for clip in wanted.pop(recording.id, ()):
            start, end = round(clip.start * sample_rate), round(clip.end * sample_rate)
            row = ShardRow(
                id=clip.id,
                label=clip.label,
                role=CLIP_ROLE,
                speaker=clip.speaker,
                source=clip.source,
                path="",
                speech_start=clip.speech_start,
                speech_end=clip.speech_end,
            )
            yield row, encode_wav(recording.audio[start:end], sample_rate), (end - start) / sample_rate
            done += 1
            on_clip(done)
        if not wanted:
            return
