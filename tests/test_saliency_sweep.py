"""Every method of ours on every architecture: a map of the image, or a refusal.

The networks are untrained, drawn with a seed. Their logits are brought to a spread of
one, since drawn weights give 1e8 (Inception) or 1e-5 (EfficientNet), and a softmax that
is all or nothing. Explained is the class for which Grad-CAM is not empty: on an
untrained network its ReLU may leave nothing of a class.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from napari_medxai import saliency
from napari_medxai.models.architectures import build, names

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

METHODS = tuple(name for name in saliency.methods() if ":" not in name)
FEW = {"steps": 2, "samples": 2, "min_pixel_diff": 5}
CLASSES = 3
# What is read where no layer is named: the last feature map before the pooling.
PAPER_LAYERS = {
    "vgg16": "features",
    "vgg19": "features",
    "resnet50": "layer4",
    "resnet50v2": "norm",
    "xception": "act4",
    # At 96 x 96 the block after it has a single position.
    "inception_v3": "Mixed_6e",
    "inception_resnet_v2": "repeat_1",
    "densenet121": "features",
    "efficientnet_b0": "bn2",
}
# Quick enough for all methods; on the others all but the quickest methods are slow.
QUICK = ("densenet121", "efficientnet_b0", "vit", "swin", "densenet_3d")
QUICKEST = ("vanilla_gradient", "gradcam", "gradcam_pp")
OTHER_LAYERS = {
    "vit": "blocks.1.norm1",
    "swin": "norm",
    "densenet_3d": "class_layers.relu",
}
LAYERS = {**PAPER_LAYERS, **OTHER_LAYERS}


def made(name):
    if name in PAPER_LAYERS:
        valid = name.startswith("inception")  # convolutions without padding
        return build(name, classes=CLASSES), (96, 96) if valid else (64, 64)
    if name == "densenet_3d":
        from monai.networks.nets import DenseNet

        network = DenseNet(
            3, 1, CLASSES, init_features=8, growth_rate=4, block_config=(2, 2, 2)
        )
        return network, (24, 32, 40)
    import timm

    if name == "vit":
        options = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": (64, 96)}
        timm_name = "vit_tiny_patch16_224"
    else:
        options = {
            "img_size": (64, 96),
            "window_size": 2,
            "depths": (1, 2),
            "num_heads": (2, 2),
            "embed_dim": 16,
        }
        timm_name = "swin_tiny_patch4_window7_224"
    network = timm.create_model(timm_name, num_classes=CLASSES, in_chans=1, **options)
    return network, (64, 96)


@lru_cache(maxsize=1)  # the tests go network by network; two VGG are a gigabyte
def case(name):
    """Make a network and an image, and find a class that Grad-CAM shows."""
    torch.manual_seed(0)
    network, size = made(name)
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn((1, 1, *[6] * len(size)), generator=generator)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    x = torch.nn.functional.interpolate(coarse, size=size, mode=mode)
    x = x + 0.1 * torch.randn(x.shape, generator=generator)
    head = [m for m in network.modules() if getattr(m, "bias", None) is not None][-1]
    with torch.no_grad():
        spread = network.eval()(x).std()
        head.weight /= spread
        head.bias /= spread
        assert network(x).std().item() == pytest.approx(1.0, rel=1e-3)
    each = x.expand(CLASSES, *x.shape[1:])
    maps = saliency.compute("gradcam", network, each, torch.arange(CLASSES))
    peaks = maps.flatten(1).amax(dim=1)
    assert peaks.max() > 0, "no class has a Grad-CAM; take another seed"
    return network, x, int(peaks.argmax())


def cell(name, method):
    slow = name not in QUICK and method not in QUICKEST
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(name, method, marks=marks, id=f"{name}-{method}")


def test_the_nine_are_all_here():
    assert set(PAPER_LAYERS) == set(names())


@pytest.mark.parametrize(
    ("name", "method"), [cell(name, method) for name in LAYERS for method in METHODS]
)
def test_sweep(name, method):
    network, x, target = case(name)
    if method == "gradcam":
        assert saliency.find_target_layer(network, x) == LAYERS[name]
    known = saliency.get(method).parameters
    few = {key: value for key, value in FEW.items() if key in known}
    maps = saliency.compute(method, network, x, target, **few)
    assert maps.shape == (1, *x.shape[2:])
    assert maps.dtype == torch.float32
    assert torch.isfinite(maps).all()
    assert maps.max() > maps.min(), "the map is constant"
