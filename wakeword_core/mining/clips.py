"""Mined clips: which are kept, the table of where each is from, and the shards that hold their sound."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.audio import encode_wav
from wakeword_core.config import Role
from wakeword_core.files import reading, replacing
from wakeword_core.recordings.row import RecordingRow, require_types, row_schema
from wakeword_core.shards.packed_split import iter_recordings, shard_name
from wakeword_core.shards.packing import write_and_read_back
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
class Clip(RecordingRow):
    """A stretch of a recording around a moment at which the model scored high, without a wake word there.

    Its speech is the window that scored, which training rows are aligned on.
    """

    from_recording_id: str
    from_role: str
    start: float
    """Seconds of the recording that it was cut from, as are `end` and `time`."""
    end: float
    time: float
    """End of the window that scored; a little after the end of the recording where the quiet after it is scored."""
    score: float


def cut_clip(
    recording: Recording, window_end: int, score: float, window: int, reach: tuple[int, int], sample_rate: int
) -> Clip:
    """Cut the clip around a window of `window` samples that ends at sample `window_end` of a recording.

    It holds `reach` samples before and after that, as far as the recording goes.
    """
    length = len(recording.audio)
    start, end = max(0, window_end - reach[0]), min(length, window_end + reach[1])
    return Clip(
        recording_id=hashlib.sha256(encode_wav(recording.audio[start:end], sample_rate)).hexdigest(),
        label=recording.label,
        role=CLIP_ROLE,
        speaker=recording.speaker,
        source=recording.source,
        seconds=(end - start) / sample_rate,
        speech_start=(max(window_end - window, start) - start) / sample_rate,
        speech_end=(min(window_end, end) - start) / sample_rate,
        from_recording_id=recording.recording_id,
        from_role=recording.role,
        start=start / sample_rate,
        end=end / sample_rate,
        time=window_end / sample_rate,
        score=float(score),
    )


def choose_clips(clips: Iterable[Clip], most: int) -> list[Clip]:
    """Return the `most` clips with the highest scores, the highest first; of equal sounds only the highest."""
    kept: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda clip: (-clip.score, clip.from_recording_id, clip.start)):
        kept.setdefault(clip.recording_id, clip)
    return list(kept.values())[:most]


def write_clips(
    shards: Path, clips: list[Clip], sample_rate: int, out: Path, on_clip: Callable[[int], None] = lambda done: None
) -> None:
    """Write the table of clips and, cut from the recordings in `shards`, their sound as shards of their own to `out`.

    Clips lie in the order of these recordings; a shard without clips is written where there are none. `on_clip` is
    called with how many are done.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(clip) for clip in clips], row_schema(Clip))
    with replacing(out / TABLE) as part:
        pq.write_table(table, part, write_page_checksum=True)
    written = 0

    def shard_of(row: tuple[RecordingRow, Wav]) -> int:
        nonlocal written
        shard, written = written // _SHARD_BYTES, written + len(row[1])
        return shard

    rows = _shard_rows(shards, clips, sample_rate, on_clip)
    for number, (_, group) in enumerate(groupby(rows, key=shard_of)):
        write_and_read_back(out / shard_name(number), group, sample_rate)
    if not written:
        write_and_read_back(out / shard_name(0), [], sample_rate)


def read_clips(folder: Path) -> "pd.DataFrame":
    """Read the table of clips, the highest score first: the fields of `Clip`.

    Raises ArtifactError if it cannot be read.
    """
    import pyarrow.parquet as pq

    with reading(folder / TABLE, "build mined_negatives again"):
        table = pq.read_table(folder / TABLE, page_checksum_verification=True)
        require_types(table, Clip)
        clips: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return clips


def check_mined_recordings(clips: "pd.DataFrame", manifest: "pd.DataFrame") -> list[str]:
    """Return a sentence for each recording with clips that is not in a manifest's training split, or not only there."""
    splits = manifest.groupby("recording_id")["split"].agg(set).to_dict()
    used = {recording_id: splits.get(recording_id, set()) for recording_id in clips["from_recording_id"].unique()}
    places = dict(zip(manifest["recording_id"], manifest["source"] + "/" + manifest["path"], strict=True))
    return [
        f"a clip is from recording {recording_id} ({places.get(recording_id, 'gone')}), which is in "
        f"{' and '.join(sorted(where)) or 'no split'}; only recordings of train may be mined: "
        "build mined_negatives again"
        for recording_id, where in used.items()
        if where != {"train"}
    ]


def _shard_rows(
    shards: Path, clips: list[Clip], sample_rate: int, on_clip: Callable[[int], None]
) -> Iterator[tuple[Clip, Wav]]:
    """Yield each clip and its sound, in the order of the recordings and of time."""
    wanted: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.start):
        wanted.setdefault(clip.from_recording_id, []).append(clip)
    done = 0
    for recording in iter_recordings(shards, roles=MINED_ROLES) if wanted else ():
        for clip in wanted.pop(recording.recording_id, ()):
            start, end = round(clip.start * sample_rate), round(clip.end * sample_rate)
            yield clip, encode_wav(recording.audio[start:end], sample_rate)
            done += 1
            on_clip(done)
        if not wanted:
            return
