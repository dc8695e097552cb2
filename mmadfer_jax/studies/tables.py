"""Tables of a report, for Markdown and for LaTeX (booktabs)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmadfer_jax.studies.statistics import TOO_FEW

GAP = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "Δ": r"$\Delta$",
    "≥": r"$\geq$",
    "–": "--",
}


class Table(NamedTuple):
    """Cells of text, the first column to the left, the others to the right.

    Attributes:
        header: Of the columns.
        rows: Cells; a row of one cell is a remark that spans the columns after the first.
        ruled: Numbers of the rows before which a line is drawn.
        align: "l" or "r" for each column, where it is not as above.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    ruled: Sequence[int] = ()
    align: str = ""

    def markdown(self) -> str:
        """As a table of Markdown."""
        rows = [self.header, ["---" if side == "l" else "---:" for side in self._sides()]]
        rows += [[*row, *[""] * (len(self.header) - len(row))] for row in self.rows]
        return "".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows
        )

    def _sides(self) -> str:
        return self.align or "l" + "r" * (len(self.header) - 1)

    def latex(self, comment: str) -> str:
        """As a `tabular` of LaTeX with the rules of booktabs, for a paper to take in.

        Args:
            comment: What it shows, for the first line.
        """
        width = len(self.header)
        lines = [f"% {comment}", "% needs \\usepackage{booktabs}"]
        lines += [f"\\begin{{tabular}}{{{self._sides()}}}", "\\toprule"]
        lines += [_latex_row(self.header), "\\midrule"]
        for number, row in enumerate(self.rows):
            if number in self.ruled:
                lines.append("\\midrule")
            if len(row) < width:
                left = width - len(row) + 1
                spanning = f"\\multicolumn{{{left}}}{{l}}{{{latex(row[-1])}}}"
                lines.append(" & ".join([*map(latex, row[:-1]), spanning]) + " \\\\")
            else:
                lines.append(_latex_row(row))
        return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex, cells)) + " \\\\"


def latex(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in text)


def percent(value: float | None, digits: int = 2) -> str:
    """A share of 1 in percent, without the sign."""
    return GAP if value is None else _signed(100 * value, digits)


def mean_and_std(found: Mapping[str, Any]) -> str:
    """Of a `Spread` of shares of 1, in percent."""
    if found["std"] is None:
        return percent(found["mean"])
    return f"{percent(found['mean'])} ± {percent(found['std'])}"


def interval(found: Mapping[str, Any] | None) -> str:
    """A `Difference` with its interval, in points."""
    if found is None:
        return GAP
    mean = percent(found["mean"])
    if found["low"] is None:
        return mean
    return f"{mean} [{percent(found['low'])}, {percent(found['high'])}]"


def probability(found: Mapping[str, Any] | None) -> str:
    """The p of a `Difference`, or that there are too few pairs for one."""
    if found is None:
        return GAP
    return "too few" if found["verdict"] == TOO_FEW else f"{found['p']:.3f}"


def one_line(text: str, length: int = 160) -> str:
    """A reason in one cell."""
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") and float(text) else text.removeprefix("-")
