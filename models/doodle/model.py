"""The network: a U-Net that sees a noisy picture, a time and the words, and says which way the picture goes.

Made of operations that every framework has: 3×3 and 1×1 convolutions, layer norm over channels, SiLU, linear layers,
attention, nearest upsampling. With `tile` set its convolutions wrap around, and so do its pictures.
Sources: https://arxiv.org/abs/2006.11239 (U-Net), https://arxiv.org/abs/2301.11093 (pictures in patches, most work at 16×16).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Sinusoids for each of time, step and guidance.
FREQUENCIES = 64
# A network that predicts the picture says the velocity (https://arxiv.org/abs/2511.13720), as if at least so far from the end of the way.
CLOSEST = 0.05


class Conv(nn.Conv2d):
    """A convolution with odd kernel that keeps the size (or halves it), and wraps around when `tile` is set."""

    tile = False

    def __init__(self, inner, outer, kernel=3, stride=1):
        super().__init__(inner, outer, kernel, stride=stride, padding=kernel // 2, bias=False)

    def forward(self, x):
        if not self.tile or self.padding[0] == 0:
            return super().forward(x)
        edge = self.padding[0]
        return F.conv2d(F.pad(x, (edge,) * 4, mode="circular"), self.weight, None, self.stride)


def silent(layer):
    """The layer giving zeros until it has learnt otherwise."""
    nn.init.zeros_(layer.weight)
    return layer


def matrix(inner, outer):
    """A linear layer without a bias: to sum one's gradients takes a GPU longer than the product."""
    return nn.Linear(inner, outer, bias=False)


def even(x):
    """Each place's channels (n, channels, height, width) with mean 0 and deviation 1, in the precision of `x`, which autocast
    would widen. Without weights of its own: what follows scales. Where channels lie last in memory nothing is copied."""
    with torch.autocast(x.device.type, enabled=False):
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


def level(x):
    """As `even` for tokens (n, tokens, width)."""
    with torch.autocast(x.device.type, enabled=False):
        return F.layer_norm(x, x.shape[-1:])


class Block(nn.Module):
    """Two convolutions beside a shortcut; time and text scale and shift what lies between them."""

    def __init__(self, inner, outer, embedding):
        super().__init__()
        self.conv1, self.conv2 = Conv(inner, outer), silent(Conv(outer, outer))
        self.modulation = nn.Linear(embedding, 2 * outer)
        self.shortcut = Conv(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x, embedding):
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        out = self.conv1(F.silu(even(x)))
        return self.shortcut(x) + self.conv2(F.silu(even(out) * (1 + scale) + shift))


def attended(query, key, value, mask):
    """What torch has for this learns at a third of the pace on a CPU, where queries are few."""
    if query.is_cuda or not query.requires_grad:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        weights = weights.masked_fill(~mask, -1e4)
    return weights.softmax(-1).to(value.dtype) @ value


class Attention(nn.Module):
    """Of `queries` (n, i, width) to `context` (n, j, width2), masked by (n, j) where given."""

    def __init__(self, width, context, head):
        super().__init__()
        self.heads = width // head
        self.query, self.key, self.value = matrix(width, width), matrix(context, width), matrix(context, width)
        self.out = silent(matrix(width, width))

    def forward(self, queries, context, mask=None):
        parts = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                 for part in (self.query(queries), self.key(context), self.value(context)))
        mixed = attended(*parts, None if mask is None else mask[:, None, None])
        return self.out(mixed.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Attention of places to each other and to the words, and a small network for each place."""

    def __init__(self, width, head, text):
        super().__init__()
        self.attend, self.read = Attention(width, width, head), Attention(width, text, head)
        self.up, self.down = matrix(width, 3 * width), silent(matrix(3 * width, width))

    def forward(self, x, text, mask):
        flat = x.flatten(2).transpose(1, 2)
        own = level(flat)
        flat = flat + self.attend(own, own)
        flat = flat + self.read(level(flat), text, mask)
        flat = flat + self.down(F.silu(self.up(level(flat))))
        return flat.transpose(1, 2).unflatten(2, x.shape[2:])


class Words(nn.Module):
    """Lets the encoder's token states be fitted to pictures: a few layers of attention among the tokens."""

    def __init__(self, width, count, head):
        super().__init__()
        self.enter = nn.Linear(width, width)
        self.blocks = nn.ModuleList(nn.ModuleDict({
            "attend": Attention(width, width, head), "up": matrix(width, 2 * width), "down": silent(matrix(2 * width, width)),
        }) for _ in range(count))

    def forward(self, text, mask):
        text = self.enter(text)
        for block in self.blocks:
            own = level(text)
            text = text + block["attend"](own, own, mask)
            text = text + block["down"](F.silu(block["up"](level(text))))
        return level(text)


class Level(nn.Module):
    """A block and, where the level attends, a transformer behind it."""

    def __init__(self, inner, outer, shape, attends):
        super().__init__()
        self.block = Block(inner, outer, shape.embedding)
        self.transformer = Transformer(outer, shape.head, shape.text) if attends else None

    def forward(self, x, embedding, text, mask):
        x = self.block(x, embedding)
        return x if self.transformer is None else self.transformer(x, text, mask)


class Doodle(nn.Module):
    """Velocity (n, 3, size, size) from noise towards the picture.

    `x` (n, 3, size, size); `time` (n,) from 0, noise, to 1, the picture; `step` (n,) how far the next step goes, 0 for the
    velocity here; `guidance` (n,), 1 for none; `text` (n, tokens, width) with its `mask` (n, tokens), True for tokens.
    """

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        pixels, width = 3 * shape.patch ** 2, shape.embedding
        self.words = Words(shape.text, shape.text_blocks, 64)
        self.pooled = nn.Linear(shape.text, width)
        self.embed = nn.Sequential(nn.Linear(6 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.enter = Conv(pixels, shape.channels[0])
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        inner, skips = shape.channels[0], []
        for depth, outer in enumerate(shape.channels):
            level = nn.ModuleList()
            for _ in range(shape.blocks[depth]):
                level.append(Level(inner, outer, shape, depth >= shape.attends))
                inner = outer
            skips.append([outer] * shape.blocks[depth])
            self.down.append(level)
            if depth + 1 < len(shape.channels):
                self.shrink.append(Conv(inner, inner, stride=2))
        self.middle = Level(inner, inner, shape, True)
        for depth in reversed(range(len(shape.channels))):
            outer, level = shape.channels[depth], nn.ModuleList()
            for skip in skips[depth]:
                level.append(Level(inner + skip, outer, shape, depth >= shape.attends))
                inner = outer
            self.up.append(level)
            if depth:
                self.grow.append(Conv(inner, shape.channels[depth - 1]))
                inner = shape.channels[depth - 1]
        self.leave = silent(Conv(inner, pixels))

    def forward(self, x, time, step, guidance, text, mask):
        text = self.words(text, mask)
        weight = mask[..., None].to(text.dtype)
        pooled = (text * weight).sum(1) / weight.sum(1)
        waves = torch.cat([sinusoids(time), sinusoids(step), sinusoids(guidance / 10)], 1)
        embedding = F.silu(self.embed(waves) + self.pooled(pooled))
        noisy, x = x, self.enter(F.pixel_unshuffle(x, self.shape.patch))
        skips = []
        for depth, level in enumerate(self.down):
            for part in level:
                x = part(x, embedding, text, mask)
                skips.append(x)
            if depth < len(self.shrink):
                x = self.shrink[depth](x)
        x = self.middle(x, embedding, text, mask)
        for depth, level in enumerate(self.up):
            for part in level:
                x = part(torch.cat([x, skips.pop()], 1), embedding, text, mask)
            if depth < len(self.grow):
                x = self.grow[depth](F.interpolate(x, scale_factor=2, mode="nearest"))
        found = F.pixel_shuffle(self.leave(F.silu(even(x))), self.shape.patch)
        if self.shape.predicts == "velocity":
            return found
        return (found.float() - noisy) / (1 - time).clamp(min=CLOSEST)[:, None, None, None]

    def tile(self, wrap):
        """Lets pictures wrap around at their edges, or no longer."""
        for layer in self.modules():
            if isinstance(layer, Conv):
                layer.tile = wrap


def sinusoids(value):
    """(n,) from about 0 to 1 as waves (n, 2 × FREQUENCIES)."""
    rates = torch.exp(torch.arange(FREQUENCIES, device=value.device) * (-math.log(10000) / FREQUENCIES)) * 1000
    angles = value.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)
