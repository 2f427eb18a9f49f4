"""Target layers: found in any network, named, several; tokens read as a grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_medxai import saliency
from napari_medxai.errors import MethodError
from napari_medxai.saliency import cams
from napari_medxai.saliency.holding import held
from napari_medxai.saliency.layers import find, located
from napari_medxai.saliency.network import Session
from napari_medxai.saliency.tokens import Layout, read_layout

CAMS = ("gradcam", "gradcam_pp", "scorecam")


def images(*shape, seed=1, dtype=torch.float32):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def randomised(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        spread = 1 / np.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
    return network.eval()


def layer_of(network, x):
    with held(network):
        return find(Session("test", network), x)


def look_at(network, x, name):
    with held(network):
        return located(Session("test", network), x, name)[0]


# Reading shapes


@pytest.mark.parametrize(
    ("shape", "sizes", "more", "expected"),
    [
        ((1, 96, 8, 8), (64, 64), {}, ("channels_first", (8, 8), 0, 0)),
        ((1, 8, 8, 96), (64, 64), {}, ("channels_last", (8, 8), 0, 0)),
        ((1, 8, 8, 32), (64, 64), {}, ("channels_last", (8, 8), 0, 0)),
        ((1, 32, 8, 8), (64, 64), {}, ("channels_first", (8, 8), 0, 0)),
        ((1, 6, 8, 16), (48, 64), {}, ("channels_last", (6, 8), 0, 0)),
        ((1, 7, 1, 4), (96, 200), {}, ("channels_first", (1, 4), 0, 0)),
        ((1, 5, 4, 2, 4), (16, 8, 16), {}, ("channels_first", (4, 2, 4), 0, 0)),
        ((1, 4, 2, 4, 99), (16, 8, 16), {}, ("channels_last", (4, 2, 4), 0, 0)),
        ((1, 197, 192), (224, 224), {}, ("tokens", (14, 14), 1, 0)),
        ((1, 196, 192), (224, 224), {}, ("tokens", (14, 14), 0, 0)),
        ((1, 198, 192), (224, 224), {}, ("tokens", (14, 14), 2, 0)),
        ((1, 201, 192), (224, 224), {}, ("tokens", (14, 14), 5, 0)),
        ((197, 1, 192), (224, 224), {}, ("tokens", (14, 14), 1, 1)),
        ((1, 25, 192), (64, 96), {}, ("tokens", (4, 6), 1, 0)),
        ((1, 65, 24), (64, 64, 64), {}, ("tokens", (4, 4, 4), 1, 0)),
        # Uneven patches: only the patch embedding's grid tells.
        ((1, 97, 9), (96, 96, 32), {"grids": [(4, 6, 4)]}, ("tokens", (4, 6, 4), 1, 0)),
        # As many channels as positions.
        ((1, 17, 16), (64, 64), {"grids": [(4, 4)]}, ("tokens", (4, 4), 1, 0)),
        ((1, 8, 5), (2, 3), {}, ("tokens", (2, 3), 2, 0)),
        # 3 x 3 = 2 x 2 + 5: what the network says, or the patch embedding, decides.
        ((1, 9, 24), (64, 64), {}, ("tokens", (3, 3), 0, 0)),
        ((1, 9, 24), (64, 64), {"prefix": 5}, ("tokens", (2, 2), 5, 0)),
        ((1, 9, 24), (64, 64), {"grids": [(2, 2)]}, ("tokens", (2, 2), 5, 0)),
        ((16, 4, 32), (64, 64), {}, None),  # windows
        ((3, 1, 2, 17, 12), (64, 64), {}, None),  # query, key and value
        ((1, 2, 197, 197), (64, 64), {}, None),
        ((1, 128), (64, 64), {}, None),
        ((1, 48, 192), (224, 224), {"grids": []}, None),
        ((1, 256, 16), (64, 64), {"grids": [(4, 4)]}, None),  # (1, C, L)
        ((), (64, 64), {}, None),
    ],
)  # fmt: skip
def test_shapes_are_read(shape, sizes, more, expected):
    layout = read_layout(shape, sizes, module=nn.Identity(), **more)
    if expected is None:
        assert layout is None
    else:
        got = (layout.kind, layout.grid, layout.prefix, layout.batch_axis)
        assert got == expected
        assert layout.feature_map(torch.zeros(shape)).shape[2:] == expected[1]


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.Conv2d(1, 1, 1), "channels_first"),
        (nn.Linear(8, 8), "channels_last"),
        (nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)), "channels_last"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(8, 8)), "channels_first"),
    ],
)
def test_a_cube_is_read_by_what_the_layer_does(module, kind):
    assert read_layout((1, 8, 8, 8), (64, 64), module=module).kind == kind


LAYOUTS = [
    Layout(kind="channels_first", shape=(1, 5, 2, 3), grid=(2, 3)),
    Layout(kind="channels_last", shape=(1, 2, 3, 5), grid=(2, 3)),
    Layout(kind="tokens", shape=(1, 6, 5), grid=(2, 3)),
    Layout(kind="tokens", shape=(1, 8, 5), grid=(2, 3), prefix=2),
    Layout(kind="tokens", shape=(7, 1, 5), grid=(2, 3), prefix=1, batch_axis=1),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_position_goes_to_its_place(layout):
    count = 4
    shape = list(layout.shape)
    shape[layout.batch_axis] = count
    output = images(*shape).requires_grad_(True)
    maps = layout.feature_map(output)
    assert maps.shape == (count, 5, 2, 3)
    for b, c, row, column in np.ndindex(4, 5, 2, 3):
        token = layout.prefix + 3 * row + column
        place = {
            "channels_first": (b, c, row, column),
            "channels_last": (b, row, column, c),
            "tokens": (token, b, c) if layout.batch_axis else (b, token, c),
        }[layout.kind]
        assert maps[b, c, row, column] == output[place]
    # The gradient is carried over as the values are; what is dropped gets none.
    weights = images(4, 5, 2, 3, seed=2)
    (gradient,) = torch.autograd.grad((maps * weights).sum(), output)
    assert torch.equal(layout.feature_map(gradient), weights)
    assert gradient.abs().sum() == pytest.approx(float(weights.abs().sum()))
    assert layout.fits(output, count)
    assert not layout.fits(output, count + 1)


# The same network in four layouts


class Crafted(nn.Module):
    """Feature maps are the image, in some layout; logit k is Σ G[k]·A."""

    def __init__(self, gradients, layout):
        super().__init__()
        self.layer = nn.Identity()
        self.gradients = nn.Parameter(gradients)
        self.layout = layout

    def forward(self, x):
        maps = x
        if self.layout.kind == "channels_last":
            maps = x.movedim(1, -1)
        elif self.layout.kind == "tokens":
            tokens = x.flatten(2).transpose(1, 2)
            others = x.new_full((len(x), self.layout.prefix, x.shape[1]), 9.0)
            maps = torch.cat([others, tokens], dim=1)
            if self.layout.batch_axis:
                maps = maps.transpose(0, 1).contiguous()
        maps = self.layer(maps)
        # The prefix counts too, but no map may show it.
        extra = maps.sum() if self.layout.kind == "tokens" else 0.0
        read = self.layout.feature_map(maps)
        return torch.einsum("bc...,kc...->bk", read, self.gradients) + 0.0 * extra


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_maps_do_not_depend_on_the_layout(name, layout, batch):
    """Among the batches is one as long as the tokens."""
    x = images(batch, 5, 2, 3, dtype=torch.float64)
    gradients = images(4, 5, 2, 3, seed=2, dtype=torch.float64)
    target = torch.arange(batch) % 4
    expected, got = (
        saliency.compute(
            name, Crafted(gradients, each), x, target, target_layer="layer"
        )
        for each in (LAYOUTS[0], layout)
    )
    assert expected.max() > 0
    torch.testing.assert_close(got, expected)


# A transformer whose Grad-CAM can be computed on paper


class Uniform(nn.Module):
    """Attention whose queries are zero: every token gets the mean value."""

    def __init__(self, channels):
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.qkv.weight.data.zero_()
        self.qkv.weight.data[2 * channels :] = torch.eye(channels)

    def forward(self, tokens):
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        weights = (q @ k.transpose(1, 2)).softmax(dim=-1)
        return weights @ v


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1 = nn.Identity()
        self.attn = Uniform(channels)
        self.norm2 = nn.Identity()
        self.mlp = nn.Linear(channels, channels, bias=False)
        self.mlp.weight.data = 0.5 * torch.eye(channels)

    def forward(self, tokens):
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PaperTransformer(nn.Module):
    """Patches of 2 x 2, `prefix` further tokens, one block, the first token's head."""

    def __init__(self, prefix=1, pool="token", stated=None):
        super().__init__()
        self.embed = nn.Conv2d(1, 3, 2, stride=2, bias=False)
        self.others = nn.Parameter(images(1, prefix, 3, seed=3))
        self.blocks = nn.Sequential(Block(3))
        self.norm = nn.Identity()
        self.head = nn.Linear(3, 2)
        self.pool = pool
        if stated is not None:
            self.num_prefix_tokens = stated
        self.double()
        self.embed.weight.data = torch.ones(3, 1, 2, 2, dtype=torch.float64) / 4
        self.embed.weight.data *= torch.tensor([1.0, 2.0, -1.0])[:, None, None, None]
        self.head.weight.data = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, -4.0]])
        self.head.weight.data = self.head.weight.data.double()

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.others.expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens))
        patches = self.others.shape[1]
        return self.head(
            tokens[:, 0] if self.pool == "token" else tokens[:, patches:].mean(1)
        )


@pytest.mark.parametrize("prefix", [1, 2, 5])
@pytest.mark.parametrize("stated", [False, True])
def test_gradcam_of_a_transformer_on_paper(prefix, stated):
    """The patches reach the class token through the mean of the last attention.

    Patch p has the tokens (m, 2m, -m), m its mean grey value. The gradient of logit
    k there is 1.5·w_k/L, so that Grad-CAM is ReLU(1.5·(1 + 4 - 1)·m/L) for the first
    class, and ReLU(1.5·4·m/L) for the second.
    """
    network = PaperTransformer(prefix, stated=prefix if stated else None)
    x = images(2, 1, 4, 6, dtype=torch.float64)
    layer = layer_of(network, x)
    assert layer.name == "blocks.0.norm1"
    assert (layer.layout.grid, layer.layout.prefix) == ((2, 3), prefix)
    got = saliency.compute("gradcam", network, x, torch.tensor([0, 1]))
    means = functional.avg_pool2d(x, 2)
    factors = torch.tensor([4.0, 4.0])[:, None, None, None] * 1.5 / (6 + prefix)
    expected = functional.interpolate(
        (means * factors).relu(), size=(4, 6), mode="bilinear"
    )[:, 0]
    assert expected.amax((1, 2)).min() > 0
    torch.testing.assert_close(got, expected.float())
    # After the last attention no patch reaches the head any more.
    for late in ("blocks.0.norm2", "blocks", "norm"):
        nothing = saliency.compute("gradcam", network, x, 0, target_layer=late)
        assert nothing.abs().max() == 0


def test_an_average_pooled_transformer_is_read_at_its_end():
    network = PaperTransformer(pool="mean")
    x = images(1, 1, 4, 6, dtype=torch.float64)
    assert layer_of(network, x).name == "norm"
    got = saliency.compute("gradcam", network, x, 0)
    with torch.no_grad():
        tokens = network.norm(network.blocks(_tokens(network, x)))[:, 1:]
    cam = (tokens @ network.head.weight[0] / 6).reshape(1, 1, 2, 3).relu()
    expected = functional.interpolate(cam, size=(4, 6), mode="bilinear")[:, 0]
    torch.testing.assert_close(got, expected.detach().float())


def _tokens(network, x):
    tokens = network.embed(x).flatten(2).transpose(1, 2)
    return torch.cat([network.others.expand(len(x), -1, -1), tokens], dim=1)


def test_a_network_without_gradient_still_gives_a_layer():
    """Score-CAM needs none; nor has an untrained head of zeros any."""
    network = PaperTransformer()
    network.head.weight.data.zero_()
    assert layer_of(network, images(1, 1, 4, 6).double()).name == "norm"

    class Closed(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            with torch.no_grad():
                return self.head(self.features(x).mean((2, 3)))

    closed, x = randomised(Closed()), images(1, 1, 8, 8)
    assert layer_of(closed, x).name == "features"
    assert saliency.compute("scorecam", closed, x, 0).max() > 0
    with pytest.raises(MethodError, match=r"gradcam: .*carries no gradient"):
        saliency.compute("gradcam", closed, x, 0)


# Networks of the libraries


def timm_network(name, **options):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=3, in_chans=1, **options).eval()


SMALL_VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}
SMALL_SWIN = {
    "img_size": (64, 96),
    "window_size": 2,
    "depths": (1, 2),
    "num_heads": (2, 2),
    "embed_dim": 16,
}


@pytest.mark.parametrize(
    ("name", "size", "options", "layer", "grid", "prefix"),
    [
        ("vit_tiny_patch16_224", (64, 96), SMALL_VIT, "blocks.1.norm1", (4, 6), 1),
        (
            "vit_tiny_patch16_224",
            (64, 64),
            {**SMALL_VIT, "global_pool": "avg"},
            "norm",
            (4, 4),
            1,
        ),
        (
            "deit_tiny_distilled_patch16_224",
            (64, 64),
            SMALL_VIT,
            "blocks.1.norm1",
            (4, 4),
            2,
        ),
        (
            "vit_small_patch14_reg4_dinov2",
            (56, 70),
            {"depth": 2, "embed_dim": 48, "num_heads": 3},
            "blocks.1.norm1",
            (4, 5),
            5,
        ),
        # Its head attends to the tokens: not one of its keys, but what goes in.
        ("vit_base_patch16_siglip_224", (64, 64), SMALL_VIT, "norm", (4, 4), 0),
        (
            "cait_xxs24_224",
            (64, 64),
            {"depth": 1, "embed_dim": 48},
            "blocks_token_only.1.norm1",
            (4, 4),
            1,
        ),
        ("convnext_atto", (64, 96), {}, "norm_pre", (2, 3), 0),
        ("mobilevit_xxs", (64, 64), {}, "final_conv", (2, 2), 0),
    ],
)
def test_timm(name, size, options, layer, grid, prefix):
    sized = {} if name in ("convnext_atto", "mobilevit_xxs") else {"img_size": size}
    network = timm_network(name, **options, **sized)
    found = layer_of(network, images(1, 1, *size))
    assert found.name == layer
    assert (found.layout.grid, found.layout.prefix) == (grid, prefix)


def test_swin():
    network = timm_network("swin_tiny_patch4_window7_224", **SMALL_SWIN)
    x = images(2, 1, 64, 96)
    found = layer_of(network, x)
    assert (found.name, found.layout.kind) == ("norm", "channels_last")
    assert found.layout.grid == (8, 12)
    blocks = "layers.1.blocks.1"
    assert look_at(network, x, f"{blocks}.norm1").layout.kind == "channels_last"
    assert look_at(network, x, f"{blocks}.norm2").layout.grid == (8, 12)
    for inner in ("attn", "attn.proj"):
        with pytest.raises(MethodError, match="windowed attention; layers that do: "):
            look_at(network, x, f"{blocks}.{inner}")


def test_torchvision_transformers():
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    vit = models.vision_transformer.VisionTransformer(64, 16, 2, 2, 24, 48)
    x = images(1, 3, 64, 64)
    # Its head starts at zero, and then nothing has a gradient.
    vit.heads.head.weight.data.normal_()
    found = layer_of(vit, x)
    assert found.name == "encoder.layers.encoder_layer_1.ln_1"
    assert (found.layout.grid, found.layout.prefix) == ((4, 4), 1)
    swin = models.swin_transformer.SwinTransformer(
        [4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=3
    )
    assert layer_of(swin, x).name == "permute"
    assert look_at(swin, x, "norm").layout.kind == "channels_last"


class First(nn.Module):
    """Of what a network returns, the first."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)[0]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_monai(dims):
    nets = pytest.importorskip("monai.networks.nets")
    blocks = pytest.importorskip("monai.networks.blocks.squeeze_and_excitation")
    torch.manual_seed(0)
    named = {
        "class_layers.relu": nets.DenseNet(
            dims, 1, 3, init_features=4, growth_rate=2, block_config=(1, 1, 1, 1)
        ),
        "layer4": nets.ResNet(
            "basic",
            (1, 1, 1, 1),
            (4, 4, 4, 4),
            spatial_dims=dims,
            n_input_channels=1,
            num_classes=3,
        ),
        "_swish": nets.EfficientNetBN(
            "efficientnet-b0",
            pretrained=False,
            spatial_dims=dims,
            in_channels=1,
            num_classes=3,
        ),
        "layer3": nets.SENet(
            spatial_dims=dims,
            in_channels=1,
            block=blocks.SEResNetBottleneck,
            layers=(1, 1, 1, 1),
            groups=1,
            reduction=16,
            num_classes=3,
        ),
    }
    for expected, network in named.items():
        # So small that the last stage of the SENet has a single position.
        size = (32, 32, 32) if expected == "layer3" else (64, 64, 32)
        found = layer_of(network, images(1, 1, *size[:dims]))
        assert found.name == expected
        assert len(found.layout.grid) == dims


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("embedding", ["conv", "perceptron"])
def test_monai_vit(dims, embedding):
    pytest.importorskip("einops")
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    network = First(
        nets.ViT(
            1,
            (32, 48, 64)[:dims],
            (16,) * dims,
            hidden_size=24,
            mlp_dim=48,
            num_layers=2,
            num_heads=2,
            classification=True,
            num_classes=3,
            spatial_dims=dims,
            proj_type=embedding,
        )
    )
    found = layer_of(network, images(1, 1, *(32, 48, 64)[:dims]))
    assert found.name == "network.blocks.1.norm1"
    assert (found.layout.grid, found.layout.prefix) == ((2, 3, 4)[:dims], 1)


# What is passed over


def features(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 2))


def test_a_branch_of_a_block_of_one_position_is_passed_over():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.short = nn.Conv2d(4, 4, 1, stride=2)
            self.first = nn.Conv2d(4, 4, 3, padding=1)
            self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)

        def forward(self, x):
            return self.short(x) + self.second(self.first(x))

    network = randomised(features(nn.Conv2d(1, 4, 3, stride=8, padding=1), Residual()))
    assert layer_of(network, images(1, 1, 16, 16)).name == "0"
    chain = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 2))
    network = randomised(features(nn.Conv2d(1, 4, 3, stride=8, padding=1), chain))
    assert layer_of(network, images(1, 1, 16, 16)).name == "1.0"


def test_fully_connected_convolutions_are_passed_over():
    """As timm's VGG on an image larger than 224 x 224."""
    network = randomised(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.Conv2d(4, 4, 7),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        )
    )
    assert layer_of(network, images(1, 1, 16, 16)).name == "0"
    assert layer_of(network, images(1, 1, 48, 48)).name == "2"
    padded = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=4, padding=1),
        nn.ReflectionPad2d(3),
        nn.Conv2d(4, 4, 7),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    assert layer_of(randomised(padded), images(1, 1, 16, 16)).name == "2"
    to_one = features(nn.Conv2d(1, 4, 3, stride=8), nn.ZeroPad2d(1), nn.Conv2d(4, 4, 4))
    assert layer_of(randomised(to_one), images(1, 1, 16, 16)).name == "0"


def test_what_the_logits_do_not_depend_on_is_passed_over():
    class TwoTasks(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Conv2d(1, 4, 3, stride=2, padding=1)
            self.decoder = nn.ConvTranspose2d(4, 1, 2, stride=2)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            maps = self.encoder(x)
            self.decoder(maps)
            return self.head(maps.mean((2, 3)))

    assert layer_of(TwoTasks(), images(1, 1, 8, 8)).name == "encoder"


def test_a_module_used_again_on_vectors_is_no_layer():
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.act = nn.ReLU()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.act(self.head(self.act(self.conv(x)).mean((2, 3))))

    network, x = randomised(Reused()), images(1, 1, 8, 8)
    assert layer_of(network, x).name == "conv"
    assert saliency.compute("gradcam", network, x, 0).shape == (1, 8, 8)


# Several layers


def stages():
    return randomised(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        seed=4,
    )


@pytest.mark.parametrize("name", CAMS)
def test_several_layers_are_averaged_each_by_its_maximum(name):
    network, x = stages(), images(3, 1, 8, 10)
    target = torch.tensor([0, 1, 2])
    calls = []
    single = [
        saliency.compute(name, network, x, target, target_layer=layer)
        for layer in ("1", "3")
    ]
    got = saliency.compute(
        name,
        network,
        x,
        target,
        target_layer="1, 3",
        progress=lambda *call: calls.append(call),
    )
    assert calls[-1][0] == calls[-1][1]
    expected = torch.zeros_like(got)
    for maps in single:
        for index, values in enumerate(maps):
            if values.max() > 0:
                expected[index] += values / values.max() / 2
    assert expected.amax((1, 2)).min() > 0
    torch.testing.assert_close(got, expected)
    for spelling in (["1", "3"], ("1", "3"), "3,1", ["1,3", "1"]):
        again = saliency.compute(name, network, x, target, target_layer=spelling)
        torch.testing.assert_close(again, got)
    alone = saliency.compute(name, network, x, target, target_layer=["3"])
    assert torch.equal(alone, single[1])


def test_an_empty_map_among_several_stays_empty():
    maps = [torch.zeros(2, 2, 2), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]] * 2)]
    assert torch.equal(cams.averaged(maps), maps[1] / 8)
    assert cams.averaged(maps[:1]) is maps[0]


# Refusals


class Odd(nn.Module):
    """Layers of every kind that cannot be a target layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.pair = nn.MultiheadAttention(4, 2, batch_first=True)
        self.table = Table()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.windows = nn.Identity()
        self.spare = nn.Identity()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        maps = self.conv(x)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens + self.pair(tokens, tokens, tokens)[0]
        tokens = self.table(tokens)["values"]
        parts = self.windows(tokens.reshape(len(x) * 4, -1, 4))
        maps = parts.reshape(len(x), -1, 4).transpose(1, 2).reshape(maps.shape)
        return self.head(self.pool(maps).flatten(1))


class Table(nn.Module):
    def forward(self, x):
        return {"values": x}


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("pair", "'pair' returns tuple, not a tensor; layers that do: conv"),
        ("table", "'table' returns dict, not a tensor; layers that do: conv"),
        ("pool", r"'pool' returns \(1, 4, 1, 1\) .* not a feature map with more than"),
        ("windows", r"\(4, 4, 4\) for one image, .* inside windowed attention"),
        ("head", r"'head' returns \(1, 2\) .* layers that do: conv"),
        ("conv, head", r"'head' returns \(1, 2\)"),
        ("spare", "'spare' did not run"),
        ("convv", "no layer 'convv' .*did you mean 'conv'"),
        (["conv", 3], "must be the name of a layer, or several"),
        (7, "must be the name of a layer, or several"),
        ([], "names no layer"),
    ],
)
def test_unfit_layers_are_refused(name, layer, said):
    network, x = randomised(Odd()), images(2, 1, 4, 4)
    with pytest.raises(MethodError, match=f"{name}: .*{said}"):
        saliency.compute(name, network, x, 0, target_layer=layer)


def test_nothing_spatial():
    networks = (
        nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)),
        nn.Sequential(nn.Conv2d(1, 8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)),
    )
    for network in networks:
        for name in CAMS:
            with pytest.raises(MethodError, match="larger image, name a layer with"):
                saliency.compute(name, network, images(1, 1, 4, 4), 0)


def test_a_layer_whose_output_depends_on_the_batch_is_refused():
    class Folding(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            maps = self.layer(x[..., : 8 // len(x)])
            return maps.mean((2, 3))

    with pytest.raises(MethodError, match=r"'layer' returned \(2, 2, 4, 4\) for 2"):
        saliency.compute(
            "gradcam", Folding(), images(2, 2, 4, 8), 0, target_layer="layer"
        )


# Agreement with pytorch-grad-cam


def theirs(cls, network, layer, x, target, reshape):
    package = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    wanted = [targets.ClassifierOutputTarget(target)]
    with getattr(package, cls)(
        model=network,
        target_layers=[network.get_submodule(layer)],
        reshape_transform=reshape,
    ) as cam:
        upsampled = cam(x, wanted)[0]
        watched = cam.activations_and_grads
        activations, gradients = (
            values[0].detach().numpy()
            for values in (watched.activations, watched.gradients or [torch.zeros(1)])
        )
        if cls == "ScoreCAM":
            return upsampled, None
        small = cam.get_cam_image(
            x, cam.target_layers[0], wanted, activations, gradients, False
        )
    return upsampled, np.maximum(small[0], 0)


def vit_tokens(tensor, height=4, width=6):
    """As grad-cam's documentation gives it, for 64 x 96 and patches of 16."""
    result = tensor[:, 1:, :].reshape(len(tensor), height, width, tensor.size(2))
    return result.transpose(2, 3).transpose(1, 2)


def swin_tokens(tensor, height=8, width=12):
    result = tensor.reshape(len(tensor), height, width, tensor.size(-1))
    return result.transpose(2, 3).transpose(1, 2)


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [
        ("vit", "blocks.1.norm1"),
        ("swin", "layers.1.blocks.1.norm1"),
        ("swin", "layers.1.blocks.1.norm2"),
        ("swin", "norm"),
    ],
)
@pytest.mark.parametrize(
    ("name", "cls", "parameters"),
    [
        ("gradcam", "GradCAM", {}),
        ("gradcam_pp", "GradCAMPlusPlus", {}),
        ("scorecam", "ScoreCAM", {"variant": "gradcam"}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_parity_with_grad_cam(monkeypatch, architecture, layer, name, cls, parameters):
    stats = pytest.importorskip("scipy.stats")
    if architecture == "vit":
        network = timm_network("vit_tiny_patch16_224", img_size=(64, 96), **SMALL_VIT)
        reshape = vit_tokens
    else:
        network = timm_network("swin_tiny_patch4_window7_224", **SMALL_SWIN)
        reshape = swin_tokens
    if name == "gradcam_pp":
        # Their 1e-6 in the denominator shows where that is nearly zero.
        for parameter in network.get_submodule("head").parameters():
            parameter.data *= 1e8
    # In float32 the sums over what a normalisation returns are mostly rounding.
    network = network.double()
    coarse = images(1, 1, 7, 7, dtype=torch.float64)
    x = functional.interpolate(coarse, size=(64, 96), mode="bicubic")
    small = []
    upsample = cams.upsampled
    monkeypatch.setattr(
        cams,
        "upsampled",
        lambda maps, *more, **options: (
            small.append(maps[0, 0]) or upsample(maps, *more, **options)
        ),
    )
    for target in range(3):
        small.clear()
        got = saliency.compute(
            name, network, x, target, target_layer=layer, **parameters
        )[0].numpy()
        assert got.max() > 0
        large, grid = theirs(cls, network, layer, x, target, reshape)
        assert stats.spearmanr(got.ravel(), large.ravel()).statistic >= 0.999
        if grid is not None:
            own = small[0].numpy()
            assert stats.spearmanr(own.ravel(), grid.ravel()).statistic >= 0.999
            np.testing.assert_allclose(
                own / own.max(), grid / grid.max(), rtol=1e-2, atol=1e-3
            )
