"""A ComfyUI node that needs no weights: what `server.rs` plays, on the real server.

Put it into the server's custom_nodes, start the server, and run
`RIFF_COMFYUI=http://127.0.0.1:8188 cargo test -p riff-worker --test conformance comfyui_workflow`.
"""

import time

import torch
from PIL import Image

import comfy.model_management
import comfy.utils


class RiffPainter:
    @classmethod
    def INPUT_TYPES(cls):
        side = {"default": 64, "min": 16, "max": 16384, "step": 8}
        return {
            "required": {
                "prompt": ("STRING", {"multiline": True}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1}),
                "steps": ("INT", {"default": 4, "min": 1, "max": 100}),
                "pause": ("FLOAT", {"default": 0.0, "min": 0.0, "max": float("inf")}),
                "width": ("INT", side),
                "height": ("INT", side),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            },
            "optional": {"image": ("IMAGE",), "mask": ("MASK",)},
        }

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "paint"
    CATEGORY = "riff"

    def paint(self, prompt, seed, steps, pause, width, height, batch_size, image=None, mask=None):
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(pause)
            preview = Image.new("RGB", (96, 96), (255 * step // steps, 9, 9))
            bar.update_absolute(step + 1, steps, ("JPEG", preview, 96))
        if "out of memory" in prompt:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if "fail" in prompt:
            raise ValueError("the painter fell asleep")
        if image is not None:
            return (image,)
        noise = torch.Generator().manual_seed(seed)
        return (torch.rand((batch_size, height, width, 3), generator=noise),)


NODE_CLASS_MAPPINGS = {"RiffPainter": RiffPainter}
