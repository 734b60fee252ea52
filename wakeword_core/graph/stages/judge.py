"""The judge: a head on a frozen encoder of speech, trained on rows of the training split."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.features.settings import AUGMENTED_ROWS, EVERY_SPLIT
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.runtime.exported import ENCODER_FOLDER, JUDGE_FILE
from wakeword_core.stage_names import JUDGE, MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact

if TYPE_CHECKING:
    from wakeword_core.judge.head import JudgeHeads
    from wakeword_core.judge.rows import EmbeddedRows
    from wakeword_core.runtime.encoders import Encoder

HEAD = "head.safetensors"


def make(run: StageRun) -> None:
    """Encode rows, train the heads on them, and export them, with the encoder in the same file or beside it.

    The last layers of the encoder may be trained after the heads, and with them.
    """
    from safetensors.torch import save_file

    from wakeword_core.files import replacing
    from wakeword_core.judge.encoders import chosen_encoder, chosen_files
    from wakeword_core.judge.head import STEPS_SEEN, train_heads
    from wakeword_core.judge.rows import embed_rows

    config, inputs = run.config, run.inputs
    shards, features = inputs["audio_shards[train]"].path, inputs["mel_features[train]"].path
    synthetic = inputs[MANIFEST].figures["synthetic"]
    encoder = chosen_encoder(config.judge)

    def embed(encoder: "Encoder", steps: int, only: Any = None) -> "EmbeddedRows":
        return embed_rows(shards, features, config, synthetic, encoder, steps, run.progress, only)

    rows = embed(encoder, STEPS_SEEN)
    words = len(config.labels) - 1
    heads, trained = train_heads(rows, words, config.judge.head, config.training_seed, run.progress)
    if encoder.whole_windows:
        (run.out / ENCODER_FOLDER).mkdir()
        for path in chosen_files(config.judge):
            shutil.copyfile(path, run.out / ENCODER_FOLDER / path.name)  # no link: the folder is the user's
    if config.judge.unfreeze_layers:
        encoder, figures = _unfrozen(run, encoder, heads, rows, embed)
        trained |= figures
    with replacing(run.out / HEAD) as part:
        save_file({name: values.contiguous() for name, values in heads.state_dict().items()}, part)
    exported = _exported(encoder, heads, config, run.out)
    about = {"encoder": encoder.name, "encoder_licence": encoder.licence, "encoder_content": encoder.content}
    run.figures = {"rows": len(rows.labels), **trained, **exported, **about}


def _unfrozen(
    run: StageRun,
    encoder: "Encoder",
    heads: "JudgeHeads",
    rows: "EmbeddedRows",
    embed: "Callable[[Encoder, int, Any], EmbeddedRows]",
) -> "tuple[Encoder, dict[str, Any]]":
    """Train the last layers of the encoder, with the heads; returns it as it then lies beside them, and figures."""
    from wakeword_core.judge.unfreezing import unfreeze
    from wakeword_core.runtime.encoders import open_encoder
    from wakeword_core.runtime.encoders.transformers import TransformersEncoder

    assert isinstance(encoder, TransformersEncoder)  # of others nothing is trained, as the configuration knows
    whole, licence = encoder.window_samples, encoder.licence  # no window has more frames than samples
    tuned, figures = unfreeze(
        rows,
        encoder,
        heads,
        run.config.judge,
        run.config.training_seed,
        lambda one, keys: embed(one, whole, keys),
        run.progress,
    )
    tuned.save(run.out / ENCODER_FOLDER)
    found = open_encoder("transformers", run.out / ENCODER_FOLDER)
    found.licence = licence  # which the file says that is not copied
    return found, figures


def _exported(encoder: "Encoder", heads: "JudgeHeads", config: Config, out: Path) -> dict[str, Any]:
    """Write `judge.onnx`, with the encoder inside where it does not lie beside it; returns figures of the file."""
    from wakeword_core.judge.embedding import SpeechEmbeddingEncoder
    from wakeword_core.judge.export import HOPS_HEARD, export_heads, export_judge
    from wakeword_core.models.scoring import model_card

    # whom it is asked by, and when, is for the model that it is put together with
    asked: dict[str, Any] = {"gate": 0.0, "hangover_seconds": 0.0, "made_for": ""}
    card = {
        **model_card(config),
        "detector": DetectorConfig().model_dump(mode="json"),
        "threshold": 0.5,
        "operating_points": {},
    }
    onnx = config.export.onnx
    if isinstance(encoder, SpeechEmbeddingEncoder):
        card["judge"] = {"hop_samples": encoder.step_samples, "hops": HOPS_HEARD, **asked}
        return export_judge(encoder.network, heads, card, onnx.opset, onnx.parity_tolerance, out)
    beside = {"name": encoder.name, "content": encoder.content, "licence": encoder.licence}
    card["judge"] = {"hop_samples": encoder.step_samples, "hops": 1, "encoder": beside, **asked}
    return export_heads(encoder, heads, card, onnx.opset, onnx.parity_tolerance, out)


def judge_beats_chance(judge: Artifact, run: CheckRun) -> Verdict:
    """Fail where the judge by itself ranks recordings of validation little better than chance."""
    from sklearn.metrics import roc_auc_score

    from wakeword_core.judge.validation import score_recordings
    from wakeword_core.runtime.judge_file import open_judge

    scores, positive = score_recordings(open_judge(judge.file(JUDGE_FILE)), run.inputs["audio_shards[val]"].path)
    if len(set(positive.tolist())) < 2:
        return Verdict(False, "validation holds only one class, so nothing can be said of the judge")
    auc, needed = float(roc_auc_score(positive, scores)), run.config.checks.min_val_auc
    enough = f"at least {needed} is needed (checks.min_val_auc)"
    description = f"ROC-AUC on {len(scores)} recordings of validation is {auc:.4f}; {enough}"
    return Verdict(auc >= needed, description, {"val_auc": auc})


def _files(config: Config) -> tuple[Path, ...]:
    if config.judge.encoder == "speech_embedding":  # which lies in a package, so that a look at the graph loads nothing
        return ()
    from wakeword_core.judge.encoders import chosen_files

    return chosen_files(config.judge)


STAGE = Stage(
    name=JUDGE,
    version="4",
    make=make,
    inputs=(
        Input("audio_shards", split="train"),
        Input("mel_features", split="train"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=(
        "phrase",
        "training.seed",
        *EVERY_SPLIT,
        *AUGMENTED_ROWS,
        "judge.rows",
        "judge.head",
        "judge.unfreeze_layers",
        "judge.unfreeze_rate",
        "judge.unfreeze_steps",
        "export.onnx",
    ),
    group="model",
    kinds=("pytorch", "onnx"),
    description=__doc__,
    files=_files,
    checks=(check(judge_beats_chance, inputs=(Input("audio_shards", split="val"),), limits=("checks.min_val_auc",)),),
    optional=lambda config: bool(config.judge_wanted_by),
)
