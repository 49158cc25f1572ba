"""Names and numbers as people read them."""

import math
from collections.abc import Iterator

from ._evaluate import Evaluation
from ._judged import Judged, Part

_TITLES = {
    "log_loss": "log loss (nats)",
    "log_loss_skill": "log loss, gain on base rate",
    "brier_score": "Brier score",
    "brier_reliability": "  reliability (0 is best)",
    "brier_resolution": "  resolution (more is better)",
    "brier_uncertainty": "  uncertainty",
    "accuracy": "accuracy",
    "top_5_accuracy": "top-5 accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1_score": "F1",
    "matthews_correlation": "Matthews correlation",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "expected_calibration_error": "ECE of decisions",
    "positive_calibration_error": "ECE of the positive class",
    "class_calibration_error": "ECE of all classes",
    "smooth_calibration_error": "smooth ECE",
}
GROUP_COLUMNS = {
    "log_loss": "log loss",
    "brier_score": "Brier",
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "expected_calibration_error": "ECE",
}


def number(value: float, decimals: int = 5) -> str:
    """So many decimals, or four digits of what is smaller."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "−inf"
    digits = f"{value:.{decimals}f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.3e}"
    return digits.replace("-", "−", 1) if value < 0 else digits


def signed(value: float) -> str:
    """With a plus."""
    return ("+" if value > 0 else "") + number(value)


def p_value(value: float) -> str:
    """Three decimals; what is too small for them is only said to be."""
    return "NaN" if math.isnan(value) else "< 0.001" if value < 1e-3 else f"{value:.3f}"


def shown(text: object, width: int = 40) -> str:
    """Any text in one line of harmless characters, cut where it is long."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def metric_rows(part: Part) -> list[tuple[str, list[str]]]:
    """A title and a cell per model, for each metric that there is."""
    rows = []
    for key, title in _TITLES.items():
        if any(key in judged.metrics for judged in part.models):
            rows.append((title, [_cell(key, judged) for judged in part.models]))
        bounds = [judged.bounds.get(key, 0.0) for judged in part.models]
        if any(bounds):
            rows.append(("  error at most", [number(bound) for bound in bounds]))
    return rows


def _cell(key: str, judged: Judged) -> str:
    value, width = judged.metrics[key], judged.half_widths.get(key, math.nan)
    if not math.isfinite(width):
        return number(value)
    digits = f"{width:.5f}" if width >= 1e-5 or width == 0 else f"{width:.1e}"
    return f"{number(value)} ± {digits}"


def summary(found: Evaluation) -> list[str]:
    """Sentences: what was judged, and how good whoever knows the base rate only would be."""
    part = found.overall
    weighed = f" (total weight {part.weight:,.6g}, column {found.weight!r})" if found.weight else ""
    if found.binary:
        share = part.shares[1] if part.weight else math.nan
        about = f"{100 * share:.4g} % positive ({found.classes[1]!r})"
    else:
        about = f"{len(found.classes)} classes"
    return [
        f"{part.rows:,} rows{weighed}, {about}. "
        f"The base rate alone has log loss {number(part.base_rate)}."
    ]


def notes(found: Evaluation) -> list[str]:
    """Sentences: what the numbers in the table of metrics mean, and why some are not there."""
    percent = f"{100 * found.confidence:g} %"
    lines = [f"± is the {percent} confidence interval of a mean."]
    part = found.overall
    if any(any(judged.bounds.values()) for judged in part.models):
        lines.append(
            "ROC AUC and average precision come from 65,536 bins; the exact ones differ by no "
            "more than the error says."
        )
    certain = [
        name
        for name, judged in zip(found.models, part.models, strict=True)
        if math.isinf(judged.metrics["log_loss"])
    ]
    if certain:
        lines.append(
            f"The log loss of {_listed(certain)} is infinite: some label was given probability 0; "
            "`jbce explain` says which."
        )
    return [*lines, *undefined(found)]


def undefined(found: Evaluation) -> list[str]:
    """Why a number is NaN: a sentence for each reason, of all examples and then of groups."""
    by_reason: dict[str, list[str]] = {}
    for part in (found.overall, *found.groups):
        for name, judged in zip(found.models, part.models, strict=True):
            for key, reason in judged.reasons.items():
                if part is not found.overall and key not in GROUP_COLUMNS:
                    continue
                what = _TITLES[key].strip().partition(" (")[0] if key in _TITLES else key
                if len(found.models) > 1:
                    what += f" of {name}"
                if part is not found.overall:
                    what += f" in {part.name}"
                by_reason.setdefault(reason, []).append(what)
    return [f"NaN: {_listed(whats)}: {reason}." for reason, whats in by_reason.items()]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def difference_rows(found: Evaluation, name: str) -> Iterator[tuple[str, ...]]:
    """Model, difference, simultaneous interval and adjusted p-value."""
    comparison = found.comparisons[name]
    for i, model in enumerate(found.models):
        if i == found.baseline:
            continue
        difference, low, high, p = (
            float(getattr(comparison, field)[i])
            for field in ("difference", "adjusted_low", "adjusted_high", "adjusted_p_value")
        )
        yield model, signed(difference), f"{signed(low)} to {signed(high)}", p_value(p)


def difference_note(found: Evaluation) -> str:
    """What the table of differences says."""
    percent = f"{100 * found.confidence:g} %"
    best = found.models[found.baseline]
    return (
        f"Model minus {best}, which has the least log loss. The intervals hold for all models at "
        f"once with {percent} confidence, and the p-values are adjusted likewise; an interval "
        "that leaves 0 out is a real difference."
    )


def group_table(found: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: a row per group and model."""
    keys = [key for key in GROUP_COLUMNS if key in found.overall.models[0].metrics]
    several = len(found.models) > 1
    heads = [str(found.group), *(["model"] if several else []), "rows"]
    heads += ["positive"] if found.binary else []
    rows = []
    for part in found.groups:
        for i, (model, judged) in enumerate(zip(found.models, part.models, strict=True)):
            row = [part.name if i == 0 else "", *([model] if several else [])]
            row.append(f"{part.rows:,}" if i == 0 else "")
            if found.binary:
                share = part.shares[1] if part.weight else math.nan
                row.append(f"{100 * share:.4g} %" if i == 0 else "")
            rows.append([*row, *(number(judged.metrics[key], 4) for key in keys)])
    return [*heads, *(GROUP_COLUMNS[key] for key in keys)], rows
