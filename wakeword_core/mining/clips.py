"""Mined clips: which are kept, the table that tells where each is from, and the shards that hold their sound."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
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
    import pyarrow as pa

TABLE = "clips.parquet"
MINED_ROLES: tuple[Role, ...] = ("negative", "hard_negative", "background", "noise")
"""What is listened to: every recording that should hold no wake word."""
CLIP_ROLE: Role = "hard_negative"
"""What clips are to the wake word from then on."""
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
    """End of the window that scored; a little after the end of the origin where it is heard after that."""
    score: float
    origin_role: str
    label: str
    speaker: str
    source: str
    speech_start: float
    """The window that scored, in seconds of the clip: what training rows are aligned on."""
    speech_end: float

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.end - self.start


def cut_clip(
    origin: Recording, window_end: int, score: float, window: int, reach: tuple[int, int], sample_rate: int
) -> Clip:
    """The clip around a window of `window` samples that ends at sample `window_end` of a recording.

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
    """The `most` clips with the highest scores, the highest first; of those with the same sound one, the highest."""
    kept: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda clip: (-clip.score, clip.origin, clip.start)):
        kept.setdefault(clip.id, clip)
    return list(kept.values())[:most]


def write_clips(
    shards: Path, clips: list[Clip], sample_rate: int, out: Path, on_clip: Callable[[int], None] = lambda done: None
) -> None:
    """Write the table of clips and, from the shards of their origins, their sound as shards of their own to `out`.

    Clips lie in the order of their origins; a shard without clips is written where there are none. `on_clip` is told
    how many are done.
    """
    _write_table(clips, out)
    rows = _numbered(_sounds(shards, clips, sample_rate, on_clip))
    written = 0
    for _, group in groupby(rows, key=itemgetter(0)):
        write_and_read_back(out / shard_name(written), (row for _, row in group), sample_rate)
        written += 1
    if not written:
        write_and_read_back(out / shard_name(0), [], sample_rate)


def read_clips(folder: Path) -> "pd.DataFrame":
    """The table of clips, the highest score first: the fields of `Clip`, and `seconds` and `role` of their own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(folder / TABLE, page_checksum_verification=True)
        frame: pd.DataFrame = table.to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{folder / TABLE} cannot be read ({error}); build mined_negatives again") from error
    return frame


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


def _sounds(
    shards: Path, clips: list[Clip], sample_rate: int, on_clip: Callable[[int], None]
) -> Iterator[tuple[ShardRow, Wav, float]]:
    """Each clip as a shard holds it, in the order of their origins and of time."""
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


def _numbered(rows: Iterable[tuple[ShardRow, Wav, float]]) -> Iterator[tuple[int, tuple[ShardRow, Wav, float]]]:
    """Each row with a number that rises whenever a shard is full."""
    written = 0
    for row in rows:
        yield written // _SHARD_BYTES, row
        written += len(row[1])


def _write_table(clips: list[Clip], out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{**asdict(clip), "seconds": clip.seconds, "role": CLIP_ROLE} for clip in clips]
    with replacing(out / TABLE) as part:
        pq.write_table(pa.Table.from_pylist(rows, _schema()), part, write_page_checksum=True)


def _schema() -> "pa.Schema":
    import pyarrow as pa

    texts = ("id", "origin", "origin_role", "source", "speaker", "label", "role")
    numbers = ("start", "end", "time", "score", "seconds", "speech_start", "speech_end")
    return pa.schema([*((name, pa.string()) for name in texts), *((name, pa.float64()) for name in numbers)])
