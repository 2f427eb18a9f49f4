"""Agreement with the reference packages on real networks and slices: docs/parity.md.

The short tests take small images and few steps; the slow ones are at 224 x 224, and
those on real slices make the table of the documentation.
"""

from __future__ import annotations

import inspect
import os
import platform
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import napari_medxai as mx
from napari_medxai import saliency
from reference_saliency import (
    COMPARISONS,
    MEASURES,
    RANK,
    Case,
    Comparison,
    both,
    meets,
    pair,
)

pytest.importorskip("saliency.core")
pytest.importorskip("pytorch_grad_cam")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "parity.md"
WRITE = "MEDXAI_WRITE_DOCS"
COMMAND = (
    f"{WRITE}=1 OMP_NUM_THREADS=1 python -m pytest "
    'tests/test_saliency_reference.py -k "real and full" -s'
)
# Between these comments the test writes.
START, END = "<!-- made by the test -->", "<!-- end -->"
BUNDLED = "brain-tumor-mri"
REAL = "brain-tumor-mri-512/images"
SAMPLE = "png/images"
# A slice for each network: of a meningioma, a glioma and a pituitary tumour.
SLICES = {
    BUNDLED: {"real": "24.png", "sample": "meningioma-axial.png"},
    "densenet121": {"real": "725.png", "sample": "glioma-coronal.png"},
    "resnet50": {"real": "933.png", "sample": "pituitary-sagittal.png"},
}
# By default the residual branches of a new ResNet are multiplied by zero.
UNTRAINED = {"densenet121": {}, "resnet50": {"zero_init_last": False}}
# Layers with 256 channels or fewer, for the short tests.
NARROW = {
    BUNDLED: "blocks.2",
    "densenet121": "features.denseblock1",
    "resnet50": "layer1",
}
SIZE = 224
QUICK = 64
# In the network's units, [-1, 1] for 256 grey levels.
HALF_LEVEL = 1 / 255


@dataclass(frozen=True)
class Setting:
    """A network, where its image comes from, and whether the test is a short one."""

    network: str
    source: str
    full: bool

    def parameters(self, comparison: Comparison) -> dict[str, object]:
        if self.full:
            return dict(comparison.settings)
        layer = {"target_layer": NARROW[self.network]} if comparison.layered else {}
        return {**comparison.quick, **layer}

    def __str__(self) -> str:
        return f"{self.source}-{'full' if self.full else 'quick'}-{self.network}"


@dataclass(frozen=True)
class Line:
    """A line of the table; ``figures`` by type, ``own`` is the reference's rounding."""

    setting: Setting
    comparison: Comparison
    measure: str
    figures: dict[torch.dtype, float] = field(default_factory=dict)
    own: float | None = None

    @property
    def asserted(self) -> float:
        return self.figures[self.comparison.precision]

    @property
    def met(self) -> bool:
        bound = self.comparison.bounds[self.measure]
        return meets(self.measure, self.asserted, bound)

    def cells(self) -> list[str]:
        steps = self.setting.parameters(self.comparison)
        figures = [self.figures.get(kind) for kind in (torch.float64, torch.float32)]
        return [
            self.setting.network,
            self.comparison.label,
            ", ".join(f"{name} {value}" for name, value in steps.items()),
            goal(self.comparison, self.measure),
            *(shown(self.measure, value) for value in (*figures, self.own)),
        ]


HEADINGS = (
    "network",
    "method",
    "settings",
    "demanded",
    "float64",
    "float32",
    "reference, float32 against float64",
)


def goal(comparison: Comparison, measure: str) -> str:
    sign = "≥" if measure == RANK else "≤"
    return f"{measure} {sign} {comparison.bounds[measure]:g}"


def shown(measure: str, value: float | None) -> str:
    if value is None:
        return "–"
    # Rounded down: 0.9999 must not be shown as 1.
    return f"{np.floor(value * 1e4) / 1e4:.4f}" if measure == RANK else f"{value:.1e}"


def markdown(lines: list[Line]) -> str:
    rows = [list(HEADINGS), ["---"] * len(HEADINGS), *(line.cells() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@pytest.fixture(scope="module")
def table() -> Iterator[list[Line]]:
    """Gather the lines, print them, and write the document where that is asked."""
    lines: list[Line] = []
    yield lines
    print(f"\n{markdown(lines)}\n")
    if os.environ.get(WRITE):
        chosen = [x for x in lines if x.setting.full and x.setting.source == "real"]
        rows = [line.cells()[:4] for line in chosen]
        assert rows == documented_rows(), "table is incomplete"
        assert all(line.met for line in chosen)
        DOCUMENT.write_text(document(chosen), encoding="utf-8")


SETTINGS = [
    pytest.param(
        Setting(network, source, full),
        id=str(Setting(network, source, full)),
        marks=[pytest.mark.slow] if full else [],
    )
    for full in (False, True)
    for source in ("sample", "real")
    for network in SLICES
]


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return request.param


@pytest.fixture(scope="module")
def case(setting: Setting, request: pytest.FixtureRequest) -> Case:
    """The network and its image, in float32."""
    if setting.source == "real":
        folder = request.getfixturevalue("shared_data") / REAL
    else:
        folder = request.getfixturevalue("samples") / SAMPLE
    path = folder / SLICES[setting.network][setting.source]
    network, x = prepared(setting.network, path, SIZE if setting.full else QUICK)
    return Case(network, x[0], explained(network, x))


def prepared(name: str, path: Path, size: int) -> tuple[nn.Module, torch.Tensor]:
    """The network, and the slice as it takes it: (1, C, size, size).

    A constant background leaves the maxima of a max-pooling layer tied, and a gradient
    there goes where rounding sends it. Noise below half a grey level unties them.
    """
    bundled = mx.load_model(BUNDLED)
    x = bundled.tensor(bundled.input(mx.load_study(path)).image[None])
    x = F.adaptive_avg_pool2d(x, size)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    x = x + (2 * noise - 1) * HALF_LEVEL
    if name == BUNDLED:
        return bundled.module, x
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(
            name, pretrained=False, num_classes=3, **UNTRAINED[name]
        )
    return network.eval(), x.repeat(1, 3, 1, 1)


def explained(network: nn.Module, x: torch.Tensor) -> int:
    """The predicted class, or the next one whose Grad-CAM is not empty."""
    with torch.no_grad():
        classes = network(x)[0].argsort(descending=True).tolist()
    for target in classes:
        if saliency.compute("gradcam", network, x, target).any():
            return target
    raise AssertionError("Grad-CAM is empty for every class")


def in_float64(case: Case) -> Case:
    network = deepcopy(case.network).double()
    return replace(case, network=network, image=case.image.double())


@pytest.mark.parametrize(
    "comparison", [pytest.param(c, id=c.method) for c in COMPARISONS]
)
def test_agreement(
    case: Case, setting: Setting, comparison: Comparison, table: list[Line]
) -> None:
    parameters = setting.parameters(comparison)
    cases = {torch.float32: case}
    if comparison.precision == torch.float64:
        cases[torch.float64] = in_float64(case)
    if not setting.full:
        cases = {comparison.precision: cases[comparison.precision]}
    maps = {kind: both(one, comparison, parameters) for kind, one in cases.items()}
    references = [reference for _, reference in maps.values()]
    lines = [
        Line(
            setting,
            comparison,
            measure,
            {kind: MEASURES[measure](*pair) for kind, pair in maps.items()},
            MEASURES[measure](*references) if len(references) > 1 else None,
        )
        for measure in comparison.bounds
    ]
    table.extend(lines)
    for line in lines:
        assert line.met, f"{line.comparison.label}: {line.measure} {line.asserted:.2e}"


def test_the_defaults_that_are_shortened_here_are_theirs() -> None:
    core = pair()
    smooth = inspect.signature(core.GradientSaliency.GetSmoothedMask).parameters
    straight = inspect.signature(core.IntegratedGradients.GetMask).parameters
    blurred = inspect.signature(core.BlurIG.GetMask).parameters
    guided = inspect.signature(core.GuidedIG.GetMask).parameters
    regions = core.XRAIParameters()
    theirs = {
        "smoothgrad": {
            "samples": smooth["nsamples"].default,
            "noise": smooth["stdev_spread"].default,
            "magnitude": smooth["magnitude"].default,
        },
        "integrated_gradients": {"steps": straight["x_steps"].default},
        "blur_ig": {
            name: blurred[name].default
            for name in ("steps", "max_sigma", "grad_step", "sqrt")
        },
        "guided_ig": {
            "steps": guided["x_steps"].default,
            "fraction": guided["fraction"].default,
            "max_dist": guided["max_dist"].default,
        },
        "xrai": {
            "steps": regions.steps,
            "area_threshold": regions.area_threshold,
            "min_pixel_diff": regions.experimental_params["min_pixel_diff"],
        },
    }
    for name, defaults in theirs.items():
        ours = saliency.get(name).parameters
        assert {key: ours[key] for key in defaults} == defaults


def documented_rows() -> list[list[str]]:
    """What the table's lines are about, in its order."""
    return [
        Line(Setting(network, "real", full=True), comparison, measure).cells()[:4]
        for network in SLICES
        for comparison in COMPARISONS
        for measure in comparison.bounds
    ]


def test_the_document_holds_the_table_and_every_figure_meets_its_bound() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert COMMAND in text
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == list(HEADINGS)
    figures = rows[2:]
    assert [row[:4] for row in figures] == documented_rows()
    demands = [(c, measure) for c in COMPARISONS for measure in c.bounds] * len(SLICES)
    for row, (comparison, measure) in zip(figures, demands, strict=True):
        value = row[4 if comparison.precision == torch.float64 else 5]
        assert meets(measure, float(value), comparison.bounds[measure]), row


def document(lines: list[Line]) -> str:
    """The document with a new table; the text around it is written by hand."""
    packages = ("torch", "timm", "numpy", "scipy", "saliency", "grad-cam")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    made = (
        f"Python {platform.python_version()}, {versions}; "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} thread, {date.today().isoformat()}."
    )
    return f"{before}{START}\n{made}\n\n{markdown(lines)}\n{END}{after}"
