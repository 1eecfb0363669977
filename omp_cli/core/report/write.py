"""One run of ``omp report``: its files."""

from __future__ import annotations

from typing import Any

from omp_cli.core.base.files import sha256_of, write_json, write_text
from omp_cli.core.base.manifest import Input
from omp_cli.core.base.run import Run
from omp_cli.core.report import pages
from omp_cli.core.report.collect import Found
from omp_cli.core.report.config import ReportConfig
from omp_cli.core.report.latex import latex
from omp_cli.core.report.offline import copied_pictures
from omp_cli.core.report.plots import draw
from omp_cli.core.report.summary import summarise

JSON, MARKDOWN, HTML, LATEX = "report.json", "report.md", "report.html", "report.tex"


def write_report(run: Run, found: Found, config: ReportConfig) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``report.html`` and the plots into the run's folder; for a paper, LaTeX.

    Args:
        run: its manifest names every evaluation that was read.
        found: evaluations and latencies.
        config: what the others are compared with, the seed of the bootstrap, and whether it is for a paper.

    Returns:
        The document of ``report.json``.

    Raises:
        UsageError: no row is called ``config.baseline``.
    """
    document = summarise(found, config.baseline, config.seed)
    run.manifest.inputs += [Input(kind="eval", path=str(e.path), sha256=sha256_of(e.path)) for e in found.everything]
    sections = (*document["sections"], *document["returns"])
    kinds = (".png", ".pdf") if config.paper else (".png",)
    pictures = {title: path for section in sections for title, path in draw(run.folder, section, kinds).items()}
    if config.paper:
        vectors = {title: path.with_suffix(".pdf") for title, path in pictures.items()}
        write_text(run.folder / LATEX, latex(document, vectors))
        for path in (run.folder / LATEX, *vectors.values()):
            run.artifact(path)
    pictures |= copied_pictures(run.folder, found.offline)
    write_json(run.folder / JSON, document)
    write_text(run.folder / MARKDOWN, pages.markdown(document, pictures))
    write_text(run.folder / HTML, pages.html(document, pictures))
    for path in (*(run.folder / name for name in (JSON, MARKDOWN, HTML)), *pictures.values()):
        run.artifact(path)
    run.metrics(
        evaluations=document["header"]["evaluations"],
        offline=document["header"]["offline"],
        episodes=document["header"]["episodes"],
        warnings=len(document["warnings"]),
        left_out=len(found.left_out),
    )
    return document
