"""The bundle: the model with its whole card inside, the smaller ones beside it, and the card to read."""

import json
from collections.abc import Mapping
from typing import Any

from wakeword_core.errors import ArtifactError
from wakeword_core.files import canonical_json, link_or_copy, read_json, write_json, write_text
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.runtime.exported import (
    CARD_MARKDOWN,
    ENCODER_FOLDER,
    FP16_FILE,
    INT8_FILE,
    INT8_STREAMING_FILE,
    JUDGE_FILE,
    MODEL_FILE,
    PROGRAM_FILE,
    SECOND_FOLDER,
    STREAMING_FILE,
)
from wakeword_core.stage_names import BUNDLE, OPENWAKEWORD
from wakeword_core.store.artifacts import Artifact

CARD_JSON = "model_card.json"
PICTURE = "lineage.png"
MODEL_FACET = "model"
"""The facet that is the exported model in it, whatever else changes."""
_COPIED = {
    "onnx_model": {STREAMING_FILE},
    "int8_model": {INT8_FILE, INT8_STREAMING_FILE},
    "fp16_model": {FP16_FILE},
    "judged_model": {JUDGE_FILE},
    "torch_program": {PROGRAM_FILE},
}
"""Models that are handed on as they are, by the stage that made them."""
_COPIED_WHOLE = ("tflite_model", OPENWAKEWORD)
"""Stages of which every file is handed on."""
_SOURCE_FIGURES = ("source", "licence", "commercial_use", "recordings", "hours", "speakers")
_NAMED_SOURCES = 5


def make(run: StageRun) -> None:
    """Write the models, `model_card.json`, `model_card.md` and `lineage.png`.

    The float model carries the whole card. Those that stream and the INT8 and float16 models, for places where every
    kilobyte counts, are those that were compared with it, with the short card.
    """
    from wakeword_core.export.model_card import card_markdown, describe_model
    from wakeword_core.export.onnx_graph import load_model, write_model
    from wakeword_core.lineage.picture import lineage_picture
    from wakeword_core.lineage.recordings import recordings_behind
    from wakeword_core.runtime.exported import CARD_KEY, MODEL_CARD_KEY
    from wakeword_core.store.graph import Edge, Graph, Node

    inputs = run.inputs
    path = inputs["onnx_model"].file(MODEL_FILE)
    model = load_model(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if CARD_KEY not in properties:
        raise ArtifactError(f"{path} carries no card; build onnx_model again")
    edges = (Edge(name, source.stage, source.key, source.content) for name, source in inputs.items())
    node = Node(BUNDLE, run.key, inputs=tuple(edges))
    graph = Graph([*Graph.of_store(run.store).nodes.values(), node])
    recordings = recordings_behind(graph, node, run.store.root)
    runtime, metrics = json.loads(properties[CARD_KEY]), read_json(inputs["metrics_report"].file("metrics.json"))
    judged = inputs.get("judged_model")
    besides = judged, inputs.get(OPENWAKEWORD)
    card = describe_model(node, run.config.slug, graph, recordings, runtime, metrics, *besides)
    entry = model.metadata_props.add()
    entry.key, entry.value = MODEL_CARD_KEY, canonical_json(card)
    size = write_model(model, run.out / MODEL_FILE)
    for stage, names in _COPIED.items():
        made = inputs[stage].files.keys() if stage in inputs else ()
        for name in names.intersection(made):  # not every model streams, or has a judge
            link_or_copy(inputs[stage].file(name), run.out / name)
    if judged is not None:
        for name in judged.files:
            if name.startswith((f"{ENCODER_FOLDER}/", f"{SECOND_FOLDER}/")):
                link_or_copy(judged.file(name), run.out / name)
    for stage in _COPIED_WHOLE:
        for name in inputs[stage].files if stage in inputs else ():
            link_or_copy(inputs[stage].file(name), run.out / name)
    write_json(run.out / CARD_JSON, card)
    write_text(run.out / CARD_MARKDOWN, card_markdown(card))
    (run.out / PICTURE).write_bytes(lineage_picture(graph, node))
    run.figures = _figures(card, size)
    run.facets = {MODEL_FACET: inputs["onnx_model"].content}


def _figures(card: Mapping[str, Any], size: int) -> dict[str, Any]:
    data = card["data"]
    return {
        "bytes": size,
        "int8_bytes": card["model"]["int8_bytes"],
        "fp16_bytes": card["model"]["fp16_bytes"],
        "recordings": data["recordings"],
        "hours": data["hours"],
        "speakers": data["speakers"],
        "commercial_use": data["learnt_from"]["commercial_use"],
        "without_licence": data["without_licence"],
        "sources": [{name: source[name] for name in _SOURCE_FIGURES} for source in data["sources"]],
        "limits": card["limits"],
    }


def sealed(bundle: Artifact, run: CheckRun) -> Verdict:
    """Fail where the digest inside a model file does not fit the file."""
    from wakeword_core.lineage.model_file import read_model_file

    names = [name for name in bundle.files if name.endswith(".onnx")]
    seals = {name: read_model_file(bundle.file(name)).seal for name in names}
    problems = [f"{name}: {seal}" for name, seal in seals.items() if seal != "whole"]
    return verdict_on(problems, f"{', '.join(names)} can tell by themselves that they are unaltered")


def licences_stated(bundle: Artifact, run: CheckRun) -> Verdict:
    """Warn of sources without a licence."""
    without, allowed = bundle.figures["without_licence"], bundle.figures["commercial_use"]
    if not without:
        return Verdict(True, f"every source has a licence; commercial use of what the model learnt from: {allowed}")
    more = " and more" if len(without) > _NAMED_SOURCES else ""
    description = f"no licence is stated for {', '.join(without[:_NAMED_SOURCES])}{more}; name it under data.sources"
    return Verdict(False, description, {"sources": len(without)})


STAGE = Stage(
    name=BUNDLE,
    version="8",
    make=make,
    inputs=(
        Input("onnx_model"),
        Input("int8_model"),
        Input("fp16_model"),
        Input("judged_model"),
        Input("tflite_model"),
        Input(OPENWAKEWORD),
        Input("torch_program"),
        Input("metrics_report"),
        Input("raw_manifest", facet="sources"),
    ),
    settings=("phrase",),
    group="delivery",
    kinds=("onnx", "markdown", "mlflow"),
    description=__doc__,
    checks=(check(sealed), check(licences_stated, blocking=False)),
)
