"""Rectified flow: how the network learns to turn noise into pictures, and how it draws.

Pictures lie at time 1, noise at 0, and between them straight lines (https://arxiv.org/abs/2209.03003); times are drawn from a
logit-normal (https://arxiv.org/abs/2403.03206). A second stage teaches few steps without a second evaluation for guidance: the
network learns the guided velocity (https://arxiv.org/abs/2210.03142) and that one long step ends where two short ones
do (shortcut models, https://arxiv.org/abs/2410.12557).
"""

import torch

# Pixels side by side are alike, so that most is decided at high noise: times lean towards it (`lean` of config.py).
SPREAD = 1.0
# The strongest guidance that the second stage learns, and the shortest step but nothing.
STRONGEST, SHORTEST = 6.0, 1 / 16
LENGTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


def times(count, generator, device, lean):
    return torch.sigmoid(torch.randn(count, generator=generator, device=device) * SPREAD + lean)


def wide(value):
    return value[:, None, None, None]


def flow_loss(model, picture, text, generator, lean):
    """The mean squared error of the velocity on the lines from noise to pictures. `text` is (states, mask)."""
    noise = torch.randn(picture.shape, generator=generator, device=picture.device)
    time = times(len(picture), generator, picture.device, lean)
    x = wide(1 - time) * noise + wide(time) * picture
    found = model(x, time, torch.zeros_like(time), torch.ones_like(time), *text)
    return (found.float() - (picture - noise)).square().mean()


def distil_loss(model, averaged, teacher, picture, text, empty, generator, lean):
    """Half of the batch learns the teacher's guided velocity, half that one step equals two of the averaged model's."""
    count, device = len(picture), picture.device
    noise = torch.randn(picture.shape, generator=generator, device=device)
    guidance = 1 + (STRONGEST - 1) * torch.rand(count, generator=generator, device=device)
    time, half = times(count, generator, device, lean), count // 2
    step = torch.zeros_like(time)
    kinds = torch.randint(len(LENGTHS), (count - half,), generator=generator, device=device)
    step[half:] = torch.tensor(LENGTHS, device=device)[kinds]
    time[half:] = starts(step[half:], generator)
    x = wide(1 - time) * noise + wide(time) * picture
    with torch.no_grad():
        base = guided(teacher, x[:half], time[:half], guidance[:half], [part[:half] for part in text], empty)
        rest = [part[half:] for part in text]
        leap = two(averaged, x[half:], time[half:], step[half:], guidance[half:], rest)
    found = model(x, time, step, guidance, *text)
    return (found.float() - torch.cat([base, leap])).square().mean()


def starts(step, generator):
    """For each step length d a multiple of d below 1, all as likely."""
    at = torch.rand(len(step), generator=generator, device=step.device)
    return (at / step).floor() * step


def two(model, x, time, step, guidance, text):
    """The mean velocity of two steps, each half as long."""
    half = step / 2
    shorter = torch.where(half < SHORTEST, torch.zeros_like(half), half)
    first = model(x, time, shorter, guidance, *text).float()
    second = model(x + wide(half) * first, time + half, shorter, guidance, *text).float()
    return (first + second) / 2


def guided(model, x, time, guidance, text, empty):
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598): away from what no words at all would give."""
    states, mask = text
    blank, blank_mask = stretched(empty, len(x), states.shape[1])
    zero, one = torch.zeros_like(time), torch.ones_like(time)
    both = model(torch.cat([x, x]), torch.cat([time, time]), torch.cat([zero, zero]), torch.cat([one, one]),
                 torch.cat([states, blank]), torch.cat([mask, blank_mask])).float()
    with_words, without = both.chunk(2)
    return without + wide(guidance) * (with_words - without)


def stretched(empty, count, tokens):
    """The states and mask of the empty prompt for `count` pictures, as long as `tokens`."""
    states, mask = empty
    out = states.new_zeros(count, tokens, states.shape[2])
    out[:, :states.shape[1]] = states
    long = mask.new_zeros(count, tokens)
    long[:, :mask.shape[1]] = mask
    return out, long


@torch.no_grad()
def sample(model, noise, text, empty, steps, guidance, distilled):
    """Pictures (n, 3, size, size) from -1 to 1, from noise of the same shape in `steps` steps of Euler's method."""
    x, strength = noise, torch.full((len(noise),), float(guidance), device=noise.device)
    step = torch.full_like(strength, 1 / steps)
    for index in range(steps):
        time = torch.full_like(strength, index / steps)
        if distilled:
            velocity = model(x, time, step, strength, *text).float()
        elif guidance == 1:
            velocity = model(x, time, torch.zeros_like(time), strength, *text).float()
        else:
            velocity = guided(model, x, time, strength, text, empty)
        x = x + velocity / steps
    return x.clamp(-1, 1)
