"""Figure 1 of Guide the Learner, drawn from what a run's loss gives: loss against the main model's gold logit."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from bertwright.reports.drawing import Chart, chart, plain_axes, style_of
from bertwright.reports.records import RunRecords

_HEIGHT = 2.9  # inches


def guidance_chart(run: RunRecords) -> Chart | None:
    """Return a panel for each certainty of the expert and a line for each similarity; ``None`` without the loss."""
    found = [record["results"]["figure"] for record in run.of_kind("evaluate") if record["results"].get("figure")]
    if not found:
        return None
    told: dict[str, Any] = found[0]
    names = list(dict.fromkeys(line["expert"] for line in told["lines"]))

    def draw(figure: Figure, ink: str) -> None:
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, names, strict=True):
            plain_axes(axes, ink)
            for place, line in enumerate(one for one in told["lines"] if one["expert"] == name):
                colour, mark = style_of(place)
                style: dict[str, Any] = {
                    "color": colour,
                    "marker": mark,
                    "markersize": 3.5,
                    "markevery": (3 * place, 15),
                }
                axes.plot(told["gold_logits"], line["losses"], **style, label=f"similarity {line['rho']:g}")
            axes.set_title(name, loc="left", color=ink, fontsize=8)
            axes.set_xlabel("model's gold logit", color=ink)
        panels[0].set_ylabel("loss (nats)", color=ink)
        lines = panels[-1].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=3, frameon=False, labelcolor=ink, fontsize=7)

    caption = (
        f"The guided loss (alpha {told['alpha']:g}, beta {told['beta']:g}) of a row against the model's gold logit, "
        "all other logits being 0: Figure 1 of Guide the Learner, drawn from this run's settings. The panels are "
        "the expert's: its gold logit is 5, 0 and -5."
    )
    return chart("guidance", caption, draw, _HEIGHT)
