"""Processes that learn as one, for the cores of a CPU: torch's own threads within a step bring little where pictures are small.

Each learns from its share of a batch, and all move by the mean of their gradients, so that their networks stay the same.
"""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes


class Together:
    """This process among the `count` that learn as one; number `rank`, of which the first, 0, alone writes files."""

    def __init__(self, rank=0, count=1):
        self.rank, self.count, self.first = rank, count, rank == 0

    def sum(self, tensors):
        """Puts the sum over all processes in place of each tensor."""
        if self.count > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
                tensor.copy_(part.view_as(tensor))

    def mean(self, tensors):
        """Puts the mean over all processes in place of each tensor."""
        self.sum(tensors)
        if self.count > 1:
            torch._foreach_div_(tensors, self.count)

    def agreed(self, *numbers):
        """What the first process said."""
        if self.count == 1:
            return numbers
        said = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(said, 0)
        return tuple(said.tolist())

    def meet(self):
        """Waits until all are here."""
        if self.count > 1:
            dist.barrier()


def together(count, work, *given):
    """Calls `work(Together, *given)` in `count` processes, and returns when all are done; an error in one ends all."""
    if count == 1:
        return work(Together(), *given)
    with tempfile.TemporaryDirectory() as folder:
        start_processes(member, (count, f"file://{Path(folder) / 'meeting'}", work, given), nprocs=count)


def member(rank, count, meeting, work, given):
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    try:
        work(Together(rank, count), *given)
    finally:
        dist.destroy_process_group()
