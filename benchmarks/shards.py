"""Writing and reading shards beside Hugging Face `datasets`: the same recordings, the same audio, the same cores.

    python benchmarks/shards.py --folder /tmp --recordings 20000

Both get a list of generated recordings and write Parquet shards of about 64 MB of 16-bit WAV at 16 kHz, on all cores.
`datasets` uses its own sharded writer (`download_and_prepare` to Parquet, in as many processes, checks off): WAV files
are stored as they are, which is the least it can do; FLAC files are decoded by libsndfile in its generator. Ours
hashes every recording besides, to know that it is the one that was scanned, and reads every shard back. Reading takes
all samples as int16: from ours by `iter_recordings`, from theirs in batches, streamed and by way of its Arrow cache
(the faster one counts), decoded by the same function. Sides alternate; figures are medians. The last line is JSON.

Needs `pip install datasets`.
"""

import argparse
import itertools
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from generated import RATE, generate

from wakeword_core.audio import decode_wav, encode_wav
from wakeword_core.config import ShardsConfig
from wakeword_core.files import hash_file
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

GOAL = 1.0
FORMATS = ("flac", "wav")
CHUNK = 256
"""Recordings that a process of `datasets` takes at once."""


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    cores = len(os.sched_getaffinity(0))
    results = {}
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-shards-") as name:
        os.environ |= {"HF_HOME": f"{name}/hf", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        try:
            import datasets
        except ImportError:
            print("shards: this needs the library to compare with: pip install datasets", file=sys.stderr)
            return 2
        datasets.disable_progress_bars()
        logging.getLogger("datasets").setLevel("ERROR")
        for kind in given.formats:
            results[kind] = _compared(Path(name) / kind, kind, given, cores)
    ratios = [one[side]["ratio"] for one in results.values() for side in ("write", "read")]
    _print_table(results, given)
    print(
        json.dumps(
            {
                "name": "shards",
                "ratio": round(min(ratios), 3),
                "goal": GOAL,
                "rival": f"datasets {datasets.__version__}",
                "recordings": given.recordings,
                "seconds_each": given.seconds,
                "cores": cores,
                "rounds": given.rounds,
                "formats": results,
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made [default: the system's]")
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of each [default: 1.5]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    return parser.parse_args()


def _generated(folder: Path, kind: str, given: argparse.Namespace) -> pd.DataFrame:
    """Manifest rows of new recordings."""
    rows = []
    for index, path in enumerate(generate(folder, range(given.recordings), given.seconds, kind)):
        facts = {"label": "robin", "role": "positive", "speaker": f"s{index % 100}", "source": "made", "split": "train"}
        span = {"speech_start": 0.1, "speech_end": given.seconds - 0.1}
        name = path.relative_to(folder).as_posix()
        rows.append({"recording_id": hash_file(path), "path": name, "seconds": given.seconds, **facts, **span})
    return pd.DataFrame(rows)


def _compared(work: Path, kind: str, given: argparse.Namespace, cores: int) -> dict[str, Any]:
    rows = _generated(work / "recordings", kind, given)
    sides: dict[str, tuple[Callable[[Path], None], dict[str, Callable[[Path], int]]]] = {
        "ours": (lambda out: _write_ours(rows, work, out, cores), {"rows": _read_ours}),
        "datasets": (
            lambda out: _write_datasets(rows, work, out, kind, cores),
            {"streamed": _read_streamed, "cached": _read_cached},
        ),
    }
    writes: dict[str, list[float]] = {side: [] for side in sides}
    cpus: dict[str, list[float]] = {side: [] for side in sides}
    reads: dict[str, dict[str, list[float]]] = {side: {way: [] for way in ways} for side, (_, ways) in sides.items()}
    sizes = {}
    for number in range(given.rounds):
        for side in sorted(sides, reverse=number % 2 == 1):
            write, ways = sides[side]
            out = work / side
            seconds, cpu, _ = _timed(partial(write, out))
            writes[side].append(seconds)
            cpus[side].append(cpu)
            sizes[side] = {
                "files": len(list(out.glob("*.parquet"))),
                "bytes": sum(p.stat().st_size for p in out.iterdir()),
            }
            for way, read in ways.items():
                seconds, _, samples = _timed(partial(read, out))
                assert samples == given.recordings * round(given.seconds * RATE), f"{side} lost samples"
                reads[side][way].append(seconds)
            shutil.rmtree(out)
            print(f"{kind}, round {number + 1}: {side} wrote in {writes[side][-1]:.2f} s", file=sys.stderr)
    best = {side: min((median(times), way) for way, times in ways.items()) for side, ways in reads.items()}
    return {
        "write": {
            **_figures({side: median(times) for side, times in writes.items()}, given),
            "cpu_seconds": {side: round(median(times), 3) for side, times in cpus.items()},
        },
        "read": {
            **_figures({side: seconds for side, (seconds, _) in best.items()}, given),
            "way": best["datasets"][1],
        },
        "shards": sizes,
    }


def _figures(seconds: dict[str, float], given: argparse.Namespace) -> dict[str, Any]:
    return {
        "ratio": round(seconds["datasets"] / seconds["ours"], 3),
        "seconds": {side: round(one, 3) for side, one in seconds.items()},
        "recordings_a_second": {side: round(given.recordings / one) for side, one in seconds.items()},
    }


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of wall clock, seconds of CPU with those of ended children, and what `work` returns."""
    started, used = time.monotonic(), sum(os.times()[:4])
    result = work()
    return time.monotonic() - started, sum(os.times()[:4]) - used, result


def _write_ours(rows: pd.DataFrame, work: Path, out: Path, cores: int) -> None:
    parts = work / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    out.mkdir()
    build_shards(rows, {"made": work / "recordings"}, RATE, ShardsConfig(), LocalWorkers(cores), 0, out, Parts(parts))


def _write_datasets(rows: pd.DataFrame, work: Path, out: Path, kind: str, cores: int) -> None:
    from datasets import Features, Value
    from datasets.packaged_modules.generator.generator import Generator

    texts, numbers = ("recording_id", "label", "role", "speaker", "source"), ("seconds", "speech_start", "speech_end")
    features = Features(
        # what its Audio feature stores; to encode through Audio itself would only add to its time
        {"audio": {"bytes": Value("binary"), "path": Value("string")}}
        | {name: Value("string") for name in texts}
        | {name: Value("float64") for name in numbers}
    )
    records = rows[["path", *texts, *numbers]].to_dict("records")
    random.Random(0).shuffle(records)
    # of a list among the arguments each process gets its share
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    arguments = {"chunks": chunks, "folder": str(work / "recordings"), "decode": kind != "wav"}
    cache = work / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    builder = Generator(cache_dir=str(cache), features=features, generator=_examples, gen_kwargs=arguments)
    builder.download_and_prepare(
        str(out), file_format="parquet", num_proc=cores, max_shard_size="64MB", verification_mode="no_checks"
    )


def _examples(chunks: list[list[dict[str, Any]]], folder: str, decode: bool) -> Iterator[dict[str, Any]]:
    import soundfile

    for record in itertools.chain.from_iterable(chunks):
        facts = {name: value for name, value in record.items() if name != "path"}
        path = f"{folder}/{record['path']}"
        if decode:
            pcm, rate = soundfile.read(path, dtype="int16")
            data = encode_wav(pcm, rate)
        else:
            data = Path(path).read_bytes()
        yield {"audio": {"bytes": data, "path": f"{record['recording_id']}.wav"}, **facts}


def _read_ours(folder: Path) -> int:
    return sum(len(one.audio) for one in iter_recordings(folder))


def _read_streamed(folder: Path) -> int:
    return _samples(_loaded(folder, streaming=True))


def _read_cached(folder: Path) -> int:
    return _samples(_loaded(folder, streaming=False))


def _loaded(folder: Path, streaming: bool) -> Any:
    from datasets import load_dataset

    cache = folder.with_name("read-cache")
    shutil.rmtree(cache, ignore_errors=True)
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    return load_dataset("parquet", data_files=files, split="train", streaming=streaming, cache_dir=str(cache))


def _samples(found: Any) -> int:
    return sum(len(decode_wav(one["bytes"])[0]) for batch in found.iter(batch_size=256) for one in batch["audio"])


def _print_table(results: dict[str, Any], given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{given.recordings} recordings of {given.seconds:g} s, recordings a second")
    for heading in ("recordings", "what", "ours", "datasets", "ratio"):
        table.add_column(heading, justify="left" if heading in ("recordings", "what") else "right")
    for kind, one in results.items():
        for what in ("write", "read"):
            speed = one[what]["recordings_a_second"]
            table.add_row(kind, what, f"{speed['ours']:,}", f"{speed['datasets']:,}", f"{one[what]['ratio']:.2f}")
    Console(file=sys.stderr, width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
