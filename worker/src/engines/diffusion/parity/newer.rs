//! Stable Diffusion 3 and 3.5 and Flux.1, held to diffusers: `worker/tests/diffusion/make_newer.py` says how, and
//! `make_single_newer.py` of their single files.

use super::*;
use crate::engines::diffusion::{
    family::Family,
    flow::{Flow, FlowConfig},
    words::Sentences,
};

/// `sd3` goes without T5, and `schnell` without guidance.
const ALL: [&str; 4] = ["sd3", "sd35", "dev", "schnell"];
/// Guidance that Flux was told.
const TOLD: f64 = 3.5;

/// A reference's run, by one sampler.
fn made_by(tiny: &Tiny, sampler: Sampler) -> Made {
    match tiny.model.checkpoint.family {
        Family::Flux => Made { guidance: TOLD, ..made(sampler) },
        _ => made(sampler),
    }
}

/// The samplers that a family's references have.
fn samplers(tiny: &Tiny) -> &'static [Sampler] {
    match tiny.model.checkpoint.family {
        Family::Flux => &[Sampler::Euler],
        _ => &[Sampler::Euler, Sampler::Dpmpp2m],
    }
}

#[test]
fn words_become_what_they_are_to_diffusers() {
    for name in ALL {
        let tiny = Tiny::open(name);
        let guide = tiny.guide(GUIDANCE, NEGATIVE);
        let (words, pooled) = (guide.words, guide.pooled.unwrap());
        let last = words.dim(0).unwrap() - 1;
        tiny.check("text", &words.i(last..).unwrap());
        tiny.check("pooled", &pooled.i(last..).unwrap());
        if last > 0 {
            tiny.check("text.negative", &words.i(..1).unwrap());
            tiny.check("pooled.negative", &pooled.i(..1).unwrap());
        }
    }
}

#[test]
fn pieces_are_those_of_transformers_and_never_special() {
    for name in ["dev", "schnell"] {
        let tiny = Tiny::open(name);
        let Some(Sentences::T5(t5)) = &tiny.model.texts.sentences else {
            panic!("{name} has no T5");
        };
        let pieces = &t5.0;
        let ids: Vec<i64> = pieces.of(PROMPT).unwrap().into_iter().map(i64::from).collect();
        let expected = tiny.references.tensor("ids").unwrap().i(0).unwrap().to_vec1::<i64>().unwrap();
        assert_eq!(ids, expected, "{name}");
        assert_eq!(pieces.of("\u{fb01}gs\u{ff01}").unwrap(), pieces.of("figs!").unwrap(), "normal forms");
        let (end, filler) = (1, 0);
        let typed = pieces.of("the </s> sea <pad>").unwrap();
        let text = typed.iter().take_while(|id| **id != filler);
        assert_eq!(text.filter(|id| **id == end).count(), 1, "only what ends the text: {typed:?}");
    }
}

#[test]
fn networks_say_what_they_say_in_diffusers() {
    for name in ALL {
        let tiny = Tiny::open(name);
        tiny.check("net.out", &said(&tiny));
        let pass = pass(Edge::Zero);
        tiny.check("vae.out", &tiny.model.vae.decode(&tiny.reference("vae.in"), &pass).unwrap());
        tiny.check("vae.encoded", &tiny.encode(&tiny.pixels().tensor(&tiny.model.device).unwrap()));
    }
}

/// What the transformer says of two rows at step 417, by the words of the references.
fn said(tiny: &Tiny) -> Tensor {
    let both = |name: &str| {
        let other = if tiny.model.checkpoint.family == Family::Flux { "" } else { ".negative" };
        Tensor::cat(&[tiny.reference(&format!("{name}{other}")), tiny.reference(name)], 0).unwrap()
    };
    let (words, pooled) = (both("text"), both("pooled"));
    let given = Given { pooled: Some(&pooled), guidance: TOLD, ..given(&words) };
    tiny.model.net.forward(&tiny.reference("net.in"), 417.0, &given, &pass(Edge::Zero)).unwrap()
}

#[test]
fn every_sampler_goes_the_way_of_diffusers() {
    for name in ALL {
        let tiny = Tiny::open(name);
        for sampler in samplers(&tiny) {
            tiny.check(&format!("txt2img.{}", sampler.name()), &tiny.latents(&made_by(&tiny, *sampler)));
        }
        if tiny.model.checkpoint.family == Family::Three {
            tiny.check("txt2img.heun", &tiny.latents(&made(Sampler::Heun)));
            tiny.check("unguided.euler", &tiny.latents(&Made { guidance: 1.0, ..made(Sampler::Euler) }));
            let trained = Some(by_places(&tiny));
            tiny.check("dynamic.euler", &tiny.latents(&Made { trained, ..made(Sampler::Euler) }));
        }
    }
}

/// The scheduler of a checkpoint with a shift by the size of pictures.
fn by_places(tiny: &Tiny) -> Trained {
    let file = tiny.folder.join("scheduler/scheduler_config.json");
    let mut config: FlowConfig = crate::engines::diffusion::config::read(&file).unwrap();
    config.use_dynamic_shifting = true;
    Trained::Instead(Flow::new(&config, tiny.model.checkpoint.family, &file).unwrap())
}

#[test]
fn pictures_are_begun_with_and_mended_as_in_diffusers() {
    for name in ALL {
        let tiny = Tiny::open(name);
        for sampler in samplers(&tiny) {
            for (word, masked, strength) in [("img2img", Masked::Not, 0.6), ("inpaint", Masked::Partly, 0.8)]
            {
                let original = Some(tiny.original(masked, strength));
                let made = tiny.latents(&Made { original, ..made_by(&tiny, *sampler) });
                tiny.check(&format!("{word}.{}", sampler.name()), &made);
            }
        }
    }
}

#[test]
fn consistency_models_are_told_the_guidance_as_in_diffusers() {
    let tiny = Tiny::open("lcm");
    for guidance in [8.5, 1.5] {
        let made = tiny.latents(&Made { guidance, ..made(Sampler::Lcm) });
        tiny.check(&format!("txt2img.{guidance}"), &made);
    }
}

#[test]
fn loras_are_merged_as_in_diffusers() {
    for name in ["sd35", "dev"] {
        let tiny = Tiny::with_loras(name, &["peft"], &[("peft", 0.7)]);
        tiny.check("lora.net.out", &said(&tiny));
    }
}

#[test]
fn single_files_go_the_way_of_diffusers() {
    let tiny = Tiny::single("sd35", "sd35", &[], &[]);
    tiny.check("net.out", &said(&tiny));
    for sampler in [Sampler::Euler, Sampler::Heun, Sampler::Dpmpp2m] {
        tiny.check(&format!("txt2img.{}", sampler.name()), &tiny.latents(&made(sampler)));
    }
    // The folder of `dev` says other sizes, and has the text encoders.
    let tiny = Tiny::single("flux", "dev", &[], &[]);
    tiny.check("txt2img.euler", &tiny.latents(&made_by(&tiny, Sampler::Euler)));
}

#[test]
fn loras_in_the_names_of_the_first_implementations_are_merged_as_in_diffusers() {
    for file in ["kohya", "dotted"] {
        let (files, chosen) = ([file], [(file, 0.7)]);
        for tiny in [Tiny::with_loras("sd35", &files, &chosen), Tiny::single("sd35", "sd35", &files, &chosen)]
        {
            tiny.check("lora.net.out", &said(&tiny));
        }
        let tiny = Tiny::single("flux", "dev", &files, &chosen);
        tiny.check(&format!("{file}.euler"), &tiny.latents(&made_by(&tiny, Sampler::Euler)));
    }
}
