# SPDX-License-Identifier: MIT
"""Energy and carbon of a Lightning Trainer: `Trainer(callbacks=[CarbonCallback()])`."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback

from .. import track
from ..tracker import Tracker


class CarbonCallback(Callback):  # type: ignore[misc]
    """Marks the trainer's epochs, batches and validations. Takes the options of `carbon_job.track`."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self.tracker: Tracker | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the run."""
        batches = trainer.num_training_batches
        steps = int(batches) if batches != float("inf") else None
        epochs = trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None
        self.tracker = track(epochs, steps, **self._options).start()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an epoch."""
        if self.tracker is not None:
            self.tracker.epoch()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count a step."""
        if self.tracker is not None:
            self.tracker.step()
            trainer.should_stop = trainer.should_stop or self.tracker.should_stop

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a phase, unless it is the check before the training."""
        if self.tracker is not None and not trainer.sanity_checking:
            self.tracker.phase("validation").__enter__()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """End the phase."""
        if self.tracker is not None and not trainer.sanity_checking:
            self.tracker.phase("validation").__exit__(None, None, None)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the run."""
        if self.tracker is not None:
            self.tracker.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the run that was cut off."""
        if self.tracker is not None:
            self.tracker.end(complete=False)
