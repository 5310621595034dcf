"""Tables of the report, in Markdown, from results alone."""

from collections.abc import Iterable

import numpy as np

from benchmarks.method_study.results import Found, Result, Scores
from benchmarks.method_study.variants import ROWS, SAMPLER_STEPS, VARIANTS

COLUMNS = {
    "abs_rel": "abs_rel",
    "rmse": "rmse (m)",
    "silog": "silog",
    "d1": "d1",
    "boundary_f1": "boundary F1",
    "edge_abs_rel": "abs_rel at edges",
}
LARGER_IS_BETTER = {"d1", "d2", "d3", "boundary_f1"}
KINDS = ("rooms", "streets")
PERCENTS = (100, 20, 4, 1)
TARGETS = ("self", "truth", "none", "truth_only")


def own_steps(result: Result, kind: str) -> Scores:
    """A result's metrics at the number of steps it was trained with."""
    return result["metrics"][kind][str(result["trained_steps"])]


def values(results: list[Result], kind: str, metric: str, steps: int | None = None) -> list[float]:
    """A metric of each seed; steps: of the sampler, None for those of training."""
    rows = [r["metrics"][kind] for r in results]
    counts = [str(steps or r["trained_steps"]) for r in results]
    return [row[count][metric] for row, count in zip(rows, counts, strict=True) if count in row]


def cell(numbers: list[float]) -> str:
    """mean ± standard deviation over seeds (n - 1 in its denominator), or what there is."""
    if not numbers:
        return "not run"
    mean = (
        f"{np.mean(numbers):.3f}".replace("0.", ".", 1)
        if abs(np.mean(numbers)) < 1
        else (f"{np.mean(numbers):.2f}")
    )
    if len(numbers) == 1:
        return f"{mean} (one seed)"
    digits = 3 if abs(np.mean(numbers)) < 1 else 2
    spread = f"{np.std(numbers, ddof=1):.{digits}f}"
    return f"{mean} ± {spread.replace('0.', '.', 1) if digits == 3 else spread}"


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def row_table(row: str, found: Found, kind: str) -> str:
    """Each variant of a row, the default first, at the number of steps it was trained with."""
    names = ["default", *(name for name in ROWS[row] if name != "default")]
    lines = []
    for name in names:
        results = found.get(name, [])
        cells = [cell(values(results, kind, metric)) for metric in COLUMNS]
        lines.append(
            [f"`{name}`", str(len(results)), *cells]
            if results
            else [f"`{name}`", "0", *["not run"] * len(COLUMNS)]
        )
    return table([kind, "seeds", *COLUMNS.values()], lines)


def baseline_table(baselines: dict[str, dict[str, Scores]]) -> str:
    """Predictors that see no image; there is nothing of them to repeat."""
    lines = [
        [
            f"{kind}: {name}",
            *(cell([scores[metric]]).removesuffix(" (one seed)") for metric in COLUMNS),
        ]
        for kind, predictors in baselines.items()
        for name, scores in predictors.items()
    ]
    return table(["", *COLUMNS.values()], lines)


def steps_table(found: Found, kind: str, names: Iterable[str]) -> str:
    """abs_rel by the sampler's number of steps, without retraining."""
    header = [f"{kind}: abs_rel at", "trained at", *(str(count) for count in SAMPLER_STEPS)]
    lines = []
    for name in names:
        if name in found:
            cells = [cell(values(found[name], kind, "abs_rel", count)) for count in SAMPLER_STEPS]
            cells = ["none" if text == "not run" else text for text in cells]
            lines.append([f"`{name}`", str(found[name][0]["trained_steps"]), *cells])
    return table(header, lines)


def excess(results: list[Result], kind: str, metric: str = "abs_rel") -> dict[int, float]:
    """{steps: by how much the mean over seeds exceeds the best mean of SAMPLER_STEPS}."""
    means = {n: np.mean(values(results, kind, metric, n)) for n in SAMPLER_STEPS}
    return {count: mean / min(means.values()) - 1 for count, mean in means.items()}


def excess_table(found: Found, names: Iterable[str]) -> str:
    """The requirement on steps: 5 within 2 %, 1 within 10 %, 20 within 5 % of the best."""
    lines = []
    for name in names:
        results = found.get(name)
        if not results or str(20) not in results[0]["metrics"]["rooms"]:
            continue
        over = {kind: excess(results, kind) for kind in KINDS}
        cells = [f"{100 * over[kind][count]:.1f} %" for kind in KINDS for count in (1, 5, 20)]
        limits = {1: 0.10, 5: 0.02, 20: 0.05}
        met = all(over[k][count] <= limit for k in KINDS for count, limit in limits.items())
        lines.append([f"`{name}`", *cells, "yes" if met else "no"])
    header = ["above the best", *(f"{k}, {n}" for k in KINDS for n in (1, 5, 20)), "all within"]
    return table(header, lines)


def sparsity_name(target: str, percent: int) -> str:
    return "default" if (target, percent) == ("self", 100) else f"{target}_{percent}"


def sparsity_table(found: Found, kind: str, metric: str) -> str:
    lines = [
        [
            target,
            *(
                cell(values(found.get(sparsity_name(target, p), []), kind, metric))
                for p in PERCENTS
            ),
        ]
        for target in TARGETS
    ]
    header = [f"{kind}: {COLUMNS[metric]}, valid pixels", *(f"{p} %" for p in PERCENTS)]
    return table(header, lines)


def uncertainty_table(found: Found) -> str:
    """Row 7."""
    lines = []
    for name in VARIANTS:
        for kind in KINDS:
            rows = [r["uncertainty"][kind] for r in found.get(name, []) if "uncertainty" in r]
            if rows:
                cells = [
                    cell([row[key] for row in rows])
                    for key in ("spearman", "ause", "random_ause", "mean_spread")
                ]
                lines.append([f"`{name}`", kind, *cells])
    header = ["", "scenes", "Spearman", "AUSE", "AUSE of chance", "mean spread of log depth"]
    return table(header, lines)


def cost_table(found: Found) -> str:
    """Equal budget is equal images; what it took beside it."""
    lines = []
    for name, results in found.items():
        seconds = cell([r["train_seconds"] for r in results])
        files = results[0]["file"].replace("seed0", "seed*")
        commits = ", ".join(sorted({r["commit"] for r in results}))
        lines.append(
            [
                f"`{name}`",
                str(len(results)),
                str(results[0]["images_seen"]),
                seconds,
                f"`{files}`",
                commits,
            ]
        )
    return table(["", "seeds", "images seen", "seconds", "files", "revision"], lines)
