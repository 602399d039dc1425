"""Scenes drawn ahead and kept: on a CPU, drawing a scene and reading its caption takes about as long as learning from it.

The pool begins with a few shards and grows by one every few steps, so that each scene is learnt from several times, mixed anew.
Which scenes a step learns from follows from the seed, the step and how many processes share it; shards on disk only save making
them again.
"""

from random import Random

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset

# Scenes of a shard, and shards to begin with.
SHARD, FIRST = 512, 8


class Pool(Dataset):
    """Item n is what step n learns from: (pictures, (states, mask)). `make` turns an item of `batches`, which has SHARD scenes, into
    that; `empty` is what it gives for no words. A step takes as many as `config.batch`, of which this process, one of `others`, gets its
    share, and all shards serve `config.reused` times."""

    def __init__(self, folder, batches, config, seed, make, empty, others):
        self.folder, self.batches, self.config, self.seed = folder, batches, config, seed
        self.make, self.empty, self.others, self.shards = make, empty, others, []
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, step):
        count = FIRST + step * self.config.batch // (self.config.reused * SHARD)
        self.grow(count)
        random = Random(f"{self.seed} {step} {self.others.rank}")
        rows = [(self.shards[random.randrange(count)], random.randrange(SHARD)) for _ in range(self.config.batch // self.others.count)]
        pictures = torch.stack([shard["pictures"][row] for shard, row in rows]).float() / 127.5 - 1
        tokens = self.config.tokens
        states, mask = torch.zeros(len(rows), tokens, self.empty[0].shape[2]), torch.zeros(len(rows), tokens, dtype=torch.bool)
        for index, (shard, row) in enumerate(rows):
            wordless = random.random() < self.config.unconditional
            read, there = (part[0] for part in self.empty) if wordless else (shard["states"][row], shard["mask"][row])
            states[index, :len(read)], mask[index, :len(there)] = read, there
        # Of few lengths, so that what allocates finds again what it gave back: else memory grows without end.
        longest = -(-int(mask.sum(1).max()) // 16) * 16
        return pictures, (states[:, :longest], mask[:, :longest])

    def grow(self, count):
        """Has `count` shards at least. Processes make one each at a time, that none waits for another's."""
        while len(self.shards) < count:
            self.draw(len(self.shards) + self.others.rank)
            self.others.meet()
            for _ in range(self.others.count):
                self.shards.append(load_file(self.path(len(self.shards))))

    def path(self, number):
        return self.folder / f"{number:04}.safetensors"

    def draw(self, number):
        path = self.path(number)
        if not path.is_file():
            pictures, (states, mask) = self.make(*self.batches[number])
            kept = {"pictures": ((pictures + 1) * 127.5).round().to(torch.uint8), "states": states.half(), "mask": mask}
            save_file(kept, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
