"""Shards to feature parts: cut, augment and transform windows in batches, one part a shard."""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from wakeword_core.artifacts import Parts
from wakeword_core.config import Config, FeaturesConfig, Split
from wakeword_core.errors import DataError
from wakeword_core.features.augment import (
    Augmenter,
    Draws,
    draw,
    generate_noise,
    generate_rooms,
    source_samples,
)
from wakeword_core.features.frontend import LogMel
from wakeword_core.features.settings import AUGMENTED_SPLIT, feature_settings
from wakeword_core.features.store import NO_WORD, PARTS_FOLDER, Rows, write_part, write_split
from wakeword_core.features.windows import WindowPlan, label_indices, plan_windows, role_indices
from wakeword_core.files import canonical_json, digest, hash_file, require_space
from wakeword_core.progress import Progress, silent
from wakeword_core.shards import Shard, iter_recordings, read_shard, shard_paths

VERSION = "2"
"""Enters every part's key: raise it when the same shard and settings give other numbers."""

_NOISE_ROLES = ("noise", "background")


@dataclass(frozen=True)
class FeaturesSummary:
    """What was built: rows by label, recordings, parts made and reused, audio seconds of all windows."""

    rows: int
    recordings: int
    rows_by_label: dict[str, int]
    parts: int
    parts_built: int
    parts_reused: int
    window_seconds: float
    noise_seconds: float
    rooms: int


@dataclass(frozen=True)
class _Materials:
    """What augmentation mixes in, and the hash that stands for it in a part's key."""

    noise: npt.NDArray[np.int16]
    rooms: npt.NDArray[np.float32]
    key: str


_NOTHING = _Materials(np.zeros(1, np.int16), np.zeros((0, 1), np.float32), "none")


def build_features(
    shards: Path, split: Split, config: Config, device: str, out: Path, parts: Parts, progress: Progress = silent
) -> FeaturesSummary:
    """Compute the features of one split: `out/parts/*.h5` and `out/<split>.h5` over them.

    Memory is bounded by a shard, the noise bank and one batch. Raises DataError when nothing can be cut.
    """
    paths = shard_paths(shards)
    features = config.features
    materials = _materials(shards, split, config)
    computer = _Computer(config, split, materials, torch.device(device))
    made: list[Path] = []
    total = {"rows": 0, "recordings": 0}
    by_label: dict[str, int] = dict.fromkeys(config.labels, 0)
    attributes = _attributes(config, split)
    for number, (path, shard) in enumerate(_prefetched(paths)):
        plan = plan_windows(shard, split, features, config.data.sample_rate, config.seed)
        target = out / PARTS_FOLDER / f"{path.stem}.h5"
        key = digest([VERSION, hash_file(path), attributes["config_json"], split, materials.key])
        if not parts.link(key, target):
            require_space(out, _part_bytes(len(plan), features, split), f"feature part {path.stem} of {split}")
            write_part(target, computer.rows(shard, plan), attributes)
            parts.keep(key, target)
        made.append(target)
        total["rows"] += len(plan)
        total["recordings"] += len(shard.ids)
        classes, counts = np.unique(label_indices(shard, config.labels)[plan.recording], return_counts=True)
        for index, count in zip(classes, counts, strict=True):
            by_label[config.labels[index]] += int(count)
        progress(f"features {split}", number + 1, len(paths))
    if total["rows"] == 0:
        raise DataError(f"the {split} split has no recording to compute features from; see the manifest's summary")
    write_split(out / f"{split}.h5", made, attributes)
    return FeaturesSummary(
        rows=total["rows"],
        recordings=total["recordings"],
        rows_by_label=by_label,
        parts=len(made),
        parts_built=parts.built,
        parts_reused=parts.reused,
        window_seconds=round(total["rows"] * features.row_samples(split) / config.data.sample_rate, 1),
        noise_seconds=round(len(materials.noise) / config.data.sample_rate, 1),
        rooms=len(materials.rooms),
    )


def shifted_windows(shards: Path, split: Split, config: Config, shifts_ms: Sequence[int]) -> Iterator[list[Rows]]:
    """The clean windows of each shard, cut later by each of some milliseconds (earlier below 0) than in the features.

    Yields, shard by shard, the rows of each shift; a shift of 0 gives what `build_features` stores, in its order.
    """
    computer = _Computer(config, split, _NOTHING, torch.device("cpu"))
    rate = config.data.sample_rate
    for _, shard in _prefetched(shard_paths(shards)):
        plan = plan_windows(shard, split, config.features, rate, config.seed)
        clean = plan.view == 0
        plan = WindowPlan(**{name: getattr(plan, name)[clean] for name in WindowPlan.__dataclass_fields__})
        shifted = [replace(plan, start=plan.start + round(shift * rate / 1_000)) for shift in shifts_ms]
        yield [computer.rows(shard, one) for one in shifted]


class _Computer:
    """Turns planned windows of a shard into rows; tables and materials live on the device."""

    def __init__(self, config: Config, split: Split, materials: _Materials, device: torch.device) -> None:
        self.config = config
        self.features = config.features
        self.device = device
        self.row = config.features.row_samples(split)
        self.frames = config.features.row_frames(split)
        self.augmenter = Augmenter(materials.noise, materials.rooms, device)
        self.rooms = len(materials.rooms)
        self.mel = LogMel(config.features.frontend, config.data.sample_rate).to(device)

    def rows(self, shard: Shard, plan: WindowPlan) -> Rows:
        """All rows of one shard."""
        flat = torch.from_numpy(np.concatenate(shard.audio) if shard.audio else np.zeros(0, np.int16)).to(self.device)
        lengths = np.asarray([len(audio) for audio in shard.audio], np.int64)
        offsets = np.cumsum(lengths) - lengths
        clean = plan.view == 0
        draws = draw(plan.key, clean, self.features.augment, self.rooms, len(self.augmenter.noise))
        dtype = np.float16 if self.features.dtype == "float16" else np.float32
        mel = np.empty((len(plan), self.features.frontend.n_mels, self.frames), dtype)
        batch = self.features.gpu_batch_windows if self.device.type == "cuda" else self.features.batch_windows
        # clean rows need no room, noise or speed: batch them apart
        for chosen in (np.flatnonzero(clean), np.flatnonzero(~clean)):
            for start in range(0, len(chosen), batch):
                rows = chosen[start : start + batch]
                mel[rows] = self._mel(flat, offsets, lengths, plan, draws, rows).to("cpu").numpy()
        valid_start, valid_frames = self._valid(plan, draws, lengths)
        columns = {
            "labels": label_indices(shard, self.config.labels)[plan.recording],
            "roles": role_indices(shard)[plan.recording],
            "views": plan.view,
            "starts": plan.start,
            "valid_start": valid_start,
            "valid_frames": valid_frames,
            "word_ends": self._word_ends(plan, draws),
            "file_ids": np.asarray(shard.ids, "S64")[plan.recording],
        }
        return Rows(mel, columns)

    @torch.inference_mode()
    def _mel(
        self,
        flat: torch.Tensor,
        offsets: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        plan: WindowPlan,
        draws: Draws,
        rows: npt.NDArray[np.int64],
    ) -> torch.Tensor:
        augmented = bool((plan.view[rows] > 0).any())
        samples = source_samples(self.row, self.features.augment) if augmented else self.row
        recording = plan.recording[rows]
        begin = torch.from_numpy(plan.start[rows] + self.row - samples).to(self.device)[:, None]
        length = torch.from_numpy(lengths[recording]).to(self.device)[:, None]
        offset = torch.from_numpy(offsets[recording]).to(self.device)[:, None]
        inside = begin + torch.arange(samples, device=self.device)
        within = (inside >= 0) & (inside < length)
        audio = flat[(inside.clamp_(min=0).minimum(length - 1) + offset)].float().mul_(1.0 / 32768.0).mul_(within)
        if augmented:
            audio = self.augmenter(audio, _take(draws, rows), self.row)
        mel: torch.Tensor = self.mel(audio)
        return mel.half() if self.features.dtype == "float16" else mel

    def _valid(
        self, plan: WindowPlan, draws: Draws, lengths: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First valid frame and their number: frames wholly inside the recording, or all where noise fills the rest."""
        frontend = self.features.frontend
        end = plan.start + self.row
        length = lengths[plan.recording]
        # speed moves the recording's edges relative to the row's end, which stays in place
        first = self.row - np.floor(end / draws.speed).astype(np.int64)
        last = self.row - np.ceil((end - length) / draws.speed).astype(np.int64)
        hop = frontend.hop_length
        start = np.clip(-(-first // hop), 0, self.frames)
        stop = np.clip((np.minimum(last, self.row) - frontend.n_fft) // hop + 1, start, self.frames)
        noisy = draws.noise_position >= 0
        start = np.where(noisy, 0, start)
        return start, np.where(noisy, self.frames, stop - start)

    def _word_ends(self, plan: WindowPlan, draws: Draws) -> npt.NDArray[np.int64]:
        """Frame whose last sample is nearest to the end of the word, which may lie outside of the row; or -1."""
        frontend = self.features.frontend
        before = (plan.start + self.row - plan.word_end) / draws.speed
        frame = self.frames - 1 - np.rint(before / frontend.hop_length).astype(np.int64)
        return np.where(plan.word_end == NO_WORD, NO_WORD, frame.clip(0, self.frames - 1))


def _take(draws: Draws, rows: npt.NDArray[np.int64]) -> Draws:
    return Draws(**{name: getattr(draws, name)[rows] for name in Draws.__dataclass_fields__})


def _materials(shards: Path, split: Split, config: Config) -> _Materials:
    """Noise and rooms from the split's own recordings, so that nothing of another split is heard in training."""
    augment = config.features.augment
    rate = config.data.sample_rate
    if split != AUGMENTED_SPLIT or max(config.features.views, config.features.negative_views) == 1:
        return _NOTHING
    recorded = _bank(shards, _NOISE_ROLES, round(augment.noise_minutes * 60 * rate))
    noise = np.concatenate([recorded, generate_noise(augment.generated_noise_minutes, rate, config.seed)])
    rooms = recorded_rooms(shards, round(augment.rt60_seconds[1] * rate))
    if not len(rooms):
        rooms = generate_rooms(augment.generated_rirs, augment.rt60_seconds, rate, config.seed)
    key = hashlib.sha256(noise.tobytes() + rooms.tobytes()).hexdigest()
    return _Materials(noise, rooms, key)


def _bank(shards: Path, roles: tuple[str, ...], limit: int) -> npt.NDArray[np.int16]:
    """Recordings of `roles` end to end, in shard order, at most `limit` samples."""
    taken, samples = [], 0
    for recording in iter_recordings(shards, roles=roles):
        piece = recording.audio[: limit - samples]
        taken.append(piece)
        samples += len(piece)
        if samples >= limit:
            break
    return np.concatenate(taken) if taken else np.zeros(0, np.int16)


def recorded_rooms(shards: Path, taps: int) -> npt.NDArray[np.float32]:
    """Recorded impulse responses cut to `taps` from their direct sound, unit energy: [rooms, taps]."""
    rooms = []
    for recording in iter_recordings(shards, roles=("rir",)):
        response = recording.audio.astype(np.float32)
        response = response[int(np.abs(response).argmax()) :][:taps]
        energy = float(np.linalg.norm(response))
        if energy > 0:
            rooms.append(np.pad(response / energy, (0, taps - len(response))))
    return np.stack(rooms).astype(np.float32) if rooms else np.zeros((0, taps), np.float32)


def _attributes(config: Config, split: Split) -> dict[str, str]:
    """Attributes of every file. No time stamp: equal inputs must give equal bytes; artifact.json says when."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "h5py", "numpy")}
    return {
        "config_json": canonical_json({**feature_settings(config, split), "version": VERSION}),
        "labels_json": canonical_json(list(config.labels)),
        "label2id_json": canonical_json({label: index for index, label in enumerate(config.labels)}),
        "versions_json": canonical_json(versions),
    }


def _part_bytes(rows: int, features: FeaturesConfig, split: Split) -> int:
    width = 2 if features.dtype == "float16" else 4
    return rows * features.frontend.n_mels * features.row_frames(split) * width


def _prefetched(paths: Sequence[Path]) -> Iterator[tuple[Path, Shard]]:
    """Each shard, the next one being decoded while this one is computed."""
    with ThreadPoolExecutor(1, thread_name_prefix="shard") as reader:
        waiting = [reader.submit(read_shard, path) for path in paths[:1]]
        for number, path in enumerate(paths):
            shard = waiting.pop().result()
            waiting += [reader.submit(read_shard, following) for following in paths[number + 1 : number + 2]]
            yield path, shard
