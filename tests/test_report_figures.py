"""Drawings: what they say, and that their bytes do not change."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from napari_medxai.metrics import InformationCurve, aggregate
from napari_medxai.report.chance_figures import (
    chance_figure,
    cliques,
    mean_rank_figure,
    share_figure,
)
from napari_medxai.report.check_figures import cascade_figure, heat_figure
from napari_medxai.report.figures import (
    bar_figure,
    curve_figure,
    save_figures,
    svg_text,
)
from napari_medxai.report.styles import KNOWN, THEMES, line_styles
from napari_medxai.report.wording import interval_text

METHODS = (
    "vanilla_gradient",
    "smoothgrad",
    "integrated_gradients",
    "guided_ig",
    "xrai",
    "gradcam",
    "gradcam_pp",
    "scorecam",
    "random",
)


def curve(power: float, *, band: bool = True) -> SimpleNamespace:
    x = np.linspace(0, 1, 1001)
    y = x**power
    area = 1 / (power + 1)
    return SimpleNamespace(
        x=x,
        y=y,
        y_low=y * 0.9 if band else np.full_like(y, np.nan),
        y_high=np.minimum(1, y * 1.1) if band else np.full_like(y, np.nan),
        value=area,
        ci_low=area - 0.05 if band else float("nan"),
        ci_high=area + 0.05 if band else float("nan"),
    )


def curves() -> dict[str, SimpleNamespace]:
    return {m: curve(0.5 + 0.2 * i) for i, m in enumerate(METHODS)}


def legend_texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.legends[0].get_texts()]


def test_a_line_for_each_method_with_plain_labels() -> None:
    figure = curve_figure(
        curves(), metric="SIC", title="All", labels={"xrai": "XRAI (region)"}
    )
    (axes,) = figure.axes
    assert len(axes.lines) == len(METHODS)
    assert axes.get_xlabel() == (
        "Share of the image's information revealed (normalised WebP size)"
    )
    assert axes.get_ylabel() == "Normalised probability of the explained class"
    assert axes.get_title(loc="left") == "All"
    texts = legend_texts(figure)
    assert len(texts) == len(METHODS)
    assert any(t.startswith("XRAI (region)") for t in texts)
    assert any(t.startswith("random (baseline)") for t in texts)
    accuracy = curve_figure(curves(), metric="AIC").axes[0].get_ylabel()
    assert accuracy == "Normalised accuracy"


def test_the_legend_gives_area_and_interval_best_first() -> None:
    texts = legend_texts(curve_figure(curves(), metric="SIC"))
    areas = [float(re.search(r"(0\.\d{3}) \[", t)[1]) for t in texts]
    assert areas == sorted(areas, reverse=True)
    assert texts[0] == "vanilla_gradient  0.667 [0.62, 0.72]"


def test_the_curves_drawn_are_the_curves_given() -> None:
    given = curves()
    figure = curve_figure(given, metric="SIC")
    for line in figure.axes[0].lines:
        name = line.get_label().split("  ")[0].removesuffix(" (baseline)")
        x, y = line.get_data()
        assert x[0] == 0
        assert x[-1] == 1
        np.testing.assert_allclose(y, np.interp(x, given[name].x, given[name].y))


def test_lines_are_told_apart_in_both_themes_and_without_colour() -> None:
    for theme in ("light", "dark"):
        styles = line_styles(METHODS, theme=theme)
        assert len({(s.colour, s.dashes) for s in styles.values()}) == len(METHODS)
        assert len({s.colour for s in styles.values()}) == len(METHODS)
        assert styles["random"].colour == THEMES[theme].baseline
    assert len({s.dashes for s in styles.values()}) >= 4
    many = [f"captum:{i}" for i in range(25)] + list(METHODS)
    styles = line_styles(many, theme="light")
    assert len({(s.colour, s.dashes) for s in styles.values()}) == len(many)
    assert len(set(KNOWN.values())) == len(KNOWN)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_with_the_paper(theme: str) -> None:
    colours = THEMES[theme]

    def contrast(colour: str) -> float:
        pair = sorted([luminance(colour), luminance(colours.paper)])
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    assert contrast(colours.ink) > 7
    assert contrast(colours.quiet) > 4.5
    for style in line_styles(METHODS, theme=theme).values():
        assert contrast(style.colour) > 3
    figure = curve_figure(curves(), metric="AIC", theme=theme)
    assert to_hex(figure.get_facecolor()) == colours.paper


def test_bands_where_there_are_any() -> None:
    given = {"xrai": curve(1.0), "gradcam": curve(2.0, band=False)}
    assert len(curve_figure(given, metric="SIC").axes[0].collections) == 1
    assert not curve_figure(given, metric="SIC", bands=False).axes[0].collections
    assert "gradcam  0.333" in legend_texts(curve_figure(given, metric="SIC"))


def test_aggregates_and_single_curves_of_the_metrics_are_taken() -> None:
    knots = np.array([0.0, 0.3, 0.6, 1.0])
    singles = [
        InformationCurve.from_knots("sic", knots, knots**p) for p in (0.5, 1.0, 2.0)
    ]
    whole = aggregate(singles, n_bootstrap=50)
    figure = curve_figure({"xrai": whole, "scorecam": singles[0]}, metric="SIC")
    assert len(figure.axes[0].lines) == 2
    texts = legend_texts(figure)
    assert f"xrai  {whole.value:.3f} [{whole.ci_low:.2f}, {whole.ci_high:.2f}]" in texts
    assert f"scorecam  {singles[0].auc:.3f}" in texts


def test_excluded_curves_are_named_but_not_drawn() -> None:
    gone = InformationCurve.from_knots("aic", excluded="too unsure")
    figure = curve_figure({"xrai": gone, "random": curve(1.0)}, metric="AIC")
    assert len(figure.axes[0].lines) == 1
    assert "xrai  –" in legend_texts(figure)
    nothing = curve_figure({"xrai": gone}, metric="AIC")
    said = [t.get_text() for t in nothing.axes[0].texts]
    assert said == ["No image has a curve: all were excluded."]
    assert curve_figure({}, metric="AIC").axes[0].texts


def test_a_figure_is_drawn_into_again() -> None:
    figure = Figure(figsize=(4, 5))
    assert curve_figure(curves(), metric="SIC", legend="below", figure=figure) is figure
    curve_figure({"xrai": curve(1)}, metric="AIC", legend="none", figure=figure)
    assert len(figure.axes) == 1
    assert not figure.legends
    assert "\n" in figure.axes[0].get_xlabel()  # a narrow dock breaks the label
    figure.draw_without_rendering()


def test_dots_are_sorted_with_intervals_and_the_baseline_as_a_line() -> None:
    given = {
        "gradcam": SimpleNamespace(value=0.3, ci_low=0.2, ci_high=0.4),
        "random": SimpleNamespace(value=0.5, ci_low=0.45, ci_high=0.55),
        "xrai": SimpleNamespace(value=0.7, ci_low=0.6, ci_high=0.9),
        "scorecam": SimpleNamespace(value=float("nan"), ci_low=None, ci_high=None),
    }
    figure = bar_figure(given, label="SIC area", labels={"xrai": "XRAI"})
    axes = figure.axes[0]
    assert axes.get_xlabel() == "SIC area"
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == ["XRAI", "random (baseline)", "gradcam", "scorecam"]
    top, bottom = axes.get_ylim()
    assert top > bottom  # the first row is at the top
    lines = {tuple(line.get_xdata()) for line in axes.lines}
    assert lines == {(0.5, 0.5), (0.5,), (0.7,), (0.3,)}
    spans = {tuple(c.get_segments()[0][:, 0]) for c in axes.collections}
    assert spans == {(0.2, 0.4), (0.45, 0.55), (0.6, 0.9)}
    figure.draw_without_rendering()
    written = [t.get_text() for t in axes.texts if t.get_position()[0] > 1]
    middle = ["0.500 [0.45, 0.55]", "0.300 [0.20, 0.40]"]
    assert written == ["0.700 [0.60, 0.90]", *middle, "–"]
    assert bar_figure({}, label="x").axes[0].texts


def band(power: float) -> SimpleNamespace:
    x = np.linspace(0, 1, 1001)
    return SimpleNamespace(x=x, low=x ** (power + 1), middle=x**power, high=x)


def test_each_method_stands_before_its_own_chance_band() -> None:
    given = {"xrai": curve(0.5), "gradcam": curve(1.0), "random": curve(0.2)}
    bands = {"xrai": band(2.0), "gradcam": band(3.0)}
    figure = chance_figure(given, bands, metric="SIC", labels={"xrai": "XRAI"})
    panels = [a for a in figure.axes if a.get_visible()]
    titles = [a.get_title(loc="left") for a in panels]
    assert titles == ["XRAI", "gradcam"]  # best first, none without a band
    for axes, name in zip(panels, ("xrai", "gradcam"), strict=True):
        middle, line = axes.lines
        x, y = middle.get_data()
        np.testing.assert_allclose(
            y, np.interp(x, bands[name].x, bands[name].middle), atol=1e-12
        )
        x, y = line.get_data()
        np.testing.assert_allclose(y, np.interp(x, given[name].x, given[name].y))
        gray, own = axes.collections
        assert to_hex(gray.get_facecolor()[0]) == THEMES["light"].baseline
        assert to_hex(own.get_facecolor()[0]) == to_hex(line.get_color())
    without = chance_figure({"xrai": curve(1, band=False)}, bands, metric="AIC")
    assert len(without.axes[0].collections) == 1  # no bootstrap band: chance alone
    nothing = chance_figure(given, {}, metric="SIC")
    assert nothing.axes[0].texts[0].get_text() == "No chance maps were measured."
    figure.draw_without_rendering()


def share(value: float, *, mark: bool) -> SimpleNamespace:
    return SimpleNamespace(
        value=value, ci_low=value - 0.1, ci_high=value + 0.1, mark=mark
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_are_filled_only_where_better_than_chance(theme: str) -> None:
    shares = {
        "SIC": {"xrai": share(0.6, mark=False), "scorecam": share(0.9, mark=True)},
        "AIC": {"xrai": share(0.7, mark=True)},
    }
    figure = share_figure(shares, theme=theme)
    sic, aic = figure.axes
    names = [t.get_text() for t in sic.get_yticklabels()]
    paper = THEMES[theme].paper
    for axes, metric in ((sic, "SIC"), (aic, "AIC")):
        chance, *dots = axes.lines
        assert tuple(chance.get_xdata()) == (0.5, 0.5)
        for dot in dots:
            row = int(dot.get_ydata()[0])
            given = shares[metric][names[row]]
            assert dot.get_xdata()[0] == given.value
            assert (to_hex(dot.get_markerfacecolor()) != paper) == given.mark
    assert " not tested " in [t.get_text() for t in aic.texts]
    assert share_figure({}).axes[0].texts
    figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("ranks", "width", "expected"),
    [
        ((1.0, 2.0, 3.0), 0.5, []),
        ((1.0, 1.2, 3.0), 0.5, [(0, 1)]),
        ((1.0, 1.8, 2.4), 1.0, [(0, 1), (1, 2)]),
        ((1.0, 1.5, 2.0), 5.0, [(0, 2)]),
        ((1.0, 1.0), 0.0, []),
        ((1.0, 2.0), 1.0, []),  # just as far as the critical difference
    ],
)
def test_cliques_are_the_longest_runs_within_the_width(ranks, width, expected) -> None:
    assert cliques(ranks, width) == expected
    # slow definition: pairs within the width are inside some run, others in none
    for i in range(len(ranks)):
        for j in range(i + 1, len(ranks)):
            inside = any(a <= i and j <= b for a, b in expected)
            assert inside == (ranks[j] - ranks[i] < width)


def test_mean_ranks_stand_where_they_are_and_are_named() -> None:
    comparison = SimpleNamespace(
        methods=("gradcam", "xrai", "random"),
        mean_ranks=(2.25, 1.25, 2.5),
        critical_difference=0.6,
    )
    figure = mean_rank_figure({"SIC": comparison}, labels={"xrai": "XRAI"})
    (axes,) = figure.axes
    said = [t.get_text() for t in axes.texts]
    for words in (
        "XRAI  1.25",
        "gradcam  2.25",
        "2.50  random (baseline)",
        "critical difference 0.60",
    ):
        assert words in said
    dots = sorted(
        line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"
    )
    assert dots == [1.25, 2.25, 2.5]
    joined = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 4]
    assert [tuple(np.round(x, 2)) for x in joined] == [(2.21, 2.54)]
    assert mean_rank_figure({}).axes[0].texts
    figure.draw_without_rendering()


def test_cells_are_as_deep_as_the_numbers_and_empty_without() -> None:
    figure = heat_figure([[0.5, np.nan], [-1.0, 0.0]], rows=["a", "b"], columns="cd")
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.texts] == ["0.50", "−1.00", "0.00"]
    depths = [p.get_alpha() for p in axes.patches]
    assert depths[1] == pytest.approx(2 * depths[0])
    assert depths[2] == 0
    assert len({to_hex(p.get_facecolor()) for p in axes.patches[:2]}) == 2
    assert heat_figure([], rows=[], columns=[]).axes[0].texts
    svg = svg_text(figure, name="heat", alt="x")
    assert "var(--figure-blue, " in svg
    figure.draw_without_rendering()


def test_a_cascade_starts_at_the_trained_network() -> None:
    figure = cascade_figure(
        {"xrai": [0.5, 0.25], "gradcam": [0.1, np.nan]},
        ["classifier", "features.denseblock4"],
    )
    (axes,) = figure.axes
    ticks = [t.get_text() for t in axes.get_xticklabels()]
    assert ticks == ["trained", "classifier", "features.denseblock4"]
    first, second, _ = axes.lines
    assert list(first.get_ydata()) == [1.0, 0.5, 0.25]
    assert list(second.get_ydata()[:2]) == [1.0, 0.1]
    assert cascade_figure({}, []).axes[0].texts
    figure.draw_without_rendering()


def test_intervals_in_words() -> None:
    assert interval_text(SimpleNamespace(value=0.5124, ci_low=0.43, ci_high=0.6)) == (
        "0.512 [0.43, 0.60]"
    )
    assert interval_text(SimpleNamespace(auc=-0.5)) == "−0.500"
    assert interval_text(SimpleNamespace(value=float("nan"))) == "–"
    assert interval_text(None) == "–"


def test_files_do_not_change_from_run_to_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from types import SimpleNamespace as N\n"
        "import numpy as np\n"
        "from napari_medxai.report.figures import bar_figure, curve_figure\n"
        "from napari_medxai.report.figures import save_figures\n"
        "x = np.linspace(0, 1, 1001)\n"
        "c = N(x=x, y=x**2, y_low=x**3, y_high=x, value=1/3, ci_low=.2, ci_high=.4)\n"
        "m = {'xrai': c, 'random': c, 'gradcam': c}\n"
        "f = {'a': curve_figure(m, metric='SIC'), 'b': bar_figure(m, label='x')}\n"
        "save_figures(Path(sys.argv[1]), f)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    for folder in ("one", "two"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / folder)],
            check=True,
            env={"PYTHONHASHSEED": "1" if folder == "one" else "2", "PATH": ""},
        )
    for name in ("a.svg", "a.pdf", "b.svg", "b.pdf"):
        first = (tmp_path / "one" / name).read_bytes()
        assert first == (tmp_path / "two" / name).read_bytes()
        assert b"Date" not in first
        assert b"dc:date" not in first
    assert (tmp_path / "one" / "a.pdf").read_bytes().startswith(b"%PDF")
    ElementTree.parse(tmp_path / "one" / "a.svg")


def test_saving_twice_gives_the_same_bytes_and_paths(tmp_path: Path) -> None:
    figure = curve_figure(curves(), metric="SIC")
    paths = save_figures(tmp_path, {"x": figure})
    before = [p.read_bytes() for p in paths]
    assert [p.name for p in paths] == ["x.svg", "x.pdf"]
    assert before == [p.read_bytes() for p in save_figures(tmp_path, {"x": figure})]


def test_inline_svg_is_alone_themed_and_fetches_nothing() -> None:
    figure = curve_figure(
        {"xrai": curve(1), "random": curve(2)},
        metric="SIC",
        labels={"xrai": '<b>&"XRAI"'},
    )
    text = svg_text(figure, name="sic pair", alt='a "quoted" <alt>')
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'a "quoted" <alt>'
    written = "".join(root.itertext())
    assert '<b>&"XRAI"' in written
    assert "<b>" not in text
    assert "<style" not in text
    assert "<metadata" not in text
    assert "var(--figure-ink, " in text
    assert "var(--figure-green, " in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert all(i.startswith("sic-pair-") for i in ids)
    targets = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', text)
    assert targets
    assert {a or b for a, b in targets} <= {f"#{i}" for i in ids}
    assert text == svg_text(figure, name="sic pair", alt='a "quoted" <alt>')
