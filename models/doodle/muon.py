"""Muon (https://kellerjordan.github.io/posts/muon/): a matrix moves along its gradient's momentum with all singular values brought
to about 1, so that a few thousand steps teach what AdamW takes several times as many for. Everything else is left to AdamW.
"""

import torch

# The quintic of the post: applied over and over, it draws singular values between 0 and 1 into the neighbourhood of 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS, MOMENTUM = 5, 0.95
# Scaled by this and the root of the longer side, steps are as long as AdamW's (https://arxiv.org/abs/2502.16982).
AS_ADAM = 0.2


def balanced(matrices):
    """Matrices (n, rows, columns), each with its singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    first, third, fifth = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """For parameters of two or more dimensions; a convolution counts as the matrix of its rows. Of `others`, each process works out
    the steps of its share of the parameters."""

    def __init__(self, parameters, lr, weight_decay, others):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self.others = others

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            steps = [self.ahead(parameter).flatten(1) for parameter in parameters]
            self.balance(steps)
            self.others.sum(steps)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for parameter, step in zip(parameters, steps):
                parameter.sub_(step.view(parameter.shape) * (group["lr"] * AS_ADAM * max(step.shape) ** 0.5))

    def balance(self, steps):
        """Balances this process's share of them, those of one shape at once, and puts zeros in place of the rest."""
        alike = {}
        for index, step in enumerate(steps):
            if index % self.others.count == self.others.rank:
                alike.setdefault(step.shape, []).append(index)
            else:
                steps[index] = torch.zeros_like(step)
        for some in alike.values():
            for index, step in zip(some, balanced(torch.stack([steps[index] for index in some]))):
                steps[index] = step

    def ahead(self, parameter):
        """Where the gradient and its momentum point."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return torch.lerp(parameter.grad, momentum, MOMENTUM)
