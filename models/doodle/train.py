"""Trains doodle: `train.py flow` first, `train.py distil` on what that left. Needs torch, numpy, safetensors and Pillow.

    python models/doodle/train.py flow --config large --minutes 9
    python models/doodle/train.py distil --config large --minutes 9

Goes on from the checkpoint in the run's folder if there is one. On one kind of machine, a seed and a number of steps give the
same weights, however often training was stopped in between. `--minutes` counts from the start of the process to its end.
"""

import argparse
import contextlib
import copy
import dataclasses
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import checkpoint
import flow
import sheet
from batches import Batches, Drawings
from compose import Canvas
from config import CONFIGS
from model import Doodle
from muon import Muon
from pool import SHARD, Pool
from recorded import Recorded
from text import Tokens, encoder
from together import together
from turns import Turns

HERE = Path(__file__).parent
STARTED = time.monotonic()
# What writing the checkpoint, the weights and a sheet may take at the end.
RESERVE_S = {"cpu": 40, "cuda": 12}
LOGGED_EVERY = 50


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=("flow", "distil"))
    parser.add_argument("--config", choices=CONFIGS, default="large")
    parser.add_argument("--data", type=Path, default=HERE / "data/prepared", help="what prepare.py wrote")
    parser.add_argument("--pool", type=Path, help="folder of scenes drawn ahead; pool/ in the run's unless given")
    parser.add_argument("--run", type=Path, help="folder of the run; runs/CONFIG beside this file unless given")
    parser.add_argument("--weights", type=Path, help="folder for the weights; the run's unless given")
    parser.add_argument("--begin", type=Path, help="where the run has no checkpoint, begin with the weights in this folder")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop before this many minutes are over")
    parser.add_argument("--steps", type=int, default=10 ** 9, help="stop when the stage has this many steps")
    parser.add_argument("--cooling", type=float, help="share of the minutes at their end over which rates fall; the configuration's unless given")
    parser.add_argument("--every", type=float, default=10, help="minutes between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16" if torch.cuda.is_available() else "fp32")
    parser.add_argument("--workers", type=int, default=4 if torch.cuda.is_available() else 0, help="processes that make scenes")
    parser.add_argument("--threads", type=int, help="threads of torch on a CPU, in each process")
    parser.add_argument("--processes", type=int, default=1, help="processes that share each batch, where scenes are drawn ahead")
    parser.add_argument("--lock", type=Path, action="append", default=[], help="lock this file shared during each step (repeatable)")
    return parser.parse_args()


class Run:
    """One stage of training: networks, optimiser, and how far it is."""

    def __init__(self, others, given):
        self.others, self.given = others, given
        self.config, self.device = CONFIGS[given.config], torch.device(given.device)
        if given.cooling is not None:
            self.config = dataclasses.replace(self.config, cooling=given.cooling)
        self.folder = given.run or HERE / "runs" / given.config
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(given.seed)
        drawings = Drawings(given.data, self.config)
        self.tokens = Tokens()
        self.canvas = Canvas(drawings.sprites, drawings.scenery, self.config.shape.size, self.device)
        self.encoder = encoder(self.device)
        self.network = Doodle(self.config.shape).to(self.device, memory_format=torch.channels_last)
        self.step = 0
        self.begin()
        self.averaged.requires_grad_(False)
        config = self.config if given.stage == "flow" else dataclasses.replace(self.config, unconditional=0.0)
        seed = f"{given.seed} {given.stage}"
        self.batches = Batches(drawings, self.tokens, config, seed)
        self.empty = self.read(*self.tokens.batch([""], self.config.tokens))
        self.learn = Recorded(self.learnt, self.device)
        if config.reused:
            shards = Batches(drawings, self.tokens, dataclasses.replace(config, batch=SHARD, unconditional=0.0), f"{given.seed} pool")
            self.batches = Pool(given.pool or self.folder / "pool", shards, config, seed, self.made, self.empty, others)

    def begin(self):
        """Takes up the stage's checkpoint; a new stage begins with the weights of the stage before, with given ones, or at random."""
        rate = self.config.rate if self.given.stage == "flow" else self.config.distil_rate
        self.optimisers = optimisers(self.network, self.config, rate, self.device, self.others)
        state, before = self.checkpoint(self.given.stage), self.checkpoint("flow")
        if before:
            self.network.load_state_dict(before["averaged"])
        elif self.given.begin:
            weights, distilled = checkpoint.read(self.given.begin, self.given.config, self.device)
            if distilled and self.given.stage == "distil" and not state:
                raise SystemExit(f"doodle: the weights in {self.given.begin} are distilled already; give those of `train.py flow`")
            self.network.load_state_dict(weights.state_dict())
        elif self.given.stage == "distil":
            raise SystemExit(f"doodle: {self.folder} holds no checkpoint of `train.py flow`; run that first, or give weights with --begin")
        self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.averaged = copy.deepcopy(self.network)
        if state:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            for optimiser, kept in zip(self.optimisers, state["optimisers"]):
                optimiser.load_state_dict(kept)
            self.step = state["step"]

    def checkpoint(self, stage):
        return checkpoint.load(self.folder / f"{stage}.pt", self.device)

    def read(self, ids, mask):
        """The encoder's states and the mask for tokens; (n, tokens, 384) and (n, tokens)."""
        ids, mask = ids.to(self.device, non_blocking=True), mask.to(self.device, non_blocking=True)
        with torch.no_grad(), self.cast():
            return self.encoder(ids, mask).float(), mask

    def cast(self):
        return torch.autocast(self.device.type, torch.bfloat16) if self.given.precision == "bf16" else contextlib.nullcontext()

    def made(self, arrays, ids, mask):
        """The pictures of scenes and what their captions' words mean."""
        with torch.no_grad():
            return self.canvas(arrays), self.read(ids, mask)

    def advance(self, picture, text, pace):
        """One step with the rates times `pace`; its loss, still on the device."""
        generator = torch.Generator(self.device).manual_seed((self.given.seed * 1_000_003 + self.step) * self.others.count + self.others.rank)
        pace = min(pace, (self.step + 1) / self.config.warmup)
        self.step += 1
        # At first the average follows closely, else it would remember how it began.
        follows = 1 - min(self.config.decay, (1 + self.step) / (10 + self.step))
        picture = picture.to(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            text = flow.stretched(text, len(picture), self.config.tokens)
        # Filled there: a copy would wait for all that the GPU has yet to do.
        paces = [torch.full((), value, device=self.device) for value in (pace, follows)]
        if self.given.stage == "flow":
            chances = flow.flow_chances(picture, generator, self.config.lean)
        else:
            chances = flow.distil_chances(picture, generator)
        return self.learn(*paces, picture, *text, *chances)

    def learnt(self, pace, follows, picture, states, mask, *chances):
        """The step itself. Rates are multiplied with `pace`, and the average goes the share `follows` of its way."""
        with self.cast():
            if self.given.stage == "flow":
                loss = flow.flow_loss(self.network, picture, (states, mask), *chances)
            else:
                loss = flow.distil_loss(self.network, self.teacher, picture, (states, mask), self.empty, *chances)
        loss.backward()
        self.others.mean([parameter.grad for parameter in self.network.parameters() if parameter.grad is not None])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["full"] * pace
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            away = torch._foreach_sub(list(self.network.parameters()), list(self.averaged.parameters()))
            torch._foreach_mul_(away, follows)
            torch._foreach_add_(list(self.averaged.parameters()), away)
        return loss.detach()

    def save(self):
        """Writes checkpoint, weights and sheet."""
        state = {"network": self.network.state_dict(), "averaged": self.averaged.state_dict(),
                 "optimisers": [optimiser.state_dict() for optimiser in self.optimisers], "step": self.step}
        checkpoint.save(self.folder / f"{self.given.stage}.pt", state)
        weights = self.given.weights or self.folder
        checkpoint.export(weights, self.given.config, self.averaged, self.step, self.given.stage, self.config.things if self.config.easy else ())
        prompts = sheet.EASY_PROMPTS if self.config.easy else sheet.PROMPTS
        # With more than 1 / model.CLOSEST steps, a network that predicts the picture would not arrive.
        pictures = self.drawn(prompts, steps=8 if self.given.stage == "distil" else 20, guidance=3.0)
        sheet.write(weights / f"{self.given.config}-{self.given.stage}.webp", pictures, prompts)

    def drawn(self, prompts, steps, guidance):
        """A picture for each prompt, always from the same noise."""
        size = self.config.shape.size
        noise = torch.randn(len(prompts), 3, size, size, generator=torch.Generator().manual_seed(7)).to(self.device)
        text = self.read(*self.tokens.batch(prompts, self.config.tokens))
        with self.cast():
            return flow.sample(self.averaged, noise, text, self.empty, steps, guidance, self.given.stage == "distil")


def optimisers(network, config, rate, device, others):
    """AdamW, or with `config.muon` Muon for the matrices within the network and AdamW for the rest; `rate` is AdamW's, and Muon's goes
    along with it. `full` is what rates go up to."""
    inner = [name for name, parameter in network.named_parameters()
             if config.muon and parameter.dim() > 1 and name.split(".")[0] not in ("enter", "leave", "embed", "pooled")]
    chosen = {True: [], False: []}
    for name, parameter in network.named_parameters():
        chosen[name in inner].append(parameter)
    found = [torch.optim.AdamW([{"params": chosen[False], "full": rate}], lr=rate, weight_decay=config.weight_decay,
                               betas=(0.9, 0.98), fused=device.type == "cuda", capturable=device.type == "cuda")]
    if inner:
        rate = config.muon * rate / config.rate
        found.append(Muon([{"params": chosen[True], "full": rate}], lr=rate, weight_decay=config.weight_decay, others=others))
    return found


def main():
    given = arguments()
    if given.processes > 1 and not CONFIGS[given.config].reused:
        raise SystemExit(f"doodle: --processes is for configurations whose scenes are drawn ahead, which {given.config}'s are not; leave it out")
    together(given.processes, train, given)


def train(others, given):
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    # PyTorch's own kernels for attention; what cuDNN has may plan anew within a recording.
    torch.backends.cuda.enable_cudnn_sdp(False)
    run, turns = Run(others, given), Turns(given.lock)
    loader = DataLoader(run.batches, batch_size=None, sampler=range(run.step, given.steps), num_workers=0 if run.config.reused else given.workers,
                        pin_memory=run.device.type == "cuda")
    log, saved = Log(run.folder / f"{given.stage}.csv", others.first), time.monotonic()
    until = STARTED + given.minutes * 60 - RESERVE_S[run.device.type]
    for batch in loader:
        (left,) = others.agreed((until - time.monotonic()) / 60)
        pace = min(1.0, max(left, 0.0) / (run.config.cooling * given.minutes)) if run.config.cooling else 1.0
        with turns.step():
            picture, text = batch if run.config.reused else run.made(*batch)
            log.add(run.advance(picture, text, pace), run.step, run.config.batch)
        if left <= 0:
            break
        if others.first and time.monotonic() - saved > given.every * 60:
            with turns.step():
                run.save()
            saved = time.monotonic()
    if others.first:
        run.save()


class Log:
    """The loss, its mean over LOGGED_EVERY steps at a time, on standard output and in a file of comma-separated values."""

    def __init__(self, path, writes):
        self.path, self.writes, self.losses, self.since = path, writes, [], time.monotonic()
        if writes and not path.exists():
            path.write_text("step,minutes,loss,pictures_per_second\n")

    def add(self, loss, step, pictures):
        self.losses.append(loss)
        if step % LOGGED_EVERY or not self.writes:
            return
        mean, now = torch.stack(self.losses).mean().item(), time.monotonic()
        line = f"{step},{(now - STARTED) / 60:.2f},{mean:.5f},{len(self.losses) * pictures / (now - self.since):.1f}"
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")
        self.losses, self.since = [], now


if __name__ == "__main__":
    main()
