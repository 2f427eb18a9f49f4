"""The network while a method runs: held in evaluation mode, fed in batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from hashlib import sha256
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from napari_medxai.errors import MethodError

from .batching import Footprint, batch_size, footprint, halving, out_of_memory
from .holding import place
from .shared import Shared, fingerprint

__all__ = ["Precision", "Score", "Session"]

Score = Literal["logit", "probability"]
Precision = Literal["fp32", "bf16"]
Result = TypeVar("Result")


class Session:
    """One run of one method: its network, batches, progress and random numbers.

    Parameters
    ----------
    method
        Name of the method, for errors and seeds.
    module
        The network, already :func:`held`; None for methods that need none.
    batch_size
        Images per pass through the network; None chooses it by memory.
    precision
        ``"fp32"`` computes in the network's own type, ``"bf16"`` under bfloat16
        autocast.
    seed
        Seed of the random numbers.
    progress
        Called with (done, total) in images passed through the network.
    shared
        Keeps what several methods of an image need alike.
    """

    def __init__(
        self,
        method: str,
        module: nn.Module | None,
        *,
        batch_size: int | None = None,
        precision: Precision = "fp32",
        seed: int = 0,
        progress: Callable[[int, int], object] | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.method = method
        self.seed = seed
        self.precision = precision
        self._batch_size = batch_size
        self._module = module
        self._progress = progress
        self._shared = Shared() if shared is None else shared
        self._done = 0
        self._total = 0
        self._channels_last = True
        self._footprint: Footprint | None = None
        # One image (1, C, *spatial), for what a pass takes.
        self.example: Tensor | None = None
        self.device, self.dtype = place(module)

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

    # What methods share

    def once(
        self,
        name: str,
        make: Callable[[], Result],
        *tensors: Tensor,
        passes: int = 0,
        settings: tuple[Hashable, ...] = (),
    ) -> Result:
        """Compute something once for all methods of an image.

        Parameters
        ----------
        name
            What it is.
        make
            Computes it.
        tensors, settings
            What it follows from, beside the network and its precision.
        passes
            Images it passes through the network, for the progress.
        """
        key = (name, self._module, self.precision, *settings)
        value, known = self._shared.once(
            (*key, *(fingerprint(tensor) for tensor in tensors)), make
        )
        if known and passes:
            self.advance(passes)
        return value

    # Batches

    @property
    def batch_size(self) -> int:
        """Images in a pass that takes a gradient."""
        return self._size(gradient=True)

    def batches(self, count: int, *, gradient: bool = True) -> Iterator[slice]:
        """Slices that cover ``range(count)``, each of what passes at once."""
        size = self._size(gradient=gradient)
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))

    def _size(self, *, gradient: bool) -> int:
        if self._batch_size is not None:
            return self._batch_size
        if self.example is None:
            return 1
        if self._footprint is None:
            with torch.no_grad():
                self._footprint = footprint(
                    self.module, self.example, lambda one: self.call(self.prepare(one))
                )
        return batch_size(self._footprint, self.device, gradient=gradient)

    def in_batches(
        self,
        x: Tensor,
        work: Callable[[slice], Result],
        *,
        gradient: bool = True,
    ) -> Iterator[tuple[slice, Result]]:
        """Work on images batch by batch; smaller ones where memory runs out.

        Parameters
        ----------
        x
            Images (B, C, *spatial).
        work
            Passes ``x[part]`` through the network once and returns its result.
        gradient
            Whether it takes a gradient.

        Yields
        ------
        tuple
            The part and its result; progress has been told.

        Raises
        ------
        MethodError
            If there is not enough memory for a single image.
        """
        if self.example is None:
            self.example = x[:1]
        size = self._size(gradient=gradient)
        try:
            for part, result in halving(len(x), size, work):
                self.advance(part.stop - part.start)
                yield part, result
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise self._no_memory(x) from error

    def _no_memory(self, x: Tensor) -> MethodError:
        return self.error(
            f"there is not enough memory on {self.device} for a single image "
            f"{tuple(x.shape[1:])}; use a smaller network or image, or another device"
        )

    def prepare(self, x: Tensor) -> Tensor:
        """Copy a batch to the network's device, type and memory order."""
        batch = x.detach().to(self.device, self.dtype, copy=True)
        if batch.ndim == 4 and self._channels_last:
            # About twice as fast for 2-D convolutions, on CPU and GPU.
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch

    def call(
        self, batch: Tensor, target: Tensor | None = None, *, rows: int | None = None
    ) -> Tensor:
        """Pass one prepared batch; returns checked logits (b, K), or (rows, K)."""
        try:
            logits = self._forward(batch)
        except RuntimeError as error:
            if len(batch) == 1 and out_of_memory(error):
                raise self._no_memory(batch) from error
            # `x.view(b, -1)` in a network's forward fails on channels-last maps.
            if not self._channels_last or "view size is not" not in str(error):
                raise
            self._channels_last = False
            logits = self._forward(batch.contiguous())
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
        expected = len(batch) if rows is None else rows
        if len(logits) != expected:
            raise self.error(
                f"the network returned {len(logits)} rows for {expected} images"
            )
        if target is not None and int(target.max()) >= logits.shape[1]:
            raise self.error(
                f"class {int(target.max())} does not exist: the network has "
                f"{logits.shape[1]} classes, counted from 0"
            )
        if not torch.isfinite(logits).all():
            raise self.error(
                f"the network's logits are NaN or infinite{self._culprit(batch)}; "
                "check its weights, the image's range and the precision"
            )
        return logits

    def _forward(self, batch: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bf16"
        ):
            result: Tensor = self.module(batch)
        return result

    def _culprit(self, batch: Tensor) -> str:
        """Name the first layer that returns something not finite."""
        names = {module: name for name, module in self.module.named_modules()}
        guilty: list[str] = []

        def check(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                guilty.append(names[module] or type(module).__name__)

        handles = [
            module.register_forward_hook(check)
            for module in names
            if not isinstance(module, torch.jit.ScriptModule)  # takes no hooks
        ]
        try:
            with torch.no_grad():
                self._forward(batch.detach())
        finally:
            for handle in handles:
                handle.remove()
        return f", from layer {guilty[0]!r} on" if guilty else ""

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

        def work(part: slice) -> Tensor:
            with torch.no_grad():
                logits = self.call(self.prepare(x[part]), target[part])
                return self.score(logits, target[part], score)

        parts = self.in_batches(x, work, gradient=False)
        return torch.cat([values for _, values in parts])

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

        def work(part: slice) -> Tensor:
            batch = self.prepare(x[part]).requires_grad_(True)
            # The copy lets a network overwrite its input in place.
            logits = self.call(batch.clone(), target[part])
            value = self.score(logits, target[part], score).sum()
            gradient = self.differentiate(value, batch).to(x.device, x.dtype)
            self.require_finite(gradient, "the gradient of the input")
            return gradient

        return torch.cat([gradient for _, gradient in self.in_batches(x, work)])

    def differentiate(self, value: Tensor, at: Tensor) -> Tensor:
        """Gradient of a scalar, zero where it does not depend on ``at``."""
        if not value.requires_grad:
            raise self.error(
                "the network's output carries no gradient; it must not run under "
                "no_grad or detach its values"
            )
        (gradient,) = torch.autograd.grad(value, at, allow_unused=True)
        return torch.zeros_like(at) if gradient is None else gradient.detach()
