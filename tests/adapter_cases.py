"""What the tests of the adapters share: networks, names, and what must be put back."""

from __future__ import annotations

import random

import numpy as np
import pytorch_grad_cam
import torch
from torch import nn

from napari_medxai import saliency
from napari_medxai.saliency.network import Session

# What must never get lost: it ran with captum 0.9.0 and grad-cam 1.5.7.
INPUT = [
    "captum:Deconvolution",
    "captum:DeepLift",
    "captum:DeepLiftShap",
    "captum:FeatureAblation",
    "captum:GradientShap",
    "captum:GuidedBackprop",
    "captum:GuidedGradCam",
    "captum:InputXGradient",
    "captum:IntegratedGradients",
    "captum:KernelShap",
    "captum:Lime",
    "captum:NoiseTunnel",
    "captum:Occlusion",
    "captum:Saliency",
    "captum:ShapleyValueSampling",
]
LAYER = [
    "captum:InternalInfluence",
    "captum:LayerActivation",
    "captum:LayerConductance",
    "captum:LayerDeepLift",
    "captum:LayerDeepLiftShap",
    "captum:LayerFeatureAblation",
    "captum:LayerGradCam",
    "captum:LayerGradientShap",
    "captum:LayerGradientXActivation",
    "captum:LayerIntegratedGradients",
]
CAMS = [
    "gradcam:EigenCAM",
    "gradcam:EigenGradCAM",
    "gradcam:FEM",
    "gradcam:GradCAM",
    "gradcam:GradCAMElementWise",
    "gradcam:GradCAMPlusPlus",
    "gradcam:HiResCAM",
    "gradcam:KPCA_CAM",
    "gradcam:LayerCAM",
    "gradcam:RandomCAM",
    "gradcam:XGradCAM",
]
FLAT_ONLY = [
    "captum:LRP",
    "captum:LayerLRP",
    "captum:ShapleyValues",
    "gradcam:AblationCAM",
    "gradcam:FullGrad",
    "gradcam:ScoreCAM",
]
RUN = {2: {*INPUT, *LAYER, *CAMS, *FLAT_ONLY}, 3: {*INPUT, *LAYER, *CAMS}}
NAMES = tuple(
    name for group in ("captum:all", "gradcam:all") for name in saliency.groups()[group]
)
QUICK = {
    "captum:FeatureAblation": {"patches": 3},
    "captum:InternalInfluence": {"n_steps": 5},
    "captum:IntegratedGradients": {"n_steps": 5},
    "captum:KernelShap": {"n_samples": 30, "patches": 2},
    "captum:LayerConductance": {"n_steps": 5},
    "captum:LayerIntegratedGradients": {"n_steps": 5},
    "captum:Lime": {"n_samples": 30, "patches": 2, "alpha": 1e-6},
    "captum:ShapleyValueSampling": {"n_samples": 3, "patches": 2},
    "gradcam:SESS": {"num_scales": 2},
}


class Plain(nn.Module):
    """Convolutions with ReLU in place, and max pooling."""

    def __init__(self, dims=2, *, inplace=True):
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.features = nn.Sequential(
            conv(2, 4, 3, padding=1),
            norm(4),
            nn.ReLU(inplace=inplace),
            (nn.MaxPool2d if dims == 2 else nn.MaxPool3d)(2),
            conv(4, 5, 3, padding=1),
            nn.ReLU(inplace=inplace),
        )
        self.pool = (nn.AdaptiveAvgPool2d if dims == 2 else nn.AdaptiveAvgPool3d)(1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.pool(self.features(x)).flatten(1))


class Residual(nn.Module):
    """A block with a shortcut; one ReLU used three times, or three of them."""

    def __init__(self, *, reused=True, inplace=True):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        relus = [nn.ReLU(inplace=inplace) for _ in range(3)]
        self.relu, self.relu2, self.relu3 = relus[:1] * 3 if reused else relus
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.stem(x))
        y = self.two(self.relu2(self.one(x)))
        return self.head(self.pool(self.relu3(y + x)).flatten(1))


class Tokens(nn.Module):
    """A transformer in small: patches, a class token that is read, attention."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(2, 6, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.norm = nn.LayerNorm(6)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1)
        seen = self.norm(tokens)
        tokens = tokens + self.attend(seen, seen, seen, need_weights=False)[0]
        return self.head(tokens[:, 0])


def weighted(network, seed=0):
    """Same weights for the same shapes, whatever else was drawn."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return network.eval()


def images(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(dims=2, **options):
    return weighted(Plain(dims, **options))


def seed_of(name, image):
    return Session(name, None).generator(image).initial_seed()


def everything(network):
    """All that a run must leave as it was."""
    return (
        [
            {
                key: list(map(id, value.values())) if isinstance(value, dict) else value
                for key, value in vars(part).items()
            }
            for part in network.modules()
        ],
        [(id(p), p.data_ptr(), p.requires_grad, p.grad) for p in network.parameters()],
        {key: value.tolist() for key, value in network.state_dict().items()},
        torch.random.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        pytorch_grad_cam.score_cam.tqdm,
    )
