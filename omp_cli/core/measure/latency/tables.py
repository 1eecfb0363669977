"""The tables of a measurement of latency, made from the figures of its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.table import NONE, Table

Figures = Mapping[str, Any]


def tables(figures: Figures) -> list[Table]:
    """Everything that was measured, as ``core.measure.latency.bench`` says it."""
    if len({row["policy"] for row in figures["rows"]}) > 1:
        return [_policies(figures)]
    optional = ((_published, figures["published"]), (_parts, figures["parts"]), (_ticks, figures["ticks"]))
    return [_backends(figures), *(make(part) for make, part in optional if part)]


def remarks(figures: Figures) -> list[str]:
    """Warnings, how near the backends come to eager, what was not measured, where the papers' figures are from."""
    rows = figures["rows"]
    lines = [f"warning: {line}" for line in figures["warnings"]]
    lines += dict.fromkeys(_excuse(row) for row in rows if row["status"] != "measured")
    lines += [_parity(rows, name) for name in dict.fromkeys(row["backend"] for row in rows if row["build_seconds"])]
    if off := [row["against_float32"]["max_rel"] for row in rows if row["against_float32"]]:
        worst = "a number that is not finite" if None in off else f"{max(off):.1g} of the largest action"
        lines.append(f"{figures['dtype']}: eager differs from float32 by {worst}")
    several, places = len({row["policy"] for row in rows}) > 1, _places(figures)
    if several and places:
        sources = "; ".join(f"{_letter(i)} {place}" for i, place in enumerate(places))
        lines.append(f"papers, on their machines (rates and speed-ups from their rounded times): {sources}")
    if figures["not_asked_for"] and not several:
        lines.append(f"not asked for: {', '.join(figures['not_asked_for'])} (--backend all)")
    return lines


def _parity(rows: Sequence[Figures], backend: str) -> str:
    """How far a backend is from eager at most, and what it took to build."""
    built = [row for row in rows if row["backend"] == backend and row["build_seconds"]]
    worst = max(row["difference"]["max_rel"] for row in built)
    seconds = [row["build_seconds"] for row in built]
    limit = built[0]["difference"]["tolerance"]
    took = f"{min(seconds):.1f}" if len(seconds) == 1 else f"{min(seconds):.1f} to {max(seconds):.1f}"
    return (
        f"{backend}: differs from eager by {worst:.0e} of the largest action (allowed: {limit:.0e}), built in {took} s"
    )


def _backends(figures: Figures) -> Table:
    """One policy: every row with its distribution; those without figures follow as lines."""
    first = figures["rows"][0]
    size = f"{first['parameters'] / 1e6:.2f} M parameters, {number(first['megabytes'])} MB"
    columns = ("NFE", "batch", "backend", "encoder", "p50", "p95", "p99", "min", "jitter", "drift", "Hz", "x eager")
    lines = []
    for row in figures["rows"]:
        ms = row["ms"]
        if ms is None:
            continue
        lines.append(
            [
                str(row["nfe"]),
                str(row["batch"]),
                row["backend"],
                _encoder(row),
                *(number(ms[key]) for key in ("p50", "p95", "p99", "min", "jitter")),
                NONE if ms["drift_percent"] is None else f"{ms['drift_percent']:.0f} %",
                rate(ms.get("hz")),
                NONE if (row["backend"], row["encoder"]) == ("eager", "once") else number(row["over_eager"]),
                _other_clock(row),
                _calls(row),
            ]
        )
    title = f"Decision of {first['label']}: {size}; {figures['conditions']}; ms"
    clock = next((row["cross_check"]["clock"] for row in figures["rows"] if row["cross_check"]), "")
    return _table(title, (*columns, f"p50 {clock}", "calls"), lines)


def _published(published: Sequence[Figures]) -> Table:
    lines = [[str(p["nfe"]), number(p["ms"]), rate(p["hz"]), p["device"], p["source"]] for p in published]
    table = _table("The papers' own figures, on their machines", ("NFE", "ms", "Hz", "device", "source"), lines)
    table.grey = set(range(len(table.rows)))
    return table


def _policies(figures: Figures) -> Table:
    """Several policies: size, rate and speed-up, the papers' figures beside."""
    title = f"Decisions; {figures['conditions']}"
    if reference := figures["reference"]:
        labels = {row["policy"]: row["label"] for row in figures["rows"]}
        title += f"; x: speed-up over {labels[reference['policy']]}, NFE {reference['nfe']}, encoder once"
    columns = ("policy", "M par.", "MB", "NFE", "batch", "backend", "encoder", "p50 ms", "Hz", "x", "calls", "papers")
    lines, before = [], None
    for row in figures["rows"]:
        ms = row["ms"] or {}
        fresh, before = row["policy"] != before, row["policy"]
        lines.append(
            [
                row["label"] if fresh else "",
                number(row["parameters"] and row["parameters"] / 1e6) if fresh else "",
                number(row["megabytes"]) if fresh else "",
                str(row["nfe"]),
                str(row["batch"]),
                row["backend"],
                _encoder(row),
                number(ms.get("p50")),
                rate(ms.get("hz")),
                number(row["speed_up"]),
                _calls(row),
                "\n".join(_cited(figures, row)) or NONE,
            ]
        )
    return _table(title, columns, lines)


def _parts(parts: Sequence[Figures]) -> Table:
    lines = []
    for part in parts:
        ms = part["ms"] or {}
        name = f"  {part['name']}" if part["within"] else part["name"]
        lines.append([name, part["per"], *(number(ms.get(key)) for key in ("p50", "p95", "min")), part["reason"]])
    return _table("Parts, eager, batch 1; ms", ("part", "per", "p50", "p95", "min", "note"), lines)


def _ticks(ticks: Sequence[Figures]) -> Table:
    step, chunk = ticks[0]["step_ms"], ticks[0]["chunk_ms"]
    title = f"Control tick, eager, batch 1; ms. A control step is {step:g} ms, the executed chunk {chunk:g} ms"
    columns = ("NFE", "observe", "decide", "tick p50", "tick p95", "Hz", "over a step", "over the chunk", "ticks")
    lines = []
    for tick in ticks:
        lines.append(
            [
                str(tick["nfe"]),
                *(number(tick[key]["p50"]) for key in ("observe", "decide", "total")),
                number(tick["total"]["p95"]),
                rate(tick["total"]["hz"]),
                *(f"{100 * tick[key]:.0f} %" for key in ("late_for_step", "late_for_chunk")),
                str(tick["total"]["n"]),
            ]
        )
    return _table(title, columns, lines)


def _table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A table without the columns that say nothing; the papers' figures are grey."""
    cells = [[line[i] for line in lines] for i in range(len(columns))]
    keep = [i for i, column in enumerate(columns) if not _says_nothing(column, cells[i])]
    papers = {columns[i] for i in keep if columns[i].startswith("papers")}
    return Table(title, [columns[i] for i in keep], [[line[i] for i in keep] for line in lines], grey_columns=papers)


def _says_nothing(column: str, cells: Sequence[str]) -> bool:
    """Whether a column is empty, or holds the obvious throughout."""
    return set(cells) <= {NONE, "", {"batch": "1", "backend": "eager"}.get(column, NONE)}


def _encoder(row: Figures) -> str:
    """How often the encoder runs; for one step there is no choice."""
    return row["encoder"] if row["nfe"] > 1 else NONE


def _cited(figures: Figures, row: Figures) -> list[str]:
    """The papers' figures for a policy and NFE, beside the first of its rows (encoder at each step).

    The letter of the source, time, rate, and speed-up where the source has a reference.
    """
    mine, places, lines = (row["policy"], row["nfe"]), _places(figures), []
    first = next(other for other in figures["rows"] if (other["policy"], other["nfe"]) == mine)
    for p in figures["published"] if first is row else ():
        if (p["policy"], p["nfe"]) == mine:
            ratio = "" if p["speed_up"] is None else f" {number(p['speed_up'])}x"
            lines.append(f"{_letter(places.index(_place(p)))} {number(p['ms'])} ms {rate(p['hz'])} Hz{ratio}")
    return lines


def _place(figure: Figures) -> str:
    return f"{figure['source']}, {figure['device']}"


def _places(figures: Figures) -> list[str]:
    return list(dict.fromkeys(map(_place, figures["published"])))


def _letter(index: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[index] if index < 26 else f"[{index + 1}]"


def _other_clock(row: Figures) -> str:
    """The other clock's median: the host's always, processor time where the process did not have the core."""
    check, ms = row["cross_check"], row["ms"]
    if check is None or (check["clock"] == "cpu" and check["ms"]["p50"] > 0.95 * ms["p50"]):
        return NONE
    return number(check["ms"]["p50"])


def _calls(row: Figures) -> str:
    """How many, or why there are none."""
    return str(row["ms"]["n"]) if row["status"] == "measured" else row["status"]


def _excuse(row: Figures) -> str:
    """Why a row has no figure, or how it was made."""
    if row["status"] == "composed":
        return f"composed: {row['label']}, NFE {row['nfe']}, encoder {row['encoder']}: {row['reason']}"
    backend = "" if row["backend"] == "eager" else f", {row['backend']}"
    return f"{row['status']}: {row['label']}{backend}: {row['reason']}"


def number(value: float | None) -> str:
    """At most three digits before a point, no exponent."""
    if value is None:
        return NONE
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def rate(hz: float | None) -> str:
    """Hertz."""
    return NONE if hz is None else f"{hz:.0f}" if hz >= 20 else f"{hz:.2g}"
