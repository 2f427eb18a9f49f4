"""The page: complete, escaped, self-contained, and honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from napari_medxai.report.content import (
    CaseBlock,
    CasePicture,
    Cell,
    Classification,
    Estimate,
    ExclusionCount,
    Head,
    Link,
    MethodFacts,
    MethodRow,
    MethodTable,
    ModelFacts,
    ReportData,
    RunFacts,
    Said,
    Section,
    SvgFigure,
    Table,
)
from napari_medxai.report.figures import curve_figure, svg_text
from napari_medxai.report.html import render_report
from napari_medxai.report.wording import count_text, duration, number, wilson
from napari_medxai.results import CaseError

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG_TAGS = {"path", "use", "g", "defs", "text", "clippath", "rect", "svg"}


class Page(HTMLParser):
    """What a page holds: tags, text, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def small(caption: str) -> Table:
    return Table(
        caption=caption,
        heads=(Head(title="Method", number=False), Head(title="one", text="n 7")),
        rows=((Cell(text="XRAI"), Cell(text="0.75", value=0.75, note="place 1")),),
    )


def empty() -> ReportData:
    return ReportData(title="A run", run=RunFacts(model=ModelFacts(name="m")))


def full() -> ReportData:
    x = np.linspace(0, 1, 101)
    drawn = curve_figure({"xrai": SimpleNamespace(x=x, y=x, value=0.5)}, metric="SIC")
    picture = CasePicture(
        title="XRAI",
        content=b"picture",
        mime="image/webp",
        sic_auc=0.4321,
        aic_excluded="the blurred image is still classified as the label",
        pointing_hit=1.0,
        relevance_mass=0.25,
        iou_mask_area=0.125,
        chance=("SIC above 19 of 20 chance maps (surrogate)",),
        link="overlays/a b_xrai.png",
    )
    case = CaseBlock(
        name="a/b.png",
        slice=7,
        why=("worst", "excluded"),
        label="glioma",
        predicted_class="pituitary",
        target_class="pituitary",
        correct=False,
        probabilities={"glioma": 0.25, "pituitary": 0.75},
        pictures=(
            CasePicture(title="Image", content=b"plain", plain=True),
            picture,
            CasePicture(title="Score-CAM", missing="no convolution found"),
        ),
        notes=("values were inverted once",),
    )
    seen = Estimate(value=0.5124, ci_low=0.431, ci_high=0.599, n=46, n_excluded=14)
    rows = (
        MethodRow(
            label="XRAI",
            values={"aic": seen, "sic": replace(seen, n=50, n_excluded=10)},
        ),
        MethodRow(
            label="Random",
            baseline=True,
            values={"aic": seen, "sic": replace(seen, value=None)},
        ),
    )
    run = RunFacts(
        model=ModelFacts(
            name="brain-tumor-mri",
            architecture="lite0",
            classes=("glioma", "pituitary"),
            training_data="3064 slices",
            performance={"macro F1": "0.93"},
            performance_set="the selection set",
            limits="Adults only.",
        ),
        methods=(
            MethodFacts(
                name="xrai",
                label="XRAI",
                family="region",
                reference="Kapishnikov 2019",
                parameters={"min_size": 150, "scales": (50, 100), "target": None},
            ),
        ),
        inputs="a folder",
        n_cases=3,
        n_slices=60,
        n_patients=12,
        n_failed=1,
        command="napari-medxai batch a --out b",
        seed=17,
        device="cpu",
        seconds=3672.0,
        stage_seconds={"read": 1.0, "explain": 3.0},
        versions={"torch": "2.15"},
        settings={"Presets": ("pair",)},
    )
    return ReportData(
        title="A run",
        run=run,
        tables=(
            MethodTable(
                preset="pair",
                text="As PAIR defines it.",
                rows=rows,
                figures=(
                    SvgFigure(
                        svg=svg_text(drawn, name="sic", alt="curves"),
                        caption="SIC curves",
                        links=(Link(path="figures/sic.svg", text="SVG"),),
                    ),
                ),
                chance="Set against 20 chance maps.",
                test="Corrected after Holm.",
                sentences=(
                    Said(label="XRAI", text="is better than them.", better=True),
                    Said(label="Random", text="is not shown better than them."),
                ),
                pairs=(small("Pairs that differ"),),
            ),
        ),
        sections=(
            Section(
                key="agreement",
                name="Agreement",
                title="How alike the maps are",
                paragraphs=("As ranks.",),
                points=("Most alike are these.",),
                methods=(MethodRow(label="XRAI", values={"insertion_auc": seen}),),
                tables=(small("Small table"),),
            ),
        ),
        classification=Classification(
            n_labelled=60,
            n_correct=53,
            classes=("glioma", "pituitary"),
            confusion=((30, 2), (5, 23)),
        ),
        cases=(case,),
        n_cases_not_drawn=2,
        exclusions=(
            ExclusionCount(
                metric="AIC", class_name="glioma", reason="still right", n=14, total=32
            ),
        ),
        errors=(CaseError("c.dcm", "read", "StudyError", "the file is cut off"),),
        notes=("3 masks were not taken for images",),
        limits=("No test against chance.",),
        links=(Link(path="results.csv", text="every row"),),
    )


def test_everything_given_is_said() -> None:
    page = Page(render_report(full()))
    assert not page.open
    for words in (
        "A run",
        "0.512 [0.43, 0.60]",
        "n 46, 14 excluded",
        "53 of 60",
        "0.883 [0.78, 0.94]",
        "12 patients",
        "1 case failed",
        "slice 7",
        "✗ wrong",
        "worst",
        "25.0 %",
        "75.0 %",
        "0.432",
        "AIC excluded: the blurred image is still classified as the label.",
        "No picture: no convolution found",
        "values were inverted once",
        "still right",
        "the file is cut off",
        "3 masks were not taken for images",
        "No test against chance.",
        "napari-medxai batch a --out b",
        "macro F1 0.93",
        "measured on the selection set",
        "Adults only.",
        "min_size=150",
        "scales=50, 100",
        "1 h 1 min",
        "torch 2.15",
        "results.csv",
        "2 more in the tables",
        "strong sampler",
        "stays right when it is blurred",
        "Set against 20 chance maps.",
        "Corrected after Holm.",
        "XRAI is better than them.",
        "Random is not shown better than them.",
        "Pairs that differ",
        "SIC above 19 of 20 chance maps (surrogate)",
        "How alike the maps are",
        "As ranks.",
        "Most alike are these.",
        "Insertion area",
        "Small table",
        "place 1",
    ):
        assert words in page.text, words
    assert page.text.count("For research use only. Not for diagnosis.") == 2
    assert "not patients" not in page.text
    assert "simulated" not in page.text


def test_empty_sections_say_so() -> None:
    page = Page(render_report(empty()))
    assert not page.open
    for words in (
        "No errors.",
        "Nothing was excluded.",
        "No case is drawn.",
        "Nothing was measured.",
        "No labels were given",
        "No other files.",
        "0 cases",
    ):
        assert words in page.text, words
    assert "None" not in page.text
    assert "nan" not in page.text.lower().split()


def test_limits_follow_the_run() -> None:
    data = empty()
    assert "slices, not patients" in Page(render_report(data)).text
    said = replace(data, limits=("20 cases: slices and not patients.",))
    assert Page(render_report(said)).text.count("not patients") == 1
    simulated = replace(data, run=replace(data.run, simulated=True))
    assert "The images are simulated." in Page(render_report(simulated)).text


def test_nothing_is_fetched() -> None:
    text = render_report(full())
    page = Page(text)
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            value = attributes.get(name)
            if value is None:
                continue
            assert not re.match(r"[a-z][a-z0-9+.-]*:|//", value, re.IGNORECASE) or (
                name == "src" and value.startswith("data:image/")
            ), value
    assert not page.of("link")
    assert not page.of("iframe")
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    places = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert places <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_policy_allows_the_pages_own_script_only() -> None:
    text = render_report(full())
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        a["content"]
        for a in Page(text).of("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


def test_every_text_is_escaped() -> None:
    data = full()
    picture = replace(
        data.cases[0].pictures[1],
        title=EVIL,
        aic_excluded=EVIL,
        link=f"overlays/{EVIL}.png",
    )
    missing = CasePicture(title="x", missing=EVIL)
    picture = replace(picture, chance=(EVIL,))
    evil_table = Table(
        caption=EVIL,
        heads=(Head(title=EVIL, text=EVIL, number=False), Head(title=EVIL)),
        rows=((Cell(text=EVIL), Cell(text=EVIL, value=1.0, note=EVIL, strong=True)),),
    )
    section = Section(
        key="agreement",
        name=EVIL,
        title=EVIL,
        paragraphs=(EVIL,),
        points=(EVIL,),
        methods=(replace(data.tables[0].rows[0], label=EVIL),),
        tables=(evil_table,),
    )
    case = replace(
        data.cases[0],
        name=f"{EVIL}/a.png",
        why=(EVIL,),
        label=EVIL,
        predicted_class=EVIL,
        target_class=EVIL,
        probabilities={EVIL: 1.0},
        pictures=(picture, missing),
        notes=(EVIL,),
    )
    model = ModelFacts(
        name=EVIL,
        architecture=EVIL,
        classes=(EVIL,),
        training_data=EVIL,
        performance={EVIL: EVIL},
        performance_set=EVIL,
        intended_use=EVIL,
        limits=EVIL,
        licence=EVIL,
        sha256=EVIL,
    )
    facts = MethodFacts(
        name=EVIL, label=EVIL, family=EVIL, reference=EVIL, parameters={EVIL: EVIL}
    )
    run = replace(
        data.run,
        model=model,
        methods=(facts,),
        inputs=EVIL,
        command=EVIL,
        target=EVIL,
        device=EVIL,
        precision=EVIL,
        started=EVIL,
        stage_seconds={EVIL: 1.0},
        versions={EVIL: EVIL},
        settings={EVIL: {EVIL: EVIL}},
    )
    table = replace(
        data.tables[0],
        preset=EVIL,
        text=EVIL,
        rows=(
            replace(
                data.tables[0].rows[0],
                label=EVIL,
                values={"sic": Estimate(value=0.5, n=1, mark=True, note=EVIL)},
            ),
        ),
        chance=EVIL,
        test=EVIL,
        sentences=(Said(label=EVIL, text=EVIL, better=True),),
        pairs=(evil_table,),
        figures=(
            replace(
                data.tables[0].figures[0],
                caption=EVIL,
                links=(Link(path=EVIL, text=EVIL),),
            ),
        ),
    )
    text = render_report(
        ReportData(
            title=EVIL,
            run=run,
            tables=(table, table),
            sections=(section,),
            classification=Classification(
                n_labelled=1, n_correct=0, classes=(EVIL,), confusion=((0,),)
            ),
            cases=(case,) * 4,
            exclusions=(
                ExclusionCount(
                    metric=EVIL,
                    class_name=EVIL,
                    reason=EVIL,
                    n=1,
                    total=1,
                    preset=EVIL,
                    methods=EVIL,
                ),
            ),
            errors=(CaseError(EVIL, EVIL, EVIL, EVIL),),
            notes=(EVIL,),
            limits=(EVIL,),
            links=(Link(path="javascript:alert(1)", text=EVIL),),
        )
    )
    page = Page(text)
    assert not page.open
    assert len(page.of("script")) == 1
    assert "<script>alert" not in text
    assert page.text.count('alert("x")') > 40
    assert not any(a.get("href", "").startswith("javascript:") for a in page.of("a"))
    # quotes inside attributes did not make new ones
    known = {"alt", "src", "loading"}
    assert all(set(a) <= known for a in page.of("img"))


def test_pictures_are_embedded_with_alternative_texts() -> None:
    page = Page(render_report(full()))
    images = page.of("img")
    assert [base64.b64decode(i["src"].split(",")[1]) for i in images] == [
        b"plain",
        b"picture",
    ]
    assert [i["src"].split(";")[0] for i in images] == [
        "data:image/png",
        "data:image/webp",
    ]
    assert images[0]["alt"] == "a/b.png: the image alone"
    assert images[1]["alt"] == "a/b.png: saliency map by XRAI over the image"
    assert "overlays/a%20b_xrai.png" in {a["href"] for a in page.of("a")}
    assert page.of("html") == [{"lang": "en"}]
    assert page.of("svg")[0]["aria-label"] == "curves"


def test_unknown_picture_types_are_refused() -> None:
    data = full()
    picture = replace(data.cases[0].pictures[0], mime="image/svg+xml")
    case = replace(data.cases[0], pictures=(picture,))
    with pytest.raises(ValueError, match="svg"):
        render_report(replace(data, cases=(case,)))


def test_links_inside_the_page_lead_somewhere() -> None:
    data = full()
    page = Page(render_report(replace(data, cases=data.cases * 4)))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    inner = {a["href"][1:] for a in page.of("a") if a["href"].startswith("#")}
    assert {"case-1", "case-4", "results", "limits"} <= inner
    assert inner <= set(ids)


def test_columns_without_values_are_left_out() -> None:
    data = full()
    assert "Peak in mask no" not in render_report(data)
    heads = re.findall(r'<th scope="col" class="num">(\w+ ?\w*)', render_report(data))
    assert heads[:2] == ["AIC area", "SIC area"]
    assert "IoU at mask area" not in heads
    first = data.tables[0].rows[0]
    values = {**first.values, "iou_mask_area": Estimate(value=0.5, n=3)}
    row = replace(first, values=values)
    table = replace(data.tables[0], rows=(row, *data.tables[0].rows[1:]))
    text = render_report(replace(data, tables=(table,)))
    assert "IoU at mask area" in text


def test_marks_stand_only_at_marked_values() -> None:
    data = full()
    first = data.tables[0].rows[0]
    share = Estimate(value=0.93, ci_low=0.88, ci_high=0.97, note="p = 0.013")

    def page(*, mark: bool) -> Page:
        values = {**first.values, "sic_chance": replace(share, mark=mark)}
        table = replace(data.tables[0], rows=(replace(first, values=values),))
        return Page(render_report(replace(data, tables=(table,))))

    assert "● 0.930 [0.88, 0.97] p = 0.013" in page(mark=True).text
    unmarked = page(mark=False).text
    assert "0.930 [0.88, 0.97] p = 0.013" in unmarked
    assert "● 0.930" not in unmarked
    assert "SIC and chance" in unmarked
    assert "SIC and chance" not in Page(render_report(data)).text


def test_better_is_told_without_colour() -> None:
    items = Page(render_report(full())).of("li")
    assert [i.get("class") for i in items[:2]] == ["better", None]


def test_many_columns_put_the_intervals_below() -> None:
    data = full()
    seen = Estimate(value=0.5124, ci_low=0.431, ci_high=0.599, n=4)
    keys = ("pointing_hit", "relevance_mass", "relevance_rank", "iou_mask_area")

    def page(values: dict[str, Estimate]) -> str:
        table = replace(data.tables[0], rows=(MethodRow(label="X", values=values),))
        return render_report(replace(data, tables=(table,), sections=()))

    few = page(dict.fromkeys(keys, seen))
    assert "0.512 [0.43, 0.60]" in few
    many = page(dict.fromkeys((*keys, "iou_otsu", "average_precision"), seen))
    assert "0.512 [0.43, 0.60]" not in many
    assert "0.512<small>[0.43, 0.60]</small>" in many


def test_later_presets_fold_their_drawings_away() -> None:
    data = full()
    other = replace(data.tables[0], preset="corrected")
    page = Page(render_report(replace(data, tables=(data.tables[0], other))))
    assert len(page.of("details")) == 1
    assert "Drawings of preset “corrected”" in page.text
    assert not Page(render_report(data)).of("details")
    # what both share is said once
    assert page.text.count("Set against 20 chance maps.") == 1
    assert page.text.count("XRAI is better than them.") == 2


def test_sections_that_are_not_there_leave_no_trace() -> None:
    data = full()
    hrefs = {a["href"] for a in Page(render_report(data)).of("a")}
    assert "#agreement" in hrefs
    bare = Page(render_report(replace(data, sections=())))
    assert "#agreement" not in {a["href"] for a in bare.of("a")}
    assert "How alike" not in bare.text
    plain = replace(data.tables[0], sentences=(), chance="", test="", pairs=())
    text = Page(render_report(replace(data, tables=(plain,)))).text
    assert "Against chance" not in text
    assert "chance maps" not in text.replace(
        "SIC above 19 of 20 chance maps (surrogate)", ""
    )


def test_right_and_wrong_are_told_without_colour() -> None:
    data = full()
    for correct, words in ((True, "✓ right"), (False, "✗ wrong"), (None, "no label")):
        case = replace(data.cases[0], correct=correct)
        assert words in Page(render_report(replace(data, cases=(case,)))).text


def test_pages_are_the_same_each_time() -> None:
    assert render_report(full()) == render_report(full())


def test_numbers_in_words() -> None:
    assert number(-0.1234, 2) == "−0.12"
    assert number(None) == number(float("nan")) == number(float("inf")) == "–"
    assert count_text(1, "case") == "1 case"
    assert count_text(12345, "case") == "12\u202f345 cases"
    assert count_text(2, "class", "classes") == "2 classes"
    assert [duration(s) for s in (4.24, 59.96, 200, 3599.9, 3672, None)] == [
        "4.2 s",
        "1 min 0 s",
        "3 min 20 s",
        "1 h 0 min",
        "1 h 1 min",
        "–",
    ]


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (53, 60), (10, 10), (1, 3)])
def test_wilson_against_its_definition(hits: int, n: int) -> None:
    """The ends are where the score test's z is exactly 1.96."""
    share, z = hits / n, 1.959963984540054
    for end in wilson(hits, n):
        if 0 < end < 1:
            assert abs(share - end) / np.sqrt(end * (1 - end) / n) == pytest.approx(z)
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(hits, n)
    assert low <= share <= high
