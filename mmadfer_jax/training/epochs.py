"""Where a run stands: steps, epochs and batches of data against each other."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Epochs:
    """How a run's steps make up its epochs.

    A run whose batch size changed between two epochs has epochs of another number of steps before
    and after the change; its steps are counted on.

    Attributes:
        epochs: Passes over the data in all.
        steps_per_epoch: Since the last change.
        steps_before: Steps taken before it.
        epochs_before: Epochs finished before it.
    """

    epochs: int
    steps_per_epoch: int
    steps_before: int = 0
    epochs_before: int = 0

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_before + (self.epochs - self.epochs_before) * self.steps_per_epoch

    def finished(self, step: int) -> tuple[int, int]:
        """Epochs finished after `step` steps, and steps taken of the next one."""
        epochs, rest = divmod(step - self.steps_before, self.steps_per_epoch)
        return self.epochs_before + epochs, rest

    def batch(self, step: int) -> int:
        """Which batch of the data comes after `step` steps, counted at today's batch size."""
        epochs, rest = self.finished(step)
        return epochs * self.steps_per_epoch + rest
