"""Writes llamapack.json, the dashboard: `python deploy/grafana/make_dashboard.py`."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)
from panels import ROWS, Graph

TARGET = Path(__file__).with_name("llamapack.json")
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def build() -> str:
    """The dashboard as JSON."""
    board = (
        dashboard.Dashboard("llamapack")
        .uid("llamapack")
        .tags(["llamapack"])
        .refresh("30s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(_model_variable())
    )
    for title, graphs in ROWS:
        board = board.with_row(dashboard.Row(title))
        for graph in graphs:
            board = board.with_panel(_panel(graph))
    return JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"


def _model_variable() -> dashboard.QueryVariable:
    everything = VariableOption(text="All", value="$__all", selected=True)
    return (
        dashboard.QueryVariable("model")
        .datasource(SOURCE)
        .query("label_values(llamapack_engine_up, model)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _panel(graph: Graph) -> stat.Panel | timeseries.Panel:
    shown = stat.Panel().height(4).span(4) if graph.is_number else _lines(graph)
    shown = shown.title(graph.title).unit(graph.unit).datasource(SOURCE)
    if graph.help:
        shown = shown.description(graph.help)
    for index, (expr, legend) in enumerate(graph.lines):
        query = prometheus.Dataquery().expr(expr).ref_id(chr(ord("A") + index))
        shown = shown.with_target(query.legend_format(legend) if legend else query)
    return shown


def _lines(graph: Graph) -> timeseries.Panel:
    shown = timeseries.Panel().height(8).span(8).fill_opacity(8).min(0)
    if graph.is_stacked:
        shown = shown.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return shown


if __name__ == "__main__":
    TARGET.write_text(build())
