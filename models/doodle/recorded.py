"""Work recorded as a CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs): a step launches thousands of
kernels, and to launch them one by one takes a processor longer than a GPU takes to run them."""

import torch

# What libraries set up when first called must not be recorded, nor what they try out to find the fastest.
PLAIN_CALLS = 3


class Recorded:
    """`work` takes tensors, always of the same shapes, and returns one. On a GPU it is called a few times, then recorded and
    replayed; elsewhere it is called."""

    def __init__(self, work, device):
        self.work, self.device, self.calls, self.graph = work, device, 0, None

    def __call__(self, *given):
        if self.device.type != "cuda":
            return self.work(*given)
        self.calls += 1
        if self.calls <= PLAIN_CALLS:
            return beside(self.work, given)
        if self.graph is None:
            self.record(given)
        for kept, each in zip(self.given, given):
            kept.copy_(each)
        self.graph.replay()
        return self.found.clone()

    def record(self, given):
        self.given, self.graph = [each.clone() for each in given], torch.cuda.CUDAGraph()
        # Other threads (of the loader, which pins memory) go on calling CUDA meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.found = self.work(*self.given)


def beside(work, given):
    """Calls on a stream of its own, as PyTorch asks of calls before a recording."""
    stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        found = work(*given)
    current.wait_stream(stream)
    return found
