"""The judge: a detector trained on the drawings alone, never on what doodle made, that says what is in a picture and where.

For each cell of a 16×16 grid it gives how sure it is that a thing's middle lies there, which thing and which colour
(objects as points, https://arxiv.org/abs/1904.07850). It has seen all combinations, the held-out ones too.

    python models/doodle/judge.py --config small --minutes 10
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

import colours
from batches import Batches, Drawings
from compose import Canvas
from config import CONFIGS
from text import Tokens
from turns import Turns

HERE = Path(__file__).parent
GRID, SURE = 16, 0.35
STARTED = time.monotonic()
LOGGED_EVERY, RATE = 50, 2e-3


def step(inner, outer, stride=1):
    return nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(step(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        return F.relu(x + self.inner(x))


class Judge(nn.Module):
    """(heat, things, colours) on the grid, as logits, for pictures (n, 3, size, size) from -1 to 1; size is 16·2ⁿ."""

    def __init__(self, size, things, width=64):
        super().__init__()
        shrinking, inner, at = [step(3, 32, 2)], 32, size // 2
        while at > GRID:
            at, shrinking = at // 2, shrinking + [step(inner, width, 2)]
            inner = width
        self.enter = nn.Sequential(*shrinking, step(inner, width), Residual(width))
        self.wide = nn.Sequential(step(width, 2 * width, 2), Residual(2 * width))
        self.wider = nn.Sequential(step(2 * width, 3 * width, 2), Residual(3 * width), Residual(3 * width))
        self.back1, self.back2 = nn.Conv2d(3 * width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)
        self.mix1, self.mix2 = Residual(2 * width), nn.Sequential(Residual(width), step(width, 3 * width))
        self.heat, self.things = nn.Conv2d(3 * width, 1, 1), nn.Conv2d(3 * width, things, 1)
        self.colours = nn.Conv2d(3 * width, colours.NATURAL + 1, 1)
        nn.init.constant_(self.heat.bias, -3.0)

    def forward(self, x):
        fine = self.enter(x)
        middle = self.wide(fine)
        coarse = self.wider(middle)
        middle = self.mix1(middle + F.interpolate(self.back1(coarse), scale_factor=2))
        fine = self.mix2(fine + F.interpolate(self.back2(middle), scale_factor=2))
        return self.heat(fine)[:, 0], self.things(fine), self.colours(fine)


def loss(judge, picture, layers, what):
    """Focal loss for the middles and cross-entropy for what is there."""
    heat, things, tints = judge(picture)
    rows, slots = (what[..., 0] >= 0).nonzero(as_tuple=True)
    at = (layers[rows, slots, :2] * GRID).clamp(0, GRID - 0.01)
    across, down = at[:, 0].long(), at[:, 1].long()
    cells = torch.arange(GRID, device=picture.device) + 0.5
    near = torch.exp(-((cells[None, None] - at[:, 0, None, None]) ** 2 + (cells[None, :, None] - at[:, 1, None, None]) ** 2) / 1.2)
    target = torch.zeros_like(heat).index_reduce_(0, rows, near, "amax")
    target[rows, down, across] = 1
    sure = heat.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = target == 1
    focal = -torch.where(hit, (1 - sure) ** 2 * sure.log(), (1 - target) ** 4 * sure ** 2 * (1 - sure).log()).sum() / len(rows)
    named = F.cross_entropy(things[rows, :, down, across], what[rows, slots, 0])
    return focal + named + F.cross_entropy(tints[rows, :, down, across], what[rows, slots, 1])


@torch.no_grad()
def seen(judge, pictures):
    """For each picture what the judge sees: a list of (thing, colour, x, y), surest first; x and y from 0 to 1. Of colours the nearest
    that has a name: a strawberry as they grow is a red one."""
    heat, things, tints = judge(pictures)
    heat = heat.sigmoid()
    peaks = (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat > SURE)
    things, tints, found = things.argmax(1).cpu(), tints[:, :colours.NATURAL].argmax(1).cpu(), []
    for row, each in enumerate(heat.cpu()):
        middles = sorted(peaks[row].nonzero().tolist(), key=lambda at: -each[at[0], at[1]])
        found.append([(things[row, y, x].item(), tints[row, y, x].item(), (x + 0.5) / GRID, (y + 0.5) / GRID) for y, x in middles])
    return found


def worn(picture, generator):
    """The picture a little blurred and noisy, as a network's pictures are."""
    share = torch.rand(len(picture), 3, generator=generator, device=picture.device)[..., None, None, None]
    soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = picture + share[:, 0] * (share[:, 1] < 0.5) * (soft - picture)
    return picture + 0.15 * share[:, 2] ** 2 * torch.randn(picture.shape, generator=generator, device=picture.device)


def save(path, judge, size, things):
    save_file({key: value.detach().cpu().contiguous() for key, value in judge.state_dict().items()}, path,
              metadata={"size": str(size), "things": json.dumps(things)})


def read(path, device):
    """The judge from a file of `save`."""
    if not Path(path).is_file():
        raise SystemExit(f"doodle: there is no judge at {path}; train it with models/doodle/judge.py")
    with safe_open(path, "pt") as file:
        header, state = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    judge = Judge(int(header["size"]), len(json.loads(header["things"])))
    judge.load_state_dict(state)
    return judge.requires_grad_(False).eval().to(device)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=CONFIGS, default="large")
    parser.add_argument("--data", type=Path, default=HERE / "data/prepared")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=256 if torch.cuda.is_available() else 32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=12 if torch.cuda.is_available() else 0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--lock", type=Path, action="append", default=[])
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    train(given, dataclasses.replace(CONFIGS[given.config], batch=given.batch))


def train(given, config):
    """Trains a judge for the given minutes, the rate falling to nothing with them, and writes it."""
    device, folder = torch.device(given.device), given.run or HERE / "runs" / given.config
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(given.seed)
    drawings = Drawings(given.data, config)
    canvas = Canvas(drawings.sprites, drawings.scenery, config.shape.size, device)
    names = [thing["name"] for thing in drawings.things]
    judge = Judge(config.shape.size, len(names)).to(device)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=0.02)
    batches = Batches(drawings, Tokens(), config, f"judge {given.seed}", kind="any")
    generator, turns, losses = torch.Generator(device).manual_seed(given.seed), Turns(given.lock), []
    for number, (arrays, _, _) in enumerate(DataLoader(batches, batch_size=None, sampler=range(10 ** 9), num_workers=given.workers)):
        spent = (time.monotonic() - STARTED) / 60 / given.minutes
        if spent >= 1:
            break
        with turns.step():
            picture = worn(canvas(arrays), generator)
            layers, what = (torch.as_tensor(arrays[key]).to(device) for key in ("layers", "what"))
            found = loss(judge, picture, layers, what)
            optimiser.param_groups[0]["lr"] = RATE * min(1, (number + 1) / 100) * (1 - spent)
            optimiser.zero_grad(set_to_none=True)
            found.backward()
            optimiser.step()
        losses.append(found.detach())
        if len(losses) == LOGGED_EVERY:
            print(f"{number + 1},{spent * given.minutes:.2f},{torch.stack(losses).mean().item():.4f}", flush=True)
            losses = []
            save(folder / "judge.safetensors", judge, config.shape.size, names)
    save(folder / "judge.safetensors", judge, config.shape.size, names)


if __name__ == "__main__":
    main()
