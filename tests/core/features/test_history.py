"""However a project came to have its recordings, shards and features are those of a fresh build of the same."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from wakeword_core.config import Config, ShardsConfig, Split
from wakeword_core.features.build import build_features
from wakeword_core.features.store import load_windows
from wakeword_core.features.windows import verify_features
from wakeword_core.lineage.forgetting import search
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import iter_recordings, verify_shards
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
SPLITS: tuple[Split, ...] = ("train", "val")
ROLES = {"positive": 0.4, "negative": 0.6, "noise": 0.5}
CONFIG = Config.model_validate(
    {
        "features": {
            "frontend": {"window_frames": 40},
            "context": {"frames": 0},
            "augment": {"views": 2, "negative_views": 2, "generated_noise_minutes": 0.1, "generated_rirs": 2},
        }
    }
)

numbers = st.integers(0, 11)


class History(RuleBasedStateMachine):
    """Recordings come, change, move and go; every so often somebody builds."""

    @initialize(share=st.sampled_from([0.0, 0.3, 1.0]), count=st.integers(1, 2), first=st.sets(numbers, min_size=3))
    def begin(self, share: float, count: int, first: set[int]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.shards = ShardsConfig(count=count, compact_above=share)
        self.rows: dict[int, dict[str, Any]] = {}
        self.forgotten, self.builds = NOTHING_FORGOTTEN, 0
        for number in first:
            self.change(number, 0)
        self.build()

    @rule(number=numbers, version=st.integers(0, 1))
    def change(self, number: int, version: int) -> None:
        """Add a recording, or write other bytes in its place."""
        role = list(ROLES)[number % len(ROLES)]
        path = self.folder / f"{number}-{version}.wav"
        soundfile.write(path, np.random.default_rng([number, version]).normal(0, 0.1, int(ROLES[role] * RATE)), RATE)
        recording_id = hashlib.sha256(path.read_bytes()).hexdigest()
        spoken = role == "positive"
        row = {
            "recording_id": recording_id,
            "path": path.name,
            "source": "mine",
            "label": "hey robin" if spoken else "_negative",
            "role": role,
            "speaker": f"mine/{number % 4}",
            "seconds": ROLES[role],
            "speech_start": 0.05 if spoken else np.nan,
            "speech_end": 0.3 if spoken else np.nan,
            "split": self.rows.get(number, {}).get("split", SPLITS[number % 5 == 0]),
        }
        if recording_id not in self.forgotten.recordings:
            self.rows[number] = row

    @rule(number=numbers)
    def say_otherwise(self, number: int) -> None:
        """Find out that another speaks."""
        if number in self.rows:
            self.rows[number] = {**self.rows[number], "speaker": "mine/other"}

    @rule(number=numbers)
    def rename(self, number: int) -> None:
        if number in self.rows:
            name = f"renamed-{self.rows[number]['path'].removeprefix('renamed-')}"
            shutil.copyfile(self.folder / self.rows[number]["path"], part := self.folder / "part")
            part.rename(self.folder / name)
            self.rows[number] = {**self.rows[number], "path": name}

    @rule(number=numbers)
    def move(self, number: int) -> None:
        """Put a recording in the other split."""
        if number in self.rows:
            split = SPLITS[self.rows[number]["split"] == "train"]
            self.rows[number] = {**self.rows[number], "split": split}

    @rule(number=numbers, for_ever=st.booleans())
    def remove(self, number: int, for_ever: bool) -> None:
        if row := self.rows.pop(number, None):
            self.forgotten = self.forgotten.adding([row["recording_id"]] * for_ever, [], "asked")

    @rule()
    def build(self) -> None:
        self.builds += 1
        self.built = self.built_in(self.folder / str(self.builds), self.folder / "parts")

    def built_in(self, out: Path, parts: Path) -> dict[Split, list[Any]]:
        """Build every split that there is anything in, and return all that counts of it."""
        found: dict[Split, list[Any]] = {}
        for split in SPLITS:
            rows = pd.DataFrame([row for row in self.rows.values() if row["split"] == split])
            if rows.empty or (rows["role"] == "rir").all():
                continue
            shards, features = out / split / "shards", out / split / "features"
            shards.mkdir(parents=True)
            packed = build_shards(
                rows, {"mine": self.folder}, RATE, self.shards, LocalWorkers(1), 1, shards, Parts(parts / "shards"),
                forgotten=self.forgotten,
            )  # fmt: skip
            made = build_features(shards, split, CONFIG, "cpu", features, Parts(parts / "features"))
            assert verify_shards(shards, rows) == verify_features(features, shards, split, CONFIG) == []
            sounds = [(one.recording_id, one.speaker, one.audio.tobytes()) for one in iter_recordings(shards)]
            found[split] = [packed.content, made.content, sounds, load_windows(features)]
        return found

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.build()
            fresh = self.built_in(self.folder / "fresh", self.folder / "fresh parts")
            assert self.built.keys() == fresh.keys()
            for split, found in self.built.items():
                assert found[:3] == fresh[split][:3]
                for name in ("mel", "labels", "roles", "views", "word_ends", "synthetic"):
                    assert torch.equal(getattr(found[3], name), getattr(fresh[split][3], name)), name
            assert not search(self.folder / str(self.builds), self.forgotten.recordings).holders
        finally:
            shutil.rmtree(self.folder)


History.TestCase.settings = settings(max_examples=6, stateful_step_count=8, deadline=None)
TestHistory = History.TestCase
