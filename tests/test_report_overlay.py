"""Pictures: every pixel where it belongs, every colour with its meaning."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_medxai.crop import CenterCrop
from napari_medxai.display import Screen
from napari_medxai.errors import OutputError, UsageError
from napari_medxai.preprocess import Preprocessing
from napari_medxai.report.colours import MASK_COLOUR, ColourScale, lookup
from napari_medxai.report.network import (
    NETWORK_PICTURE,
    PADDING_COLOUR,
    network_picture,
)
from napari_medxai.report.overlay import (
    case_pictures,
    contact_sheet,
    export_pngs,
    overlay_picture,
    picture_bytes,
    picture_size,
    safe_name,
)
from napari_medxai.results import NetworkView, Outcome, SliceView
from napari_medxai.slices import views
from napari_medxai.study import Study


def make_view(
    rows: int = 40,
    columns: int = 50,
    *,
    maps: dict[str, np.ndarray] | None = None,
    mask: np.ndarray | None = None,
    screen: Screen | None = None,
    gray: int = 60,
) -> SliceView:
    image = np.full((rows, columns), gray, np.uint8)
    return SliceView(
        slice=None,
        image=image,
        mask=mask,
        probabilities={"a": 0.9, "b": 0.1},
        maps=maps or {},
        screen=screen or Screen(),
    )


def pixels(view: SliceView, method: str | None, **options: object) -> np.ndarray:
    settings = {"size": None, "colourbar": False, "letters": False, **options}
    return np.asarray(overlay_picture(view, method, **settings))


def slow_border(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask with a 4-neighbour outside it, one by one."""
    border = np.zeros_like(mask)
    for r, c in np.argwhere(mask):
        for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            y, x = r + dr, c + dc
            inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]
            if not (inside and mask[y, x]):
                border[r, c] = True
    return border


def test_outline_is_the_masks_border_at_native_scale() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:20, 30:50] = True
    mask[12, 35] = False
    mask[30, 10] = True
    seen = (pixels(make_view(mask=mask), None) == MASK_COLOUR).all(axis=-1)
    np.testing.assert_array_equal(seen, slow_border(mask))


def test_outline_can_be_left_out_and_an_empty_mask_has_none() -> None:
    mask = np.ones((40, 50), bool)
    plain = pixels(make_view(), None)
    np.testing.assert_array_equal(
        pixels(make_view(mask=mask), None, outline=False), plain
    )
    np.testing.assert_array_equal(pixels(make_view(mask=~mask), None), plain)


def test_outline_of_one_pixel_survives_a_smaller_picture() -> None:
    mask = np.zeros((401, 399), bool)
    mask[203, 77] = True
    view = make_view(401, 399, mask=mask)
    seen = (pixels(view, None, size=90) == MASK_COLOUR).all(axis=-1)
    where = np.argwhere(seen)
    assert len(where) >= 1
    assert np.abs(where - np.array([203, 77]) * 90 / 399).max() < 1.5


@pytest.mark.parametrize("factor", [1, 3])
def test_a_hot_pixel_stays_where_it_is(factor: int) -> None:
    saliency = np.zeros((40, 50), np.float32)
    saliency[7, 33] = 2.5
    view = make_view(maps={"m": saliency})
    plain = pixels(view, None, size=40 * factor)
    changed = (pixels(view, "m", size=40 * factor) != plain).any(axis=-1)
    expected = np.kron(saliency > 0, np.ones((factor, factor), bool))
    np.testing.assert_array_equal(changed, expected)
    colour = pixels(view, "m", size=40 * factor, opacity=1.0)[changed]
    assert (colour == lookup(False)[-1]).all()


def test_a_hot_pixel_survives_a_smaller_picture() -> None:
    saliency = np.zeros((300, 300), np.float32)
    saliency[100, 250] = 1.0
    view = make_view(300, 300, maps={"m": saliency})
    changed = (pixels(view, "m", size=120) != pixels(view, None, size=120)).any(axis=-1)
    where = np.argwhere(changed)
    assert len(where) >= 1
    assert np.abs(where - np.array([100, 250]) * 120 / 300).max() < 1.5


@pytest.mark.parametrize(
    ("aspect", "size", "expected"),
    [
        (1.0, None, (40, 50)),
        (2.0, None, (80, 50)),
        (0.5, None, (40, 100)),
        (1.0, 320, (320, 400)),
        (2.0, 100, (160, 100)),
    ],
)
def test_pixel_aspect(
    aspect: float, size: int | None, expected: tuple[int, int]
) -> None:
    assert picture_size((40, 50), aspect=aspect, size=size) == expected
    view = make_view(screen=Screen(aspect=aspect))
    assert pixels(view, None, size=size).shape == (*expected, 3)


def test_opacity_is_constant_and_weak_saliency_transparent() -> None:
    saliency = np.arange(2000, dtype=np.float32).reshape(40, 50)
    view = make_view(maps={"m": saliency})
    seen = pixels(view, "m", opacity=0.4, percentile=75).astype(float)
    shown = saliency >= np.percentile(saliency, 75)
    assert (seen[~shown] == 60).all()
    opaque = pixels(view, "m", opacity=1.0, percentile=75).astype(float)
    np.testing.assert_allclose(seen[shown], 0.6 * 60 + 0.4 * opaque[shown], atol=0.51)
    everything = pixels(view, "m", opacity=1.0, percentile=0)
    assert (everything != 60).any(axis=-1).all()


def test_zeros_stay_transparent_where_most_of_a_map_is_zero() -> None:
    saliency = np.zeros((40, 50), np.float32)
    saliency[:4, :5] = 1.0
    seen = pixels(make_view(maps={"m": saliency}), "m", percentile=50)
    np.testing.assert_array_equal((seen != 60).any(axis=-1), saliency > 0)


def test_signed_maps_are_centred_on_zero() -> None:
    values = np.array([-1.0, 0.0, 3.0, 4.0], np.float32)
    scale = ColourScale.of(values, percentile=0)
    assert scale.signed
    assert scale.low == -scale.high
    # equally strong values of either sign lie equally far from the middle
    table = lookup(True).astype(int)
    for value in (0.5, 1.0, 3.0):
        places = [
            int(np.flatnonzero((table == c).all(axis=1))[0])
            for c in scale.colours(np.array([-value, value]))
        ]
        assert abs(sum(places) - 255) <= 2
        assert places[0] < 127.5 < places[1]
    blue, red = scale.colours(np.array([-4.0, 4.0])).astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]


def test_signed_maps_are_cut_by_strength() -> None:
    saliency = np.linspace(-1, 1, 2000, dtype=np.float32).reshape(40, 50)
    seen = pixels(make_view(maps={"m": saliency}), "m", percentile=60)
    strength = np.abs(saliency)
    expected = strength >= np.percentile(strength, 60)
    np.testing.assert_array_equal((seen != 60).any(axis=-1), expected)


def test_positive_maps_keep_their_scale_and_say_what_is_beyond() -> None:
    values = np.linspace(10, 210, 1001, dtype=np.float32)
    scale = ColourScale.of(values)
    assert (scale.low, scale.high) == pytest.approx((10, 209))
    assert scale.ends() == ("10", "≥ 209")
    two = ColourScale.of(np.array([1.0, 2.0] * 50, np.float32))
    assert two.ends() == ("1", "2")


def bottom(picture: Image.Image, rows: int) -> np.ndarray:
    return np.asarray(picture)[rows:]


def test_a_constant_map_says_so_and_colours_nothing() -> None:
    flat = np.full((120, 160), 0.25, np.float32)
    view = make_view(120, 160, maps={"m": flat, "n": np.full_like(flat, np.nan)})
    plain = pixels(view, None)
    for method in ("m", "n"):
        seen = pixels(view, method)
        changed = (seen != plain).any(axis=-1)
        rows, _ = np.nonzero(changed)
        assert changed.any()
        assert rows.min() > 30  # the words lie in the middle
        assert rows.max() < 90
        assert np.ptp(seen[changed].astype(int), axis=-1).max() == 0  # no colour
    words = [pixels(view, m) for m in ("m", "n")]
    assert (words[0] != words[1]).any()


def test_nan_is_transparent_and_does_not_touch_the_scale() -> None:
    saliency = np.linspace(0, 1, 2000, dtype=np.float32).reshape(40, 50)
    holes = saliency.copy()
    holes[-1, -3:] = [np.nan, np.inf, -np.inf]
    seen = pixels(make_view(maps={"m": holes}), "m")
    assert (seen[-1, -3:] == 60).all()
    assert (seen[-1, -4] != 60).any()


def test_the_bar_shows_the_maps_colours_in_order() -> None:
    saliency = np.linspace(0, 1, 2000, dtype=np.float32).reshape(40, 50)
    view = make_view(maps={"m": saliency})
    picture = overlay_picture(view, "m", size=320, percentile=50)
    strip = bottom(picture, 320)
    line = strip[strip.shape[0] // 2].astype(int)
    coloured = np.flatnonzero(np.ptp(line, axis=-1) > 60)
    gray = np.flatnonzero((line == 70).all(axis=-1))
    assert len(gray) > 30
    assert len(coloured) > 30
    assert gray.max() < coloured.min()  # weak values are left, and not coloured
    brightness = line[coloured].sum(axis=-1)
    assert brightness[-1] > brightness[0]
    assert len(bottom(overlay_picture(view, None, size=320), 320)) == 0


def test_letters_stand_at_their_edges() -> None:
    view = make_view(160, 160, screen=Screen(letters=("A", "P", "R", "L")), gray=60)
    seen = pixels(view, None, letters=True)
    rows, columns = np.nonzero((seen == 255).all(axis=-1))
    middle = np.abs(columns - 80) < 15
    assert (rows[middle] < 30).any()
    assert (rows[middle] > 130).any()
    level = np.abs(rows - 80) < 15
    assert (columns[level] < 30).any()
    assert (columns[level] > 130).any()
    assert not ((rows > 40) & (rows < 120) & (columns > 40) & (columns < 120)).any()
    # swapping two letters swaps the pictures at these edges
    other = replace(view, screen=Screen(letters=("A", "P", "L", "R")))
    swapped = pixels(other, None, letters=True)
    assert (swapped[:, :30] != seen[:, :30]).any()
    np.testing.assert_array_equal(swapped[:30], seen[:30])
    assert (pixels(make_view(160, 160), None, letters=True) == 60).all()


def test_colour_images_are_drawn_in_colour() -> None:
    image = np.zeros((30, 30, 3), np.uint8)
    image[..., 0] = 200
    seen = pixels(replace(make_view(30, 30), image=image), None)
    np.testing.assert_array_equal(seen, image)


def test_pictures_are_the_same_each_time_and_leave_the_view_alone() -> None:
    saliency = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    mask = np.eye(40, 50, dtype=bool)
    view = make_view(maps={"m": saliency}, mask=mask)
    before = saliency.copy()
    for mime in ("image/png", "image/webp"):
        first, second = (
            picture_bytes(overlay_picture(view, "m"), mime=mime) for _ in range(2)
        )
        assert first == second
    np.testing.assert_array_equal(saliency, before)
    assert (view.image == 60).all()


def test_misuse_is_named() -> None:
    view = make_view(maps={"xrai": np.zeros((40, 50), np.float32)})
    with pytest.raises(UsageError, match=r"'scorecam'.*xrai"):
        overlay_picture(view, "scorecam")
    with pytest.raises(UsageError, match="opacity 2"):
        overlay_picture(view, "xrai", opacity=2)
    with pytest.raises(UsageError, match="percentile 100"):
        overlay_picture(view, "xrai", percentile=100)
    with pytest.raises(UsageError, match="0 pixels"):
        overlay_picture(view, "xrai", size=0)
    with pytest.raises(UsageError, match="image/gif"):
        picture_bytes(overlay_picture(view, None), mime="image/gif")


def test_contact_sheet_has_a_tile_for_the_image_and_each_map() -> None:
    maps = {m: np.eye(40, 50, dtype=np.float32) for m in ("a", "b", "c")}
    view = make_view(maps=maps)
    one = contact_sheet(view, ["a"], size=80, columns=2)
    four = contact_sheet(view, ["a", "b", "c", "missing"], size=80, columns=2)
    assert four.width == one.width
    assert four.height > 1.8 * (one.height - 40)


def test_export_writes_whole_multiples_with_the_disclaimer(tmp_path: Path) -> None:
    saliency = np.zeros((40, 50), np.float32)
    saliency[3, 4] = 1
    view = make_view(maps={"m": saliency, "captum:X": saliency})
    paths = export_pngs(
        tmp_path / "overlays", "a/b.png", view, ["m", "captum:X", "failed"]
    )
    assert [p.name for p in paths] == [
        f"{safe_name('a/b.png')}_image.png",
        f"{safe_name('a/b.png')}_m.png",
        f"{safe_name('a/b.png')}_{safe_name('captum:X')}.png",
    ]
    with Image.open(paths[1]) as picture:
        assert picture.text["Disclaimer"].startswith("For research use only")
        array = np.asarray(picture)
    assert array.shape[1] == 400
    assert array.shape[0] > 320  # the words stand below
    hot = array[3 * 8 : 4 * 8, 4 * 8 : 5 * 8]
    assert (hot == hot[0, 0]).all()
    assert (hot[0, 0] != 60).any()
    names = export_pngs(tmp_path, safe_name("a/b.png"), view, [])
    assert names[0].name == paths[0].name  # a safe stem is taken as it is


def test_export_names_the_folder_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        export_pngs(tmp_path / "file", "x", make_view(), [])


@pytest.mark.parametrize(
    "text",
    [
        "a/b.png",
        "a__b.png",
        "../../etc/passwd",
        "<script>",
        "",
        "...",
        "con",
        "NUL.png",
        "Zoë/über.dcm",
        "a b",
        "a-b",
        "x" * 300,
        "x" * 301,
        "-rf",
        "plain.png",
    ],
)
def test_safe_names(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}", name)
    assert name.split(".")[0].lower() not in ("con", "nul")
    assert ".." not in name.split("__")


def test_safe_names_stay_different() -> None:
    texts = ["a/b", "a__b", "a-b", "a b", "a  b", "a:b", "A:b", "a", "", ".", "x" * 300]
    texts += ["x" * 301, "con", "../a", "./a", "a/"]
    names = [safe_name(t) for t in texts]
    assert len(set(names)) == len(texts)
    assert safe_name("images/glioma-axial.png") == "images__glioma-axial.png"


def test_png_is_readable_as_written() -> None:
    picture = overlay_picture(make_view(), None, size=None)
    with Image.open(io.BytesIO(picture_bytes(picture, mime="image/png"))) as again:
        np.testing.assert_array_equal(np.asarray(again), np.asarray(picture))


def network_view(*, cropped: bool) -> SliceView:
    seen = np.ones((40, 50), bool)
    if cropped:
        seen[:, :10] = False
        seen[30:] = False
    padding = np.zeros((24, 24), bool)
    padding[:, 20:] = True
    image = np.where(padding, 0, 90).astype(np.uint8)
    return replace(make_view(), network=NetworkView(image, padding, seen))


def test_the_networks_picture_shows_its_pixels_and_its_padding() -> None:
    view = network_view(cropped=False)
    seen = np.asarray(network_picture(view, size=None))
    assert (seen[:, :20] == 90).all()
    assert (seen[:, 20:] == PADDING_COLOUR).all()
    assert np.asarray(network_picture(view, size=48)).shape == (48, 48, 3)
    lettered = replace(view, screen=Screen(letters=("A", "P", "R", "L")))
    drawn = np.asarray(network_picture(lettered, size=96))
    assert (drawn == 255).all(axis=-1).any()
    with pytest.raises(ValueError, match="no network input"):
        network_picture(make_view())


def test_what_the_network_sees_is_framed_where_it_is_not_all() -> None:
    saliency = np.zeros((40, 50), np.float32)
    saliency[20, 30] = 1
    for method in (None, "m"):
        plain, cropped = (
            replace(network_view(cropped=c), maps={"m": saliency})
            for c in (False, True)
        )
        changed = (pixels(cropped, method) != pixels(plain, method)).any(axis=-1)
        assert cropped.network is not None
        np.testing.assert_array_equal(changed, slow_border(cropped.network.seen))


def test_a_case_has_a_picture_of_what_the_network_sees() -> None:
    maps = {"m": np.eye(40, 50, dtype=np.float32)}
    pictures = case_pictures(replace(network_view(cropped=True), maps=maps), size=64)
    assert list(pictures) == ["", NETWORK_PICTURE, "m"]
    np.testing.assert_array_equal(
        pictures[NETWORK_PICTURE], network_picture(network_view(cropped=True), size=64)
    )
    assert list(case_pictures(make_view(maps=maps))) == ["", "m"]


def test_the_networks_picture_stands_like_the_slice() -> None:
    """A coronal stack stored upside down: both pictures are turned alike."""
    rng = np.random.default_rng(0)
    array = np.kron(rng.random((2, 4, 5)), np.ones((1, 6, 6))).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, -1.0], [3.0, 0, 0], [0, 1.0, 0]]
    study = Study(array, Path("c"), affine_lps=affine, spacing=(3.0, 1.0, 1.0))
    spec = Preprocessing(size=(30, 30), crop=CenterCrop((24.0, 18.0)))
    model: Any = SimpleNamespace(classes=("a", "b"))
    outcome = Outcome(
        method="m",
        preset="pair",
        slice=1,
        status="ok",
        reason="",
        predicted_class="a",
        probability=0.9,
        target_class="a",
        label=None,
        correct=None,
        probabilities=np.array([0.9, 0.1]),
        input=spec.apply(study, 1),
    )
    (view,) = views(study, model, [outcome])
    assert view.network is not None
    assert view.screen.flip_rows
    assert view.screen.flip_columns
    assert view.network.seen[:, 6:24].all()
    assert view.network.seen.sum() == 24 * 18
    kept = ~view.network.padding[0]
    picture = Image.fromarray(view.image[:, 6:24])
    expected = np.asarray(
        picture.resize((int(kept.sum()), 30), Image.Resampling.BILINEAR)
    )
    got = view.network.image[:, kept]
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.98
    for turned in (got[::-1], got[:, ::-1], got[::-1, ::-1]):
        assert np.corrcoef(expected.ravel(), turned.ravel())[0, 1] < 0.9
