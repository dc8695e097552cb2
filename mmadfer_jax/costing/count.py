"""What a config costs by counting: parameters and FLOPs, beside simpler models and others'."""

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from mmadfer_jax.costing.flops import PARTS, flops_by_part, part_of
from mmadfer_jax.costing.timing import program_of
from mmadfer_jax.evaluation.published import PUBLISHED
from mmadfer_jax.evaluation.section import Section, table
from mmadfer_jax.training.optimizer import TRAINED
from mmadfer_jax.training.program import Program

_ALONE = {"prompts": 0, "fusion": "none", "temporal_depth": 0}


def parts_section(program: Program) -> Section:
    """Parameters and FLOPs of one clip by the parts of the model."""
    rows = {part: {"trained": 0, "frozen": 0} for part in PARTS}
    for path, x in program.shapes.items():
        kind = "trained" if program.labels[path] == TRAINED else "frozen"
        rows[part_of(path)][kind] += x.size
    for name, training in (("forward", False), ("training", True)):
        for part, flops in flops_by_part(program, training=training).items():
            rows[part][name] = flops
    total = {name: sum(row[name] for row in rows.values()) for name in rows["head"]}
    kept = {PARTS[part]: row for part, row in rows.items() if any(row.values())}
    lines = [_line(part, row) for part, row in [*kept.items(), ("**together**", total)]]
    header = ("part", "trained", "frozen", "forward, GFLOP", "training, GFLOP")
    text = table(header, lines) + (
        "\n\nParameters, and FLOPs of the matrix products of one clip: two for each multiply-add, "
        "as the freeze rules need them."
    )
    results = {"parts": kept, "together": total}
    return Section("parts", "Parameters and FLOPs by part", results, text)


def _line(name: str, row: Mapping[str, int]) -> tuple[str, ...]:
    parameters = (f"{row[kind]:,}" for kind in ("trained", "frozen"))
    return name, *parameters, *(_giga(row[kind]) for kind in ("forward", "training"))


def _giga(flops: float) -> str:
    return f"{flops / 1e9:,.2f}" if flops >= 1e9 or not flops else f"{flops / 1e9:.4f}"


def baselines(config: ConfigDict) -> dict[str, ConfigDict]:
    """Models with which a config may be compared, by their names; it stands first."""
    found = {"this config": {}}
    if config.model.modalities == "both":
        found |= {
            "picture encoder alone, mean over frames": {"modalities": "image", **_ALONE},
            "sound encoder alone": {"modalities": "audio", **_ALONE},
            "both encoders without fusion": {"fusion": "none"},
        }
    configs = {}
    for name, model in found.items():
        configs[name] = config.copy_and_resolve_references()
        configs[name].model.update(model)
    configs["every weight trained"] = config.copy_and_resolve_references()
    configs["every weight trained"].freeze = ((r".*", TRAINED),)
    return configs


def baselines_section(config: ConfigDict) -> Section:
    """Parameters and FLOPs of the baselines, counted as those of the config."""
    rows: dict[str, dict[str, int]] = {}
    for name, own in baselines(config).items():
        program = program_of(own)
        sizes = {"trained": 0, "frozen": 0}
        for path, x in program.shapes.items():
            sizes[program.labels[path]] += x.size
        for kind, training in (("forward", False), ("training", True)):
            sizes[kind] = sum(flops_by_part(program, training=training).values())
        rows[name] = sizes
    first = next(iter(rows.values()))
    lines = [
        (*_line(name, row), *(f"{row[kind] / first[kind]:.2f}" for kind in ("forward", "training")))
        for name, row in rows.items()
    ]
    header = ("model", "trained", "frozen", "forward, GFLOP", "training, GFLOP", "ratio", "ratio")
    text = table(header, lines) + (
        "\n\nThe last two columns are those of FLOPs forward and in training to this config's."
    )
    return Section("baselines", "Beside simpler and dearer models", rows, text)


def compiler_section(program: Program) -> Section:
    """What XLA counts in the lowered steps of one clip a device."""
    clips = program.mesh.size
    lowered = {"forward": program.lower_eval(clips), "training": program.lower_train(clips)}
    flops = {name: step.cost_analysis()["flops"] / clips for name, step in lowered.items()}
    text = (
        f"XLA counts {_giga(flops['forward'])} GFLOP a clip in the forward pass and "
        f"{_giga(flops['training'])} in a training step, with additions and activations."
    )
    return Section("xla", "The compiler's count", flops, text)


def published_section() -> Section:
    """Sizes and figures of others, as they told them."""
    rows: list[dict[str, Any]] = []
    for dataset, known in PUBLISHED.items():
        for one in known:
            if one.fold is None:
                # Of one method two sets of figures may circulate: each has its row.
                same = (row for row in rows if row["method"] == one.method and dataset not in row)
                if not (row := next(same, {})):
                    row |= {"method": one.method, "size": one.kind, "source": one.source}
                    rows.append(row)
                row[dataset] = [one.uar, one.war]
    lines = [
        (row["method"], row["size"], *(_two(row.get(name)) for name in PUBLISHED), row["source"])
        for row in rows
    ]
    text = table(("method", "size", "DFEW", "MAFW", "seen"), lines) + (
        "\n\nUAR / WAR in percent, means of five folds, as published. AV sees and hears, V sees. "
        "No FLOPs stand here, because no figures were seen that are counted alike."
    )
    return Section("published", "What others published", rows, text)


def _two(figures: list[float | None] | None) -> str:
    if figures is None:
        return "-"
    return " / ".join("-" if value is None else f"{value:.2f}" for value in figures)


def device() -> str:
    """The devices at hand, in words."""
    first = jax.devices()[0]
    return f"{jax.device_count()} x {first.device_kind} ({first.platform})"
