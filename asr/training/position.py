"""Where a run is."""

from dataclasses import dataclass

import torch

from asr.training.config import ScheduleConfig


@dataclass
class Position:
    """Where a run is; all of it is in a checkpoint.

    Attributes:
        step: Optimizer steps done.
        epoch: Epoch under way, from 0.
        batch, batches: Batches of it that are done, and in all.
        seconds: Time spent training, in seconds, over all sessions.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    batches: int = 1
    seconds: float = 0.0

    def progress(self, schedule: ScheduleConfig) -> float:
        """Fraction of the run (0 to 1) that is done."""
        return schedule.progress(self.epoch + self.batch / self.batches, self.step, self.seconds)

    def plan(self, batches: int, together: int = 1) -> None:
        """Say how many batches the epoch has.

        Where a run goes on with batches of another size, the same share of the epoch is done, but for what
        does not make a step of ``together`` batches.
        """
        done = self.batch * batches // self.batches
        self.batch = done if done == batches else done - done % together
        self.batches = batches

    def seed_torch(self, seed: int, rank: int) -> None:
        """What torch draws in a step (masks, vocal tracts) follows from seed, step and rank."""
        torch.manual_seed((seed * 1_000_003 + self.step) * 1_009 + rank)

    def end_epoch(self) -> None:
        """Go to the next one."""
        self.epoch += 1
        self.batch = 0
