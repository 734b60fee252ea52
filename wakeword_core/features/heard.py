"""A page on which some augmented rows of training can be heard: their sound is made as it was for their features."""

import base64
from html import escape
from pathlib import Path

import numpy as np

from wakeword_core.audio import encode_flac, to_pcm16
from wakeword_core.features.augment import STEPS, Draws
from wakeword_core.features.rows import RowComputer, join_recordings
from wakeword_core.features.store import FeatureFile, spread
from wakeword_core.features.windows import plan_windows
from wakeword_core.files import write_text
from wakeword_core.shards.packed_split import iter_recordings, read_columns

PAGE = "heard.html"
"""Beside the features of training, where any row is augmented."""
_SHOWN = 6
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
    """Write a page of up to six augmented rows, half of them positives, into the folder of their features."""
    file = FeatureFile(features)
    labels, views, recording_ids, keys = map(file.column, ("labels", "views", "recording_ids", "keys"))
    groups = (views > 0) & (labels > 0), (views > 0) & (labels == 0)
    chosen = [row for group in groups for row in spread(np.flatnonzero(group), _SHOWN // 2)]
    if not chosen:
        return
    places = {name: place for place, name in enumerate(read_columns(shards, ["recording_id"])["recording_id"])}
    config, rows = computer.config, list[str]()
    rate = config.data.audio.sample_rate
    for row in chosen:
        place = places[recording_ids[row].decode()]
        decoded = join_recordings(list(iter_recordings(shards, places=slice(place, place + 1))), computer.margin)
        plan = plan_windows(decoded.recordings, computer.split, config.features, rate, config.seed, computer.synthetic)
        draws = computer.draw(plan)
        own = np.flatnonzero((draws.key == keys[row]) & (plan.view == views[row]))[:1]
        sound = computer.sound(computer.prepare(decoded, plan, draws), own)[0, -computer.row :]
        rows.append(
            _ROW.format(
                label=escape(file.labels[labels[row]]),
                recording=recording_ids[row].decode()[:12],
                drawn=_described(draws.take(own)),
                sound=base64.b64encode(encode_flac(to_pcm16(sound.cpu().numpy()), rate)).decode(),
            )
        )
    write_text(features / PAGE, _TEMPLATE % "\n".join(rows))


def _described(draws: Draws) -> str:
    """Say what was drawn for one row."""
    said = [f"tempo {draws.speed[0] / STEPS:.2f}, pitch {draws.pitch[0] / STEPS:.2f}"]
    said += ["in a room"] if draws.room[0] >= 0 else []
    said += [f"noise at {draws.snr_db[0]:.0f} dB"] if draws.noise_piece[0] >= 0 else []
    said += ["through another device"] if draws.devices.used[0] else []
    return ", ".join([*said, f"gain {draws.gain_db[0]:+.0f} dB"])
