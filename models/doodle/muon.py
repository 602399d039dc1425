"""Muon (https://kellerjordan.github.io/posts/muon/): a matrix moves along its gradient's momentum with all singular values brought
to about 1, so that a few thousand steps teach what AdamW takes several times as many for. Everything else is left to AdamW.
"""

import torch

# The quintic of the post: applied over and over, it draws singular values between 0 and 1 into the neighbourhood of 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS, MOMENTUM = 5, 0.95
# Scaled by this and the root of the longer side, steps are as long as AdamW's (https://arxiv.org/abs/2502.16982).
AS_ADAM = 0.2


def balanced(matrix):
    """The matrix with its singular values near 1."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    first, third, fifth = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.T
        x = first * x + (third * square + fifth * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


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
            ahead = [self.ahead(parameter).flatten(1) for parameter in parameters]
            steps = [balanced(each) if index % self.others.count == self.others.rank else torch.zeros_like(each)
                     for index, each in enumerate(ahead)]
            self.others.sum(steps)
            for parameter, step in zip(parameters, steps):
                length = group["lr"] * AS_ADAM * max(step.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step.view(parameter.shape), alpha=length)

    def ahead(self, parameter):
        """Where the gradient and its momentum point."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return torch.lerp(parameter.grad, momentum, MOMENTUM)
