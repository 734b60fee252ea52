"""How fast a model is trained on a GPU: this project's loop beside the loops that people write, as training_cpu.py.

    python benchmarks/training_gpu.py --folder /tmp

The sides and what they do are those of training_cpu.py, on a GPU. Besides, how much of the time the GPU computes, by
the time of its kernels, and the seconds of an epoch of 100,000 windows of bc_resnet at this speed (goal: under 2).
`--device cpu --recordings 200 --epochs 1 --rounds 1` tries the script out. The last line is one JSON object; `ratio` is
samples a second over those of the audio files' side.
"""

import json
import sys

from training_cpu import arguments, compare

GOAL = 10.0
"""How many times as fast as the audio files' side this project is to be."""
EPOCH_WINDOWS = 100_000
EPOCH_SECONDS = 2.0
BUSY = 0.8


def main() -> int:
    """Run the benchmark."""
    import torch

    parser = arguments(__doc__ or "", model="bc_resnet", recordings=20_000)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("training_gpu: there is no CUDA device here; --device cpu tries the script out", file=sys.stderr)
        return 2
    results, ratios = compare(given)
    own = results["project"]
    summary = {
        "name": "training_gpu",
        "ratio": ratios.get("audio files"),
        "goal": GOAL,
        "ratios": ratios,
        "epoch_seconds": round(EPOCH_WINDOWS / own["samples_per_second"], 2),
        "epoch_seconds_goal": EPOCH_SECONDS,
        "busy": own.get("busy"),
        "busy_goal": BUSY,
        "device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "model": given.model,
        "recordings": given.recordings,
        "sides": results,
    }
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
