"""A plot as an SVG file: the same values give the same file, on a white panel that dark pages show as well.

Plot ─▶ pygal's chart ─▶ its tree, without what moves from day to day ─▶ text
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pygal
from pygal.etree import etree
from pygal.style import Style

from bench.plots import Plot

# pygal puts a finder for its plug-ins among Python's own, of a kind that Python 3.11 warns of at each import.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
etree.to_etree()  # lxml, where something else has brought it, would write the same plot in another way

WIDTH, HEIGHT = 800, 400
BAR_HEIGHT, BESIDE_BARS = 34, 215
"""Of a lying bar with its gap, and of what is above and below all of them."""
LEGEND_COLUMNS, LEGEND_LINE = 4, 16
"""pygal leaves its lines less room than they take."""
INK, GREY, GUIDES = "#24292f", "#8c959f", "#d8dee4"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c510a")
"""Okabe and Ito's, which people who see few colours tell apart."""
OF_PROGRAMS = {
    "supplier-sync": "#0072b2",
    "product-family": "#e69f00",
    "image-upload": "#009e73",
    "PostgreSQL": "#cc79a7",
    "Valkey": "#d55e00",
    "object store": "#56b4e9",
    "origin": GREY,
}
"""A program has one colour in all plots."""
YARDSTICKS = ("goal", "bound", "in proportion")
"""Series that nobody measured on the product: grey, and as lines dashed."""
CHARTS = {"bars": pygal.Bar, "stacked": pygal.HorizontalStackedBar, "lines": pygal.Line}


def draw(plot: Plot, file: Path) -> None:
    """Write the plot as SVG."""
    tree = _without_what_moves(_chart(plot).render_tree())
    ET.indent(tree)
    file.write_text(ET.tostring(tree, encoding="unicode") + "\n")


def _chart(plot: Plot) -> pygal.graph.graph.Graph:
    lying = plot.kind == "stacked"
    chart = CHARTS[plot.kind](
        style=_style(plot),
        title=plot.title,
        x_title=plot.unit if lying else plot.along or None,
        y_title=None if lying else plot.unit,
        height=BESIDE_BARS + BAR_HEIGHT * len(plot.labels) if lying else HEIGHT,
        width=WIDTH,
        explicit_size=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=min(len(plot.series), LEGEND_COLUMNS),
        show_legend=len(plot.series) > 1,
        max_scale=8,
        truncate_legend=-1,
        truncate_label=-1,
        print_values=plot.kind == "bars",
        print_values_position="top",
        value_formatter=_shown,
        logarithmic=plot.logarithmic,
        include_x_axis=not plot.logarithmic,
        spacing=14,
        margin_bottom=LEGEND_LINE * (2 + math.ceil(len(plot.series) / LEGEND_COLUMNS)),
        js=[],
        no_prefix=True,
    )
    if plot.logarithmic:
        chart.y_labels = _powers_of_ten(plot)
    step = -1 if lying else 1  # pygal's lowest bar is its first
    chart.x_labels = list(plot.labels)[::step]
    for name, values in plot.series.items():
        chart.add(name, list(values)[::step], **_stroke(plot, name))
    return chart


def _style(plot: Plot) -> Style:
    others = iter(COLOURS)
    colours = [GREY if name in YARDSTICKS else OF_PROGRAMS.get(name) or next(others) for name in plot.series]
    return Style(
        background="#ffffff",
        plot_background="#ffffff",
        foreground=INK,
        foreground_strong=INK,
        foreground_subtle=INK,
        font_family="sans-serif",
        title_font_size=15,
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=12,
        value_font_size=11,
        opacity="1",
        stroke_opacity="1",
        stroke_width="2",
        guide_stroke_color=GUIDES,
        guide_stroke_dasharray="0",
        major_guide_stroke_color=GUIDES,
        major_guide_stroke_dasharray="0",
        colors=tuple(colours),
    )


def _stroke(plot: Plot, name: str) -> dict[str, object]:
    dashed = plot.kind == "lines" and name in YARDSTICKS
    return {"stroke_style": {"dasharray": "6, 4"}, "show_dots": False} if dashed else {}


def _shown(value: float) -> str:
    """Three digits that count, and no more."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _powers_of_ten(plot: Plot) -> list[float]:
    values = [value for values in plot.series.values() for value in values if value]
    lowest, highest = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(lowest, highest + 1)]


def _without_what_moves(tree: ET.Element) -> ET.Element:
    """Without the comments, in which pygal says when it drew, and without its script, which images do not run."""
    for parent in list(tree.iter()):
        for child in list(parent):
            if callable(child.tag) or child.tag == "script":
                parent.remove(child)
    return tree
