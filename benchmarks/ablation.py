"""What each part of the training is worth: a project with all of them, and without one at a time.

    python benchmarks/ablation.py --config wakeword.yaml --seeds 1 2 3

Everything is built up to the exported model for each seed, whole and without each part in turn (as `wakeword run
--without NAME`); parts that the project does not use anyway are passed over. Misses are those of continuous audio in
the target conditions at each operating point's false alarms an hour, thresholds read off the split itself; on
validation these are the ones that the model ships with. A part is worth what is missed more without it, seed by seed:
the seed decides over weights, batches, views and, where nothing else does, which speakers are tested, alike on both
sides. The interval is Student's; parts whose interval holds 0 have not been shown to matter.

Homes and results are kept: a second call goes on where the first stopped, and more seeds or names add to what is there.
The last line is one JSON object, which is in `--out` after every build too; `ratio` is missing, since nothing rivals.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from words import built_up_to_onnx, read_off

from wakeword_core.ablations import ABLATIONS, without
from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.evaluation.measure.intervals import mean_interval
from wakeword_core.evaluation.streams.operating_points import OperatingPoints
from wakeword_core.files import digest, read_json, write_json
from wakeword_core.graph.project import Project
from wakeword_core.runtime.exported import MODEL_FILE

WHOLE = "nothing"
"""What is left out of the training that the others are compared with."""
Missed = dict[str, dict[str, float | None]]
"""Split -> false alarms an hour -> share of the words missed; None where so few alarms cannot be reached."""
Spread = dict[str, Any]
"""Mean, deviation and interval over the seeds."""


@dataclass(frozen=True)
class Trained:
    """One training: what was left out, and what was missed."""

    left_out: str
    seed: int
    missed: Missed
    seconds: float
    model: str


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    names = _names(given)
    jobs = [(name, seed) for seed in given.seeds for name in names]
    trained: list[Trained] = []
    for number, (name, seed) in enumerate(jobs):
        print(f"training {number + 1} of {len(jobs)}: without {name}, seed {seed}", file=sys.stderr, flush=True)
        trained.append(_trained(name, seed, given))
        write_json(given.out, summary(trained, given))
    print_table(trained, _allowed(given))
    print(json.dumps(summary(trained, given)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the project")
    parser.add_argument("--home", type=Path, default=Path(".wakeword-ablation"), help="where builds are kept")
    parser.add_argument("--preset", help="in place of the project's own")
    parser.add_argument("--without", nargs="+", choices=sorted(ABLATIONS), metavar="NAME", help="default: every one")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings over the project's")
    parser.add_argument("--out", type=Path, default=Path("ablation.json"), help="the results so far")
    return parser.parse_args()


def config_without(name: str, seed: int, given: argparse.Namespace) -> Config:
    """The project with a seed and without a part."""
    left_out = [] if name == WHOLE else without([name])
    return load_config(given.config, [*given.set, *left_out, f"seed={seed}"], given.preset)


def _names(given: argparse.Namespace) -> list[str]:
    """What is left out in turn, nothing first; parts that are not used are named on standard error."""
    whole = config_without(WHOLE, given.seeds[0], given)
    used = {name: config_without(name, given.seeds[0], given) != whole for name in given.without or ABLATIONS}
    unused = [name for name, changes in used.items() if not changes]
    if unused:
        print(f"not used by this project anyway: {', '.join(unused)}", file=sys.stderr)
    return [WHOLE, *(name for name, changes in used.items() if changes)]


def _allowed(given: argparse.Namespace) -> str:
    """False alarms an hour at the operating point that is used."""
    return f"{config_without(WHOLE, given.seeds[0], given).evaluation.allowed_fah:g}"


def _trained(name: str, seed: int, given: argparse.Namespace) -> Trained:
    """Build and score, or find what was scored before."""
    started = time.monotonic()
    config = config_without(name, seed, given)
    project = Project(config, given.home.resolve())
    model = built_up_to_onnx(project, f"without {name}, seed {seed}")
    points = OperatingPoints.load(project.require("calibrated_model").path).points.values()
    shards = project.require("audio_shards", "test")
    kept = project.home / "ablation" / f"{digest([model.key, shards.key, config.subset('evaluation', 'seed')])}.json"
    if kept.exists():
        scored = read_json(kept)
    else:
        scored = {
            "test": missed_on_test(model.file(MODEL_FILE), shards.path, [one.target_fah for one in points], config),
            "seconds": time.monotonic() - started,
        }
        write_json(kept, scored)
    val = {f"{one.target_fah:g}": one.frr if one.reachable else None for one in points}
    return Trained(name, seed, {"val": val, "test": scored["test"]}, scored["seconds"], model.key)


def missed_on_test(model_file: Path, shards: Path, targets: Sequence[float], config: Config) -> dict[str, Any]:
    """Return the share of the test's words that a model misses at each target of false alarms."""
    from wakeword_core.evaluation.streams.conditions import target_conditions
    from wakeword_core.evaluation.streams.scores import score_streams
    from wakeword_core.runtime import WakewordModel

    model = WakewordModel(model_file)
    conditions = target_conditions(config.evaluation.conditions)
    scores = score_streams(
        model.score_audio, shards, config, conditions=conditions, confusables=False, short_phrases=False
    )
    return read_off(scores, config, model.detector, targets)


def summary(trained: Sequence[Trained], given: argparse.Namespace) -> dict[str, Any]:
    """Everything, and what each part is worth."""
    return {
        "name": "ablation",
        "ratio": None,
        "config": str(given.config),
        "settings": given.set,
        "seeds": sorted({one.seed for one in trained}),
        "parts": [
            {"left_out": name, "misses": _misses(trained, name), "worth": _worth(trained, name)}
            for name in _in_order(trained)
        ],
        "trainings": [asdict(one) for one in trained],
    }


def _in_order(trained: Sequence[Trained]) -> list[str]:
    return list(dict.fromkeys(one.left_out for one in trained))


def _misses(trained: Sequence[Trained], name: str) -> dict[str, dict[str, Spread | None]]:
    """Without a part, over the seeds."""
    return _over_seeds([one.missed for one in trained if one.left_out == name])


def _worth(trained: Sequence[Trained], name: str) -> dict[str, dict[str, Spread | None]]:
    """What is missed more without a part than with it, seed by seed; empty for the whole."""
    whole = {one.seed: one.missed for one in trained if one.left_out == WHOLE}
    others = [one for one in trained if one.left_out == name != WHOLE]
    return _over_seeds([_more(whole[one.seed], one.missed) for one in others])


def _more(with_it: Missed, without_it: Missed) -> Missed:
    def difference(split: str, target: str) -> float | None:
        less, more = with_it[split][target], without_it[split][target]
        return None if less is None or more is None else more - less

    return {split: {target: difference(split, target) for target in targets} for split, targets in with_it.items()}


def _over_seeds(several: Sequence[Missed]) -> dict[str, dict[str, Spread | None]]:
    return {
        split: {target: spread([one[split][target] for one in several]) for target in targets}
        for split, targets in (several[0].items() if several else ())
    }


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean, deviation and Student's interval over the seeds, these from two on; None where some seed has no value."""
    told = [one for one in values if one is not None]
    if len(told) < len(values):
        return None
    several = len(told) > 1
    interval = list(mean_interval(told)) if several else None
    return {"mean": mean(told), "deviation": stdev(told) if several else None, "interval": interval}


def print_table(trained: Sequence[Trained], allowed: str) -> None:
    """Misses without each part, and what it is worth at the operating point that is used."""
    from rich.console import Console
    from rich.table import Table

    seeds = len({one.seed for one in trained})
    table = Table(title=f"Missed at so many false alarms an hour (FAH), mean ± deviation of {seeds} seeds")
    columns = [(split, target) for split, targets in trained[0].missed.items() for target in targets]
    table.add_column("without")
    for split, target in columns:
        table.add_column(f"{split} {target} FAH", justify="right")
    table.add_column(f"worth on test at {allowed} FAH (95 % interval)", justify="right")
    for name in _in_order(trained):
        misses, worth = _misses(trained, name), _worth(trained, name)
        told = (_shown(misses[split][target]) for split, target in columns)
        table.add_row(name, *told, _points(worth["test"][allowed]) if worth else "")
    Console(file=sys.stderr, width=140).print(table)


def _shown(one: Spread | None) -> str:
    if one is None:
        return "unreachable"
    return f"{one['mean']:.1%}" + ("" if one["deviation"] is None else f" ± {100 * one['deviation']:.1f}")


def _points(one: Spread | None) -> str:
    if one is None:
        return "unreachable"
    ends = [f"{100 * end:+.1f}" for end in one["interval"] or ()]
    return f"{100 * one['mean']:+.1f} points" + (f" ({' to '.join(ends)})" if ends else "")


if __name__ == "__main__":
    sys.exit(main())
