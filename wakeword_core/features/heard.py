"""A page on which some augmented rows of training can be heard: their sound is made as it was for their features."""

import base64
from html import escape
from pathlib import Path

import numpy as np

from wakeword_core.audio import encode_flac, to_pcm16
from wakeword_core.config import ROLES
from wakeword_core.features.augment import STEPS, Draws
from wakeword_core.features.rows import RowComputer, join_recordings
from wakeword_core.features.store import spread
from wakeword_core.features.windows import label_indices, plan_windows
from wakeword_core.files import write_text
from wakeword_core.shards.packed_split import iter_recordings

PAGE = "heard.html"
"""Beside the features of training, where any row is augmented."""
_SHOWN = 6
_OTHERS = tuple(role for role in ROLES if role not in ("positive", "rir"))
_TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Augmented rows</title>
<style>body { font: 16px/1.5 system-ui; margin: 24px; } td, th { padding: 4px 12px; text-align: left; }</style>
<h1>Some rows of training as they are heard after augmentation</h1>
<table>
<tr><th>label<th>recording<th>what was drawn<th>sound
%s
</table>
</html>
"""
_ROW = (
    "<tr><td>{label}<td>{recording}<td>{drawn}"
    '<td><audio controls preload="none" src="data:audio/flac;base64,{sound}"></audio>'
)


def write_page(features: Path, shards: Path, computer: RowComputer) -> None:
    """Write a page of up to six augmented rows, half of them positives, into the folder of their features.

    They are of the first recordings of each kind, which are shuffled, so that little of the shards is read.
    """
    few, config, rows = _SHOWN // 2, computer.config, list[str]()
    rate = config.data.audio.sample_rate
    for roles in (("positive",), _OTHERS):
        first = list(iter_recordings(shards, roles, slice(few)))
        plan = plan_windows(first, computer.split, config.features, rate, config.seed, computer.synthetic)
        chosen = np.asarray(spread(np.flatnonzero(plan.view), few), np.int64)
        if not len(chosen):
            continue
        draws, whose = computer.draw(plan), plan.recording[chosen]
        shard_rows = computer.prepare(join_recordings(first, computer.margin), plan, draws)
        sounds = to_pcm16(computer.sound(shard_rows, chosen)[:, -computer.row :].cpu().numpy())
        labels = label_indices(first, config.labels)
        for row, recording, sound in zip(chosen, whose, sounds, strict=True):
            rows.append(
                _ROW.format(
                    label=escape(config.labels[labels[recording]]),
                    recording=first[recording].recording_id[:12],
                    drawn=_described(draws.take(row[None])),
                    sound=base64.b64encode(encode_flac(sound, rate)).decode(),
                )
            )
    if rows:
        write_text(features / PAGE, _TEMPLATE % "\n".join(rows))


def _described(draws: Draws) -> str:
    """Say what was drawn for one row."""
    said = [f"tempo {draws.speed[0] / STEPS:.2f}, pitch {draws.pitch[0] / STEPS:.2f}"]
    said += ["in a room"] if draws.room[0] >= 0 else []
    said += [f"noise at {draws.snr_db[0]:.0f} dB"] if draws.noise_piece[0] >= 0 else []
    said += ["through another device"] if draws.devices.used[0] else []
    return ", ".join([*said, f"gain {draws.gain_db[0]:+.0f} dB"])
