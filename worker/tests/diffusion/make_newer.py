"""Makes the tiny checkpoints of Stable Diffusion 3, 3.5, Flux.1 and a latent consistency model in tiny/, and what diffusers
computes with them.

As make_tiny.py does for the older families, of which it takes the parts that are the same; diffusers is newer, since 0.31
has no Stable Diffusion 3.5 Medium. `sd3` goes without T5, as its folder says; `sd35` has it, norms of queries and keys, and
blocks whose picture also looks at itself alone; `dev` and `schnell` are Flux.1 with and without a guidance embedding; `lcm`
is like 1.5, with one. To make them again, or some of them by name:

    python3.11 -m venv /tmp/newer
    /tmp/newer/bin/pip install torch==2.2.2 numpy==1.26.4 diffusers==0.32.2 transformers==4.46.3 tokenizers==0.20.3 \
        huggingface_hub==0.26.5 safetensors==0.4.5 peft==0.13.2 accelerate==1.1.1 scipy==1.13.1 sentencepiece==0.2.0 \
        protobuf==5.29.3
    /tmp/newer/bin/python worker/tests/diffusion/make_newer.py
"""

import shutil
import sys
import tempfile
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import sentencepiece
import torch
from diffusers import (
    AutoencoderKL, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler,
    FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline, FluxTransformer2DModel, LatentConsistencyModelPipeline,
    LCMScheduler, SD3Transformer2DModel,
    StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline, StableDiffusion3Pipeline,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5TokenizerFast

import make_tiny
from make_tiny import (
    COLUMNS, HERE, NEGATIVE, ORDINARY, PROMPT, ROWS, STEPS, as_img2img, drawn, noise, picture, randomise, save, square,
    text_encoder, tokenizer, unet,
)

CHANNELS = 16
SIZE = dict(height=8 * ROWS, width=8 * COLUMNS)
# The text that the tokenizer of T5 is made by.
TEXT = """the red fox is dancing at the sea in a grey cafe
twelve o'clock, and the cat is singing in the morning
a lighthouse at dusk, an oil painting of the sea
moss and ripe figs in a bowl, seen from above
who is it? the quick brown fox jumps over the lazy dog!
"""


def t5_tokenizer(folder):
    """As sentencepiece and transformers make them; of the usual normal forms only two, which take 300 kB otherwise."""
    with tempfile.TemporaryDirectory() as at:
        rules = Path(at) / "rules.tsv"
        rules.write_text("FB01\t66 69\nFF01\t21\n")
        (Path(at) / "text.txt").write_text(TEXT * 20)
        sentencepiece.SentencePieceTrainer.train(
            input=f"{at}/text.txt", model_prefix=f"{at}/spiece", vocab_size=96, model_type="unigram",
            normalization_rule_tsv=str(rules), pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
            minloglevel=2)
        made = T5TokenizerFast(f"{at}/spiece.model", extra_ids=4, model_max_length=512)
        made.save_pretrained(folder)
    again = T5TokenizerFast.from_pretrained(folder, model_max_length=512)
    (folder / "spiece.model").unlink(missing_ok=True)
    return again


def t5(words, size):
    config = T5Config(vocab_size=len(words) + 3, d_model=size, d_kv=8, d_ff=40, num_layers=2, num_heads=3,
                      feed_forward_proj="gated-gelu")
    return randomise(T5EncoderModel(config))


def vae(scaling, shift):
    blocks = 4
    return randomise(AutoencoderKL(
        block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=CHANNELS,
        scaling_factor=scaling, shift_factor=shift, use_quant_conv=False, use_post_quant_conv=False, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks))


class FlowDpm(DPMSolverMultistepScheduler):
    """DPM-Solver++(2M) of diffusers over the levels of the checkpoint's own scheduler."""

    def set_timesteps(self, count, device=None, **more):
        super().set_timesteps(count)
        self.own.set_timesteps(count, **more)
        self.timesteps, self.sigmas = self.own.timesteps, self.own.sigmas

    def scale_noise(self, sample, timestep, noise):
        return self.own.scale_noise(sample, timestep, noise)


def sampler(name, own):
    if name == "euler":
        return own
    if name == "heun":
        return FlowMatchHeunDiscreteScheduler(shift=own.config.shift)
    made = FlowDpm(prediction_type="flow_prediction", use_flow_sigmas=True)
    made.own = FlowMatchEulerDiscreteScheduler.from_config(own.config)
    return made


class Sheet(dict):
    """References of one checkpoint by name."""

    def __init__(self):
        super().__init__(noise=noise(1, CHANNELS, ROWS, COLUMNS), picture=picture(), mask=square())

    def latents(self, name, pipe, arguments):
        own = pipe.scheduler
        pipe.scheduler = sampler(name.split(".")[1], own)
        run = dict(prompt=PROMPT, num_inference_steps=STEPS)
        made = pipe(**{**run, **arguments}, output_type="latent").images
        if made.dim() == 3:
            made = FluxPipeline._unpack_latents(made, SIZE["height"], SIZE["width"], pipe.vae_scale_factor)
        self[name] = made
        pipe.scheduler = own

    def networks(self, pipe, given, say):
        """What transformer and autoencoder make of numbers; `say` asks the former."""
        self["net.in"] = torch.cat([self["noise"], noise(1, CHANNELS, ROWS, COLUMNS)])
        self["net.out"] = say(pipe.transformer, self["net.in"], **given)
        small, config = noise(1, CHANNELS, 4, 6), pipe.vae.config
        self["vae.in"] = small
        self["vae.out"] = pipe.vae.decode(small / config.scaling_factor + config.shift_factor).sample
        encoded = pipe.vae.encode(picture()[None].float() / 127.5 - 1).latent_dist.mean
        self["vae.encoded"] = (encoded - config.shift_factor) * config.scaling_factor

    def begun(self, pipe, kinds, arguments, names):
        """Runs that begin with a picture, the whole of it or beside a mask."""
        pixels = picture()[None].float() / 255
        for word, kind, more in zip(("img2img", "inpaint"), kinds,
                                    (dict(strength=0.6), dict(strength=0.8, mask_image=square()))):
            # What the pipeline has for adapters of pictures, these have not.
            parts = {key: part for key, part in pipe.components.items() if key in signature(kind).parameters}
            other = as_img2img(SimpleNamespace(components=parts), kind, self)
            other.set_progress_bar_config(disable=True)
            for name in names:
                self.latents(f"{word}.{name}", other, {**arguments, **SIZE, "image": pixels, **more})

    def lora(self, pipe, folder, targets, given, say):
        """A LoRA as peft and diffusers write them, of rank 2."""
        pipe.transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets))
        layers = get_peft_model_state_dict(pipe.transformer)
        for key, value in layers.items():
            layers[key] = (0.3 * torch.randn(value.shape)).half().float()
        half = {key: value.half() for key, value in layers.items()}
        pipe.unload_lora_weights()
        type(pipe).save_lora_weights(folder / "loras", transformer_lora_layers=half, weight_name="peft.safetensors")
        pipe.load_lora_weights(folder / "loras", weight_name="peft.safetensors", adapter_name="one")
        pipe.set_adapters(["one"], [0.7])
        self["lora.net.out"] = say(pipe.transformer, self["net.in"], **given)
        pipe.unload_lora_weights()

    def save(self, folder):
        save_file({key: value.contiguous() for key, value in self.items()}, folder / "references.safetensors")
        print(folder.name, len(self), "references, standard deviations",
              {key: round(float(value.float().std()), 3) for key, value in self.items() if value.numel() > 9})


def three(name, t5_size, **more):
    folder = HERE / name
    one, vocab = tokenizer(folder / "tokenizer", "<|endoftext|>")
    two, _ = tokenizer(folder / "tokenizer_2", "!")
    sentences = t5_tokenizer(folder / "tokenizer_3") if t5_size else None
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=3, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=t5_size or 44, caption_projection_dim=16, pooled_projection_dim=40,
        pos_embed_max_size=16, **more)
    pipe = StableDiffusion3Pipeline(
        transformer=randomise(transformer), scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae(1.5305, 0.0609),
        text_encoder=text_encoder(CLIPTextModelWithProjection, vocab, 16, "quick_gelu"), tokenizer=one,
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, vocab, 24, "gelu", 3), tokenizer_2=two,
        text_encoder_3=t5(sentences, t5_size) if t5_size else None, tokenizer_3=sentences)
    pipe.set_progress_bar_config(disable=True)
    save(pipe, name)
    (folder / "tokenizer_3" / "spiece.model").unlink(missing_ok=True)
    sheet = Sheet()
    embeds = pipe.encode_prompt(PROMPT, None, None, negative_prompt=NEGATIVE, device="cpu")
    for key, value in zip(("text", "text.negative", "pooled", "pooled.negative"), embeds):
        sheet[key] = value
    given = dict(text=torch.cat([sheet["text.negative"], sheet["text"]]),
                 pooled=torch.cat([sheet["pooled.negative"], sheet["pooled"]]))

    def say(net, latents, text, pooled):
        return net(latents, text, pooled, torch.tensor([417.0] * len(latents)), return_dict=False)[0]

    sheet.networks(pipe, given, say)
    run = dict(negative_prompt=NEGATIVE, guidance_scale=6.0)
    fresh = dict(latents=sheet["noise"], **SIZE)
    for sampler in ("euler", "heun", "dpmpp_2m"):
        sheet.latents(f"txt2img.{sampler}", pipe, {**run, **fresh})
    sheet.latents("unguided.euler", pipe, {**run, **fresh, "guidance_scale": 1.0})
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    sheet.latents("dynamic.euler", pipe, {**run, **fresh})
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    sheet.begun(pipe, (StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline), run, ("euler", "dpmpp_2m"))
    if more:
        sheet.lora(pipe, folder, ["attn.to_q", "attn.add_k_proj", "attn2.to_v", "to_out.0", "ff.net.0.proj"], given, say)
    sheet.save(folder)


def flux(name, guidance, scheduler):
    folder = HERE / name
    one, vocab = tokenizer(folder / "tokenizer", "<|endoftext|>")
    sentences = t5_tokenizer(folder / "tokenizer_2")
    transformer = FluxTransformer2DModel(
        in_channels=4 * CHANNELS, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, pooled_projection_dim=16, guidance_embeds=guidance, axes_dims_rope=(4, 6, 6))
    pipe = FluxPipeline(
        transformer=randomise(transformer), scheduler=scheduler, vae=vae(0.3611, 0.1159),
        text_encoder=text_encoder(CLIPTextModel, vocab, 16, "quick_gelu"), tokenizer=one,
        text_encoder_2=t5(sentences, 24), tokenizer_2=sentences)
    pipe.set_progress_bar_config(disable=True)
    save(pipe, name)
    (folder / "tokenizer_2" / "spiece.model").unlink(missing_ok=True)
    sheet = Sheet()
    length = 512 if guidance else 256
    sheet["ids"] = sentences(PROMPT, padding="max_length", max_length=length, return_tensors="pt").input_ids
    sheet["text"], sheet["pooled"], ids = pipe.encode_prompt(PROMPT, None, "cpu", max_sequence_length=length)
    places = FluxPipeline._prepare_latent_image_ids(1, ROWS // 2, COLUMNS // 2, "cpu", torch.float32)
    given = dict(text=torch.cat([sheet["text"]] * 2), pooled=torch.cat([sheet["pooled"]] * 2))

    def say(net, latents, text, pooled):
        told = torch.tensor([3.5] * len(latents)) if guidance else None
        made = net(FluxPipeline._pack_latents(latents, len(latents), CHANNELS, ROWS, COLUMNS), text, pooled,
                   torch.tensor([0.417] * len(latents)), places, ids, told, return_dict=False)[0]
        return FluxPipeline._unpack_latents(made, SIZE["height"], SIZE["width"], 8)

    sheet.networks(pipe, given, say)
    run = dict(guidance_scale=3.5, max_sequence_length=length, **SIZE)
    packed = FluxPipeline._pack_latents(sheet["noise"], 1, CHANNELS, ROWS, COLUMNS)
    sheet.latents("txt2img.euler", pipe, {**run, "latents": packed})
    sheet.begun(pipe, (FluxImg2ImgPipeline, FluxInpaintPipeline), run, ("euler",))
    if guidance:
        sheet.lora(pipe, folder, ["attn.to_q", "attn.add_k_proj", "to_out.0", "ff.net.0.proj", "proj_mlp", "proj_out"],
                   given, say)
    sheet.save(folder)


def lcm():
    words, vocab = tokenizer(HERE / "lcm" / "tokenizer", "<|endoftext|>")
    scheduler = LCMScheduler(**ORDINARY, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipe = LatentConsistencyModelPipeline(
        vae=make_tiny.vae(0.18215), text_encoder=text_encoder(CLIPTextModel, vocab, 16, "quick_gelu"), tokenizer=words,
        unet=unet(16, time_cond_proj_dim=12), scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    folder = save(pipe, "lcm")
    sheet = {"noise": noise(1, 4, ROWS, COLUMNS)}
    sheet |= {f"step.{i}": noise(1, 4, ROWS, COLUMNS) for i in range(STEPS)}
    for guidance in (8.5, 1.5):
        drawn.update(noises=[sheet[f"step.{i}"] for i in range(STEPS)], count=0)
        sheet[f"txt2img.{guidance}"] = pipe(
            prompt=PROMPT, guidance_scale=guidance, num_inference_steps=STEPS, latents=sheet["noise"], **SIZE,
            output_type="latent").images
    save_file({key: value.contiguous() for key, value in sheet.items()}, folder / "references.safetensors")
    print("lcm", {key: round(float(value.std()), 3) for key, value in sheet.items()})


DYNAMIC = dict(shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
ALL = {
    "sd3": lambda: three("sd3", None),
    "sd35": lambda: three("sd35", 48, qk_norm="rms_norm", dual_attention_layers=(0, 1)),
    "dev": lambda: flux("dev", True, FlowMatchEulerDiscreteScheduler(**DYNAMIC)),
    "schnell": lambda: flux("schnell", False, FlowMatchEulerDiscreteScheduler(shift=1.0)),
    "lcm": lcm,
}

if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or ALL:
        shutil.rmtree(HERE / name, ignore_errors=True)
        torch.manual_seed(5)
        with torch.no_grad():
            ALL[name]()
