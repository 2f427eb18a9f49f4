"""The network while a method runs: held in evaluation mode, fed in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Literal

import torch
from torch import Tensor, nn

from napari_medxai.errors import MethodError

__all__ = ["Score", "Session", "held"]

DEFAULT_BATCH_SIZE = 32
Score = Literal["logit", "probability"]


@contextmanager
def held(module: nn.Module | None) -> Iterator[None]:
    """Hold a network in evaluation mode without parameter gradients.

    Whatever happens inside, the training flag of every submodule and the
    ``requires_grad`` of every parameter are afterwards what they were; ``.grad`` is
    never touched. Gradients may be taken inside even where the caller has switched
    them off.
    """
    modules = [] if module is None else list(module.modules())
    # A frozen TorchScript module has no training flag any more.
    flags = [(m, m.training) for m in modules if hasattr(m, "training")]
    trainable = (
        [] if module is None else [p for p in module.parameters() if p.requires_grad]
    )
    try:
        if module is not None and any(flag for _, flag in flags):
            module.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for submodule, flag in flags:
            submodule.training = flag
        for parameter in trainable:
            parameter.requires_grad_(True)


class Session:
    """One run of one method: its network, batches, progress and random numbers.

    Parameters
    ----------
    method
        Name of the method, for errors and seeds.
    module
        The network, already :func:`held`; None for methods that need none.
    batch_size
        Images per pass through the network.
    seed
        Seed of the random numbers.
    progress
        Called with (done, total) in images passed through the network.
    """

    def __init__(
        self,
        method: str,
        module: nn.Module | None,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        seed: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self.method = method
        self.batch_size = batch_size
        self.seed = seed
        self._module = module
        self._progress = progress
        self._done = 0
        self._total = 0
        self._channels_last = True
        self.device, self.dtype = _place(module)

    @property
    def module(self) -> nn.Module:
        """The network."""
        if self._module is None:
            raise self.error("needs a network, but none was given")
        return self._module

    def error(self, text: str) -> MethodError:
        """Make an error that names the method."""
        return MethodError(f"{self.method}: {text}")

    def require_finite(self, values: Tensor, what: str) -> None:
        """Raise MethodError where there is NaN or infinity in the values."""
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise self.error(
                f"{bad} of {values.numel()} values of {what} are NaN or infinite; "
                "check the network's weights, the image's range and the precision"
            )

    # Progress

    def expect(self, count: int) -> None:
        """Add images still to be passed to the total."""
        self._total += count

    def advance(self, count: int) -> None:
        """Report that so many images are done."""
        self._done += count
        self._total = max(self._total, self._done)
        if self._progress is not None:
            self._progress(self._done, self._total)

    # Random numbers

    def generator(self, image: Tensor) -> torch.Generator:
        """Random numbers for one image (C, *spatial), on the CPU.

        They follow from the seed, the method and the image's values alone, never
        from its place in a batch.
        """
        values = image.detach().to("cpu", torch.float32).contiguous()
        digest = sha256(f"{self.seed}|{self.method}|{tuple(values.shape)}|".encode())
        digest.update(values.numpy().tobytes())
        number = int.from_bytes(digest.digest()[:8], "little")
        return torch.Generator("cpu").manual_seed(number & (2**63 - 1))

    # Batches

    def batches(self, count: int) -> Iterator[slice]:
        """Slices of at most ``batch_size`` that cover ``range(count)``."""
        for start in range(0, count, self.batch_size):
            yield slice(start, min(start + self.batch_size, count))

    def prepare(self, x: Tensor) -> Tensor:
        """Copy a batch to the network's device, type and memory order."""
        batch = x.detach().to(self.device, self.dtype, copy=True)
        if batch.ndim == 4 and self._channels_last:
            # About twice as fast for 2-D convolutions, on CPU and GPU.
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch

    def call(self, batch: Tensor, target: Tensor | None = None) -> Tensor:
        """Pass one prepared batch; returns checked logits (b, K)."""
        try:
            logits = self.module(batch)
        except RuntimeError as error:
            # `x.view(b, -1)` in a network's forward fails on channels-last maps.
            if not self._channels_last or "view size is not" not in str(error):
                raise
            self._channels_last = False
            logits = self.module(batch.contiguous())
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            found = (
                f"a tensor {tuple(logits.shape)}"
                if isinstance(logits, Tensor)
                else type(logits).__name__
            )
            raise self.error(
                f"the network must return logits (B, K), but returned {found}; wrap "
                "it in a module that does"
            )
        if len(logits) != len(batch):
            raise self.error(
                f"the network returned {len(logits)} rows for {len(batch)} images"
            )
        if target is not None and int(target.max()) >= logits.shape[1]:
            raise self.error(
                f"class {int(target.max())} does not exist: the network has "
                f"{logits.shape[1]} classes, counted from 0"
            )
        self.require_finite(logits, "the network's logits")
        return logits

    def score(self, logits: Tensor, target: Tensor, score: Score) -> Tensor:
        """Score (b,) of each image's class: its logit or its softmax probability."""
        values = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if score == "probability":
            if values.shape[1] < 2:
                raise self.error(
                    "the network has a single output, whose softmax is always 1; use "
                    "a network with one output for each class, or the logit"
                )
            values = values.softmax(dim=1)
        elif score != "logit":
            raise self.error(f"score must be 'logit' or 'probability', not {score!r}")
        return values.gather(1, target.to(values.device)[:, None])[:, 0]

    def scores(self, x: Tensor, target: Tensor, *, score: Score) -> Tensor:
        """Scores (B,) of images (B, C, *spatial), batch by batch, no gradients."""
        parts = []
        for part in self.batches(len(x)):
            with torch.no_grad():
                logits = self.call(self.prepare(x[part]), target[part])
                parts.append(self.score(logits, target[part], score))
            self.advance(part.stop - part.start)
        return torch.cat(parts)

    def gradient(self, x: Tensor, target: Tensor, *, score: Score) -> Tensor:
        """Gradient of each image's score with respect to the image.

        Parameters
        ----------
        x
            Images (B, C, *spatial).
        target
            Their classes (B,).
        score
            ``"logit"`` or ``"probability"``.

        Returns
        -------
        torch.Tensor
            As ``x`` in shape, type and device.
        """
        parts = []
        for part in self.batches(len(x)):
            batch = self.prepare(x[part]).requires_grad_(True)
            # The copy lets a network overwrite its input in place.
            logits = self.call(batch.clone(), target[part])
            value = self.score(logits, target[part], score).sum()
            parts.append(self.differentiate(value, batch).to(x.device, x.dtype))
            self.require_finite(parts[-1], "the gradient of the input")
            self.advance(part.stop - part.start)
        return torch.cat(parts)

    def differentiate(self, value: Tensor, at: Tensor) -> Tensor:
        """Gradient of a scalar, zero where it does not depend on ``at``."""
        if not value.requires_grad:
            raise self.error(
                "the network's output carries no gradient; it must not run under "
                "no_grad or detach its values"
            )
        (gradient,) = torch.autograd.grad(value, at, allow_unused=True)
        return torch.zeros_like(at) if gradient is None else gradient.detach()


def _place(module: nn.Module | None) -> tuple[torch.device, torch.dtype]:
    """Device and floating type of a network, from its first floating tensor."""
    if module is not None:
        for tensors in (module.parameters(), module.buffers()):
            for tensor in tensors:
                if tensor.is_floating_point():
                    return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def precise(x: Tensor) -> Tensor:
    """Copy to float64, on the CPU where the device has none."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)
