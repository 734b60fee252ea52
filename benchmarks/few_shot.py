"""What a few real recordings of a wake word are worth beside synthetic speech: 0, 5, 10, 20 and 50 of them.

    python benchmarks/few_shot.py --audio-root FOLDER --preset balanced --runs alexa:0

The first recordings of a word are learnt from, neighbours that are probably a few people; the last 60 % are tested,
the same for every count. All else is as in text_only.py, whose options these are and whose home is shared: a word
taught by text alone is trained once. Thresholds are read off the test, and beside them stands validation's, which is
chosen on synthetic words. The last line is one JSON object.
"""

import argparse
import json
import sys
from typing import Any

from folds import text_sources
from text_only import CONDITIONS, EVERY_RUN, mean_missed, print_table, tested, text_config, text_parser, told

from wakeword_core.progress import Progress

COUNTS = (0, 5, 10, 20, 50)
TESTED = 0.6
"""Share of a word's recordings that are tested, from the end."""


def main() -> int:
    """Run the benchmark."""
    from wakeword_pipeline.cli.logs import Bars, setup_logging

    setup_logging()
    parser = text_parser(__doc__, EVERY_RUN, "fold 0 of each word")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="recordings to learn from")
    given = parser.parse_args()
    with Bars() as progress:
        results = [
            _tested(word, fold, count, given, progress) for word, fold in given.runs for count in sorted(given.counts)
        ]
    print_table(f"Taught by text and a few recordings, preset {given.preset}", results)
    print(json.dumps(_summary(results, given)))
    return 0


def _tested(word: str, fold: int, count: int, given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    sources = text_sources(given.audio_root.resolve(), word, fold, given.elsewhere, learnt=count, tested=TESTED)
    result = tested(f"{word}:{fold} + {count}", text_config(word, sources, given), given, progress)
    return {"learnt": count, **result}


def _summary(results: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    by_count = {count: [one for one in results if one["learnt"] == count] for count in sorted(given.counts)}
    return {
        "name": "few_shot",
        **told(given),
        "mean_frr_at_fah": {
            str(count): {condition.name: mean_missed(found, condition) for condition in CONDITIONS}
            for count, found in by_count.items()
        },
        "results": results,
    }


if __name__ == "__main__":
    sys.exit(main())
