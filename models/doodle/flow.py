"""Rectified flow: how the network learns to turn noise into pictures, and how it draws.

Pictures lie at time 1, noise at 0, and between them straight lines (https://arxiv.org/abs/2209.03003); times are drawn from a
logit-normal (https://arxiv.org/abs/2403.03206). A second stage teaches few steps without a second evaluation for guidance
(https://arxiv.org/abs/2210.03142): one step goes where two of the first stage's went (https://arxiv.org/abs/2202.00512).
"""

import torch

# Pixels side by side are alike, so that most is decided at high noise: times lean towards it (`lean` of config.py).
SPREAD = 1.0
# The steps of the second stage, and the strongest guidance that it learns.
STEPS, STRONGEST = 8, 4.0


def times(count, generator, device, lean):
    return torch.sigmoid(torch.randn(count, generator=generator, device=device) * SPREAD + lean)


def wide(value):
    return value[:, None, None, None]


def flow_chances(picture, generator, lean):
    """What is left to chance in `flow_loss`: (noise, time)."""
    noise = torch.randn(picture.shape, generator=generator, device=picture.device)
    return noise, times(len(picture), generator, picture.device, lean)


def flow_loss(model, picture, text, noise, time):
    """The mean squared error of the velocity on the lines from noise to pictures. `text` is (states, mask)."""
    x = wide(1 - time) * noise + wide(time) * picture
    found = model(x, time, torch.zeros_like(time), torch.ones_like(time), *text)
    return (found.float() - (picture - noise)).square().mean()


def distil_chances(picture, generator):
    """What is left to chance in `distil_loss`: (noise, time, guidance)."""
    count, device = len(picture), picture.device
    noise = torch.randn(picture.shape, generator=generator, device=device)
    time = torch.randint(STEPS, (count,), generator=generator, device=device) / STEPS
    return noise, time, 1 + (STRONGEST - 1) * torch.rand(count, generator=generator, device=device)


def distil_loss(model, teacher, picture, text, empty, noise, time, guidance):
    """The mean squared error of where the lines from noise to pictures end, if one step of the network's is to go where two of the
    teacher's, guided, go."""
    x, step = wide(1 - time) * noise + wide(time) * picture, torch.full_like(time, 1 / STEPS)
    with torch.no_grad():
        first = guided(teacher, x, time, guidance, text, empty)
        half = step / 2
        second = guided(teacher, x + wide(half) * first, time + half, guidance, text, empty)
    found = model(x, time, step, guidance, *text)
    # Of velocities, those near the end would count a hundred times as much as the rest.
    return (wide(1 - time) * (found.float() - (first + second) / 2)).square().mean()


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
