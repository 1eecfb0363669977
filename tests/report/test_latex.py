"""Tables for a paper: what LaTeX takes for its own is shown as it is, and every row has its cells."""

from pathlib import Path

from omp_cli.core.base.table import Table
from omp_cli.core.report.latex import HEAD, latex
from omp_cli.core.report.latex import _table as table_of

TABLE = Table(
    r"A_b & 100 % \of {x}",
    ("policy", "n", "success\n[95 %]"),
    [
        ("omp_1 #2", "3", "50/50\n[.93, 1.00]"),
        ("[any] ~ $5 ^ <", "\N{MINUS SIGN}4", "-1 \N{PLUS-MINUS SIGN} 2"),
        ("theirs", "-", ""),
    ],
    grey={2},
    note="Two\nlines of 5 %",
)


def test_a_table_is_written_as_it_is_read() -> None:
    assert table_of(TABLE).splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{A\_b \& 100 \% \textbackslash{}of \{x\}}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"policy & n & \shortstack[l]{success \\ {}[95 \%]} \\",
        r"\midrule",
        r"omp\_1 \#2 & 3 & \shortstack[l]{50/50 \\ {}[.93, 1.00]} \\",
        r"{}[any] \textasciitilde{} \$5 \textasciicircum{} \textless{} & $-$4 & -1 $\pm$ 2 \\",
        r"\textit{theirs} & \textit{-} &  \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\footnotesize Two lines of 5 \%",
        r"\end{table}",
    ]


def test_an_empty_table_and_a_plot() -> None:
    assert r"\begin{tabular}{ll}" in table_of(Table("", ("a", "b"), []))
    document = {"sections": [], "returns": []}
    text = latex(document, {"Success on toy": Path("somewhere/classes-toy.pdf")})
    assert text.startswith(HEAD)
    assert r"\includegraphics[width=\linewidth]{classes-toy.pdf}" in text
    assert r"\caption{Success on toy}" in text
