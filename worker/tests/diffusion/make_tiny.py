"""Makes the tiny checkpoints in tiny/ and what diffusers computes with them, which the engine `diffusion` is held to.

The checkpoints have the architecture of Stable Diffusion 1.5, 2.1, XL and 1.5 for inpainting, a few channels wide, with
random weights in half precision; the references are computed from those halves in single precision on the CPU. The
files are in the repository, so that the tests need neither this script nor torch. To make them again:

    python3.11 -m venv /tmp/tiny
    /tmp/tiny/bin/pip install torch==2.2.2 numpy==1.26.4 diffusers==0.31.0 transformers==4.46.3 tokenizers==0.20.3 \
        huggingface_hub==0.26.5 safetensors==0.4.5 peft==0.13.2 accelerate==1.1.1 scipy==1.13.1
    /tmp/tiny/bin/python worker/tests/diffusion/make_tiny.py

Encoders give the mean of their distribution instead of a draw from it, as the engine does, and every noise that a
scheduler draws is written down beside the results.
"""

import json
import math
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler, HeunDiscreteScheduler, LCMScheduler, LMSDiscreteScheduler, PNDMScheduler,
    StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline, UNet2DConditionModel, UniPCMultistepScheduler,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.schedulers import scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete, scheduling_lcm
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

HERE = Path(__file__).parent / "tiny"
MERGES = ["f o", "fo x</w>", "c a", "ca t</w>", "t h", "th e</w>", "i n", "in g</w>", "s e", "se a</w>", "r e", "re d</w>"]
# Without "!": transformers takes it for padding wherever it stands in a prompt for 2.1 or XL, unlike in their training.
PROMPT, NEGATIVE = "The red fox, dancing at 12 o'clock in a café?", "grey sea"
# Rows and columns of the latents; odd halves show whether skips of uneven sizes fit.
ROWS, COLUMNS, STEPS = 12, 10, 5
SAMPLERS = {
    # The published configurations say so; the ones made here are of schedulers that do not know the key.
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2m_sde_karras": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    "lms": (LMSDiscreteScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
}
ORDINARY = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mean
# What the scheduler of the run in hand draws, and how many of them it has drawn.
drawn = {"noises": [], "count": 0}


def noise(*shape):
    return torch.randn(*shape)


def next_noise(shape, generator=None, device=None, dtype=None, layout=None):
    drawn["count"] += 1
    return drawn["noises"][drawn["count"] - 1]


for scheduler in (scheduling_dpmsolver_multistep, scheduling_euler_ancestral_discrete, scheduling_lcm):
    scheduler.randn_tensor = next_noise


def randomise(model):
    """Weights that keep the size of what passes, and norms and biases that are no identities; then halves."""
    for name, p in model.named_parameters():
        if "embedding" in name and p.dim() == 2 and "linear" not in name:
            p.data = 0.7 * torch.randn(p.shape)
        elif p.dim() > 1:
            p.data = torch.randn(p.shape) / math.sqrt(p[0].numel())
        elif name.endswith("weight"):
            p.data = 1 + 0.1 * torch.randn(p.shape)
        else:
            p.data = 0.05 * torch.randn(p.shape)
        p.data = p.data.half().float()
    return model.eval()


def tokenizer(folder, pad):
    characters = list(bytes_to_unicode().values())
    vocab = characters + [c + "</w>" for c in characters] + [m.replace(" ", "") for m in MERGES]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocab)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    made = CLIPTokenizer(folder / "vocab.json", folder / "merges.txt", pad_token=pad, model_max_length=77)
    return made, len(vocab)


def text_encoder(kind, vocab, hidden, act, layers=2):
    config = CLIPTextConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=2, hidden_act=act, projection_dim=hidden, bos_token_id=vocab - 2, eos_token_id=vocab - 1,
    )
    return randomise(kind(config))


def unet(cross, **more):
    config = dict(
        sample_size=8, block_out_channels=(4, 8, 8), layers_per_block=1, norm_num_groups=2, cross_attention_dim=cross,
        attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    return randomise(UNet2DConditionModel(**{**config, **more}))


def vae(scaling):
    blocks = 4
    return randomise(AutoencoderKL(
        block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=4, scaling_factor=scaling,
        sample_size=64, down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks,
    ))


def save(pipe, name):
    folder = HERE / name
    half = pipe.to(torch.float16)
    half.save_pretrained(folder, safe_serialization=True)
    pipe.to(torch.float32)
    reread(pipe, folder)
    return folder


def reread(pipe, folder):
    """Takes the scheduler as it is in the folder, which has keys that are defaults until then."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    pipe.scheduler = type(pipe.scheduler).from_config(config)


def old_attention_names(folder):
    """The autoencoder of Stable Diffusion 1.5 is published with the names that attention had before."""
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    for new, old in names.items():
        for key in [key for key in tensors if f"attentions.0.{new}." in key]:
            tensors[key.replace(new, old)] = tensors.pop(key)
    save_file(tensors, file)


def picture():
    y, x = torch.meshgrid(torch.arange(8 * ROWS), torch.arange(8 * COLUMNS), indexing="ij")
    return torch.stack([(x * 3) % 256, (y * 2) % 256, (x * y) % 251]).to(torch.uint8)


def square():
    mask = torch.zeros(1, 1, 8 * ROWS, 8 * COLUMNS)
    mask[:, :, 16:64, 24:56] = 1
    return mask


class Sheet(dict):
    """References of one checkpoint by name."""

    def __init__(self):
        super().__init__(noise=noise(1, 4, ROWS, COLUMNS))
        self.update({f"step.{i}": noise(1, 4, ROWS, COLUMNS) for i in range(STEPS)})

    def latents(self, name, pipe, sampler, arguments, **config):
        kind, more = SAMPLERS[sampler]
        before = pipe.scheduler
        # Keys that the checkpoint does not have are each scheduler's own default.
        known = {k: v for k, v in before.config.items() if k not in before.config.get("_use_default_values", [])}
        pipe.scheduler = kind.from_config({**known, "_use_default_values": [], **config}, **more)
        drawn.update(noises=[self[f"step.{i}"] for i in range(STEPS)], count=0)
        run = dict(prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=6.0, num_inference_steps=STEPS)
        self[name] = pipe(**{**run, **arguments}, output_type="latent").images
        pipe.scheduler = before

    def save(self, folder):
        save_file({key: value.contiguous() for key, value in self.items()}, folder / "references.safetensors")
        print(folder.name, len(self), "references, standard deviations",
              {key: round(float(value.float().std()), 3) for key, value in self.items() if value.numel() > 9})


def circular(*models):
    for module in (module for model in models for module in model.modules()):
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [p for p in reversed(module.padding) for _ in range(2)]


def zeros(*models):
    for module in (module for model in models for module in model.modules()):
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "zeros"


def as_img2img(pipe, kind, sheet):
    """The same from a picture: its noise is drawn by the pipeline, and set here to the one that is written down."""
    other = kind(**pipe.components)
    module = __import__(kind.__module__, fromlist=["randn_tensor"])
    module.randn_tensor = lambda *_, **__: sheet["noise"]
    return other


@torch.no_grad()
def sd15():
    words, vocab = tokenizer(HERE / "sd15" / "tokenizer", "<|endoftext|>")
    # What the published scheduler_config.json says, which has no timestep_spacing.
    scheduler = PNDMScheduler(**ORDINARY, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    pipe = StableDiffusionPipeline(
        vae=vae(0.18215), text_encoder=text_encoder(CLIPTextModel, vocab, 16, "quick_gelu"), tokenizer=words,
        unet=unet(16), scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    folder = save(pipe, "sd15")
    old_attention_names(folder)
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    del config["timestep_spacing"]
    file.write_text(json.dumps(config, indent=2) + "\n")
    reread(pipe, folder)

    sheet = Sheet()
    sheet["ids"] = words(PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    sheet["text"], sheet["text.negative"] = pipe.encode_prompt(PROMPT, "cpu", 1, True, NEGATIVE)
    arguments = dict(latents=sheet["noise"])
    for sampler in SAMPLERS:
        sheet.latents(f"txt2img.{sampler}", pipe, sampler, arguments)
        sheet.latents(f"v.{sampler}", pipe, sampler, arguments, prediction_type="v_prediction")
        for spacing in ("leading", "trailing", "linspace"):
            if (sampler, spacing) != ("ddim", "linspace"):
                sheet.latents(f"{spacing}.{sampler}", pipe, sampler, arguments, timestep_spacing=spacing)
    sheet.latents("unguided.euler", pipe, "euler", {**arguments, "guidance_scale": 1.0})

    batch = torch.cat([sheet["noise"], noise(1, 4, ROWS, COLUMNS)])
    text = torch.cat([sheet["text.negative"], sheet["text"]])
    sheet["unet.in"] = batch
    sheet["unet.out"] = pipe.unet(batch, 417.0, text).sample
    small = noise(1, 4, 4, 6) * 0.18215
    sheet["vae.in"], sheet["vae.out"] = small, pipe.vae.decode(small / 0.18215).sample
    sheet["picture"] = picture()
    pixels = picture()[None].float() / 127.5 - 1
    sheet["vae.encoded"] = pipe.vae.encode(pixels).latent_dist.mean * 0.18215
    circular(pipe.unet, pipe.vae)
    sheet["tile.unet.out"] = pipe.unet(batch, 417.0, text).sample
    sheet["tile.vae.out"] = pipe.vae.decode(small / 0.18215).sample
    zeros(pipe.unet, pipe.vae)

    img2img = as_img2img(pipe, StableDiffusionImg2ImgPipeline, sheet)
    img2img.set_progress_bar_config(disable=True)
    for sampler in SAMPLERS:
        sheet.latents(f"img2img.{sampler}", img2img, sampler, dict(image=(pixels + 1) / 2, strength=0.6))
    inpaint = as_img2img(pipe, StableDiffusionInpaintPipeline, sheet)
    inpaint.set_progress_bar_config(disable=True)
    sheet["mask"] = square()
    for sampler in ("ddim", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm"):
        sheet.latents(f"inpaint.{sampler}", inpaint, sampler, dict(
            image=(pixels + 1) / 2, mask_image=square(), height=8 * ROWS, width=8 * COLUMNS, strength=0.8))

    loras(pipe, sheet, folder, batch)
    sheet.save(folder)
    return pipe


def kohya(prefix, model, layers):
    """A LoRA of rank 2 in the names of kohya's scripts."""
    made = {}
    for layer in layers:
        weight = model.get_submodule(layer).weight
        name = f"{prefix}_{layer.replace('.', '_')}"
        made[f"{name}.lora_down.weight"] = (0.5 * torch.randn(2, *weight.shape[1:])).half()
        made[f"{name}.lora_up.weight"] = (0.5 * torch.randn(weight.shape[0], 2, *[1] * (weight.dim() - 2))).half()
        made[f"{name}.alpha"] = torch.tensor(1.0).half()
    return made


def loras(pipe, sheet, folder, batch):
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    file = kohya("lora_unet", pipe.unet, [
        f"{block}.attn1.to_q", f"{block}.attn2.to_out.0", f"{block}.ff.net.0.proj", "mid_block.attentions.0.proj_in",
        "up_blocks.1.resnets.0.conv1",
    ])
    layer = "text_model.encoder.layers.0"
    attention = [f"{layer}.self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    file |= kohya("lora_te", pipe.text_encoder, [*attention, f"{layer}.mlp.fc1"])
    (folder / "loras").mkdir(exist_ok=True)
    save_file(file, folder / "loras" / "kohya.safetensors")
    pipe.load_lora_weights({key: value.float() for key, value in file.items()}, adapter_name="one")
    pipe.set_adapters(["one"], [0.7])
    sheet["lora.text"], _ = pipe.encode_prompt(PROMPT, "cpu", 1, False)
    text = torch.cat([sheet["lora.text"]] * 2)
    sheet["lora.unet.out"] = pipe.unet(batch, 417.0, text).sample
    from peft import get_peft_model_state_dict
    from diffusers.utils import convert_state_dict_to_diffusers
    peft = {f"unet.{key}": value for key, value in get_peft_model_state_dict(pipe.unet, adapter_name="one").items()}
    te = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.text_encoder, adapter_name="one"))
    peft |= {f"text_encoder.{key}": value for key, value in te.items()}
    # Files of diffusers have no alpha: it counts as the rank. What is halved here is what alpha 1 of rank 2 does.
    up = ("lora_B.weight", "up.weight")
    save_file({key: (value * 0.5 if key.endswith(up) else value).half().contiguous() for key, value in peft.items()},
              folder / "loras" / "diffusers.safetensors")
    pipe.unload_lora_weights()


@torch.no_grad()
def sd21():
    words, vocab = tokenizer(HERE / "sd21" / "tokenizer", "!")
    scheduler = DDIMScheduler(**ORDINARY, clip_sample=False, set_alpha_to_one=False, steps_offset=1,
                              prediction_type="v_prediction")
    pipe = StableDiffusionPipeline(
        vae=vae(0.18215), text_encoder=text_encoder(CLIPTextModel, vocab, 16, "gelu", 3), tokenizer=words,
        unet=unet(16, use_linear_projection=True, attention_head_dim=[1, 2, 4], layers_per_block=2,
                  block_out_channels=(4, 4, 8)),
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    folder = save(pipe, "sd21")
    sheet = Sheet()
    sheet["ids"] = words(PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    sheet["text"], sheet["text.negative"] = pipe.encode_prompt(PROMPT, "cpu", 1, True, NEGATIVE)
    for sampler in SAMPLERS:
        sheet.latents(f"txt2img.{sampler}", pipe, sampler, dict(latents=sheet["noise"]))
    sheet.latents("zero_snr.euler", pipe, "euler", dict(latents=sheet["noise"]), rescale_betas_zero_snr=True,
                  timestep_spacing="trailing")
    sheet.save(folder)


@torch.no_grad()
def sdxl():
    one, vocab = tokenizer(HERE / "sdxl" / "tokenizer", "<|endoftext|>")
    two, _ = tokenizer(HERE / "sdxl" / "tokenizer_2", "!")
    scheduler = EulerDiscreteScheduler(**ORDINARY, steps_offset=1, timestep_spacing="leading")
    pipe = StableDiffusionXLPipeline(
        vae=vae(0.13025), text_encoder=text_encoder(CLIPTextModel, vocab, 16, "quick_gelu"), tokenizer=one,
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, vocab, 24, "gelu", 3), tokenizer_2=two,
        unet=unet(40, use_linear_projection=True, attention_head_dim=[1, 2, 2], block_out_channels=(4, 4, 8),
                  down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                  up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                  layers_per_block=2, transformer_layers_per_block=[1, 1, 2], addition_embed_type="text_time",
                  addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8),
        scheduler=scheduler, force_zeros_for_empty_prompt=True, add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    folder = save(pipe, "sdxl")
    sheet = Sheet()
    embeds = pipe.encode_prompt(PROMPT, negative_prompt=NEGATIVE, device="cpu")
    for name, value in zip(("text", "text.negative", "pooled", "pooled.negative"), embeds):
        sheet[name] = value
    arguments = dict(latents=sheet["noise"], height=8 * ROWS, width=8 * COLUMNS)
    for sampler in SAMPLERS:
        sheet.latents(f"txt2img.{sampler}", pipe, sampler, arguments)
    sheet.latents("nothing_negative.euler", pipe, "euler", {**arguments, "negative_prompt": None})
    sheet["picture"] = picture()
    img2img = as_img2img(pipe, StableDiffusionXLImg2ImgPipeline, sheet)
    img2img.set_progress_bar_config(disable=True)
    sheet.latents("img2img.euler", img2img, "euler", dict(image=picture()[None].float() / 255, strength=0.6))

    # Kohya's names for the network of XL are those of the first implementation.
    names = {
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "middle_block_1_proj_in": "mid_block.attentions.0.proj_in",
        "output_blocks_3_1_transformer_blocks_0_ff_net_2": "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2",
    }
    file = {}
    merged = {key: value.clone() for key, value in pipe.unet.state_dict().items()}
    for old, new in names.items():
        layer = kohya("lora_unet", pipe.unet, [new])
        down, up, alpha = layer.values()
        merged[f"{new}.weight"] += 0.5 * up.float() @ down.float()
        file |= {f"lora_unet_{old}.{key.split('.', 1)[1]}": value for key, value in layer.items()}
    (folder / "loras").mkdir(exist_ok=True)
    save_file(file, folder / "loras" / "kohya.safetensors")
    pipe.unet.load_state_dict(merged)
    sheet.latents("lora.euler", pipe, "euler", arguments)
    sheet.save(folder)


@torch.no_grad()
def inpainting(like):
    pipe = StableDiffusionInpaintPipeline(**{**like.components, "unet": unet(16, in_channels=9)},
                                          requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    folder = save(pipe, "inpainting")
    sheet = Sheet()
    sheet["picture"], sheet["mask"] = picture(), square()
    pipe = as_img2img(pipe, StableDiffusionInpaintPipeline, sheet)
    pipe.set_progress_bar_config(disable=True)
    for sampler in ("ddim", "euler", "dpmpp_2m"):
        sheet.latents(f"inpaint.{sampler}", pipe, sampler, dict(
            image=picture()[None].float() / 255, mask_image=square(), height=8 * ROWS, width=8 * COLUMNS, strength=1.0))
    sheet.save(folder)


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    torch.manual_seed(4)
    torch.use_deterministic_algorithms(True)
    inpainting(sd15())
    sd21()
    sdxl()
