"""The table of all architectures in docs/models.md: `python -m wakeword_core.models.table` prints it."""

from pydantic import TypeAdapter

from wakeword_core.config import Config, ModelConfig
from wakeword_core.models import REGISTRY, build_model
from wakeword_core.models.facts import describe

PAPERS = {
    "bc_resnet": "[Kim et al. 2021](https://arxiv.org/abs/2106.04140)",
    "tiny_conv": "pooling: [Chen et al. 2018](https://arxiv.org/abs/1804.07573)",
    "tcn": "[Bai et al. 2018](https://arxiv.org/abs/1803.01271)",
    "mixednet": "[Tan and Le 2019](https://arxiv.org/abs/1907.09595), [microWakeWord](https://github.com/kahrendt/microWakeWord)",
    "cd_dnn": "[Chen et al. 2014](https://doi.org/10.1109/ICASSP.2014.6854370)",
    "ds_cnn": "[Zhang et al. 2017](https://arxiv.org/abs/1711.07128)",
    "crnn": "[Arik et al. 2017](https://arxiv.org/abs/1703.05390)",
    "mobilenetv3": "[Howard et al. 2019](https://arxiv.org/abs/1905.02244)",
    "resnet18": "[He et al. 2016](https://arxiv.org/abs/1512.03385)",
    "resnet34": "[He et al. 2016](https://arxiv.org/abs/1512.03385)",
    "conformer": "[Gulati et al. 2020](https://arxiv.org/abs/2005.08100)",
}
"""Where each architecture is from."""

_CLASSES = 2
_HEADER = ("`training.model.arch`", "parameters", "MMAC a window", "MMAC a second", "sees, ms", "streams", "source")
_ALIGNED = ("---", "---:", "---:", "---:", "---:", "---", "---")


def table() -> str:
    """A Markdown table of every architecture with its default settings, for the default front end and two classes."""
    rows = [_HEADER, _ALIGNED, *(_row(arch) for arch in REGISTRY)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(arch: str) -> tuple[str, ...]:
    config = Config()
    frontend, rate = config.features.frontend, config.data.audio.sample_rate
    settings: ModelConfig = TypeAdapter(ModelConfig).validate_python({"arch": arch})
    facts = describe(
        build_model(settings, frontend.bands, frontend.window_frames, _CLASSES),
        frontend.bands,
        frontend.window_frames,
        frames_per_second=rate / frontend.hop_length,
        hop_frames=frontend.frames(config.evaluation.detector.stride_seconds, rate),
    )
    samples = (facts.receptive_field_frames - 1) * frontend.hop_length + frontend.win_length
    return (
        f"`{arch}`",
        f"{facts.parameters:,}",
        f"{facts.macs / 1e6:,.1f}",
        f"{facts.macs_per_second / 1e6:,.1f}",
        f"{1_000 * samples / rate:,.0f}",
        "yes" if facts.streams else "no",
        PAPERS[arch],
    )


if __name__ == "__main__":
    print(table(), end="")
