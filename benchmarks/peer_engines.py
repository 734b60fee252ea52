"""This project's model and the open engines that it is compared with, and what each of them costs."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.listeners.listener import Listener, OwnModel, Pcm
from wakeword_core.listeners.peers import RATE, MicroWakeWord, OpenWakeWord
from wakeword_core.runtime import WakewordModel

_MICROPHONE_BLOCK = 1_280
"""Samples that arrive at once where cost is measured."""


def engines(model_path: Path, config: Config) -> list[Listener]:
    """This project's model, then the others; they speak one language only, 16 kHz and one word."""
    model = WakewordModel(model_path, threads=1)
    if model.sample_rate != RATE or config.data.audio.sample_rate != RATE:
        raise ConfigError(
            f"data.audio.sample_rate is {config.data.audio.sample_rate}, but the other engines take {RATE} only"
        )
    if len(model.labels) != 2 or model.labels != config.labels:
        raise DataError(
            f"{model.path} tells {', '.join(model.labels)}, the configuration has {', '.join(config.labels)}; "
            "give a model of the configured phrase alone"
        )
    return [
        OwnModel(model, [model.path]),
        MicroWakeWord(config.slug, model.detector),
        OpenWakeWord(config.slug, model.detector),
    ]


def cpu_costs(everybody: Sequence[Listener], pcm: Pcm, rounds: int) -> dict[str, float]:
    """Milliseconds of processor time, on one thread, for a second of audio: the median of rounds taken in turns.

    Features and model, not the decision, which is the same for all. A first round warms up; the first second of each
    round, in which a stream starts, is not counted.
    """
    from threadpoolctl import threadpool_limits

    chunks = [pcm[start : start + _MICROPHONE_BLOCK] for start in range(RATE, len(pcm), _MICROPHONE_BLOCK)]
    if not chunks:
        raise DataError(f"cost is measured on more than one second of background, not on {len(pcm) / RATE:.2f} s")
    spent: dict[str, list[float]] = {one.name: [] for one in everybody}
    with threadpool_limits(1):
        for _ in range(1 + rounds):
            for one in everybody:
                one.reset()
                one.push(pcm[:RATE])
                started = time.process_time()
                for chunk in chunks:
                    one.push(chunk)
                spent[one.name].append(time.process_time() - started)
    seconds = (len(pcm) - RATE) / RATE
    return {name: 1_000 * statistics.median(times[1:]) / seconds for name, times in spent.items()}
