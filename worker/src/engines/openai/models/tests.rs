//! What the hub is told of a server's models.

use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_hub::schema::{check_spec, fields};

use super::*;

fn settings(toml: &str) -> Settings {
    Figment::from(Toml::string(toml)).extract().unwrap()
}

fn listed(models: Value) -> Option<Vec<Listed>> {
    Some(serde_json::from_value(models).unwrap())
}

fn specs(toml: &str, models: Value) -> Vec<ModelSpec> {
    let (served, _) = serve(&settings(toml), listed(models));
    let specs: Vec<ModelSpec> = served.into_iter().map(|served| served.spec).collect();
    for spec in &specs {
        check_spec(spec).unwrap();
    }
    specs
}

fn names(toml: &str, ids: &[&str]) -> Vec<String> {
    let models = ids.iter().map(|id| json!({"id": id})).collect();
    specs(toml, Value::Array(models)).into_iter().map(|spec| spec.name).collect()
}

const URL: &str = "url = \"http://127.0.0.1:1/v1\"\n";

#[test]
fn ids_become_names_that_members_can_type() {
    let ids = [
        "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
        "Qwen/Qwen2.5-VL-7B",
        "llama3.2:latest",
        "llama3.2:3b",
        "名前",
    ];
    let expected = ["smollm2-135m-instruct.q4_1", "qwen2.5-vl-7b", "llama3.2", "llama3.2-3b", "model"];
    assert_eq!(names(URL, &ids), expected);
    assert_eq!(names(URL, &["a/fox", "b/fox"]), ["a-fox", "b-fox"]);
    assert_eq!(names(&format!("{URL}name = \"den\""), &["a/fox"]), ["den"]);
    assert_eq!(names(&format!("{URL}name = \"den\""), &["a/fox", "owl"]), ["den-fox", "den-owl"]);
}

#[test]
fn models_that_do_not_chat_are_left_out_unless_they_are_named() {
    assert_eq!(names(URL, &["nomic-embed-text", "dall-e-3", "tts-1", "fox"]), ["fox"]);
    let named = format!("{URL}models = [\"nomic-embed-text\", {{id = \"fox\", name = \"reynard\"}}]");
    assert_eq!(names(&named, &["nomic-embed-text:latest", "fox", "owl"]), ["nomic-embed-text", "reynard"]);
}

#[test]
fn models_that_transcribe_are_told_by_their_names_or_the_section() {
    let of = |toml: &str, id: &str| specs(toml, json!([{"id": id}])).remove(0);
    for id in ["openai/whisper-large-v3", "whisper-1", "gpt-4o-mini-transcribe"] {
        let spec = of(URL, id);
        assert_eq!(
            (spec.media, spec.takes("audio"), spec.takes("max_tokens")),
            (Media::Text, true, false),
            "{id}"
        );
    }
    let named = |more: &str| format!("{URL}models = [{{id = \"x-whisper\", {more}}}]");
    assert!(!of(&named("transcribes = false"), "x-whisper").takes("audio"));
    assert!(
        of(&format!("{URL}models = [{{id = \"parakeet\", transcribes = true}}]"), "parakeet").takes("audio")
    );
    for wrong in ["transcribes = true, vision = true", "media = \"audio\""] {
        let refused = Figment::from(Toml::string(&named(wrong))).extract::<Settings>().unwrap_err();
        assert!(refused.to_string().contains("the model \"x-whisper\" has "), "{refused}");
    }
}

#[test]
fn a_model_that_the_server_does_not_list_is_left_out_and_one_without_a_list_is_served() {
    let settings = settings(&format!("{URL}models = [\"fox\", \"owl\"]"));
    let (served, unlisted) = serve(&settings, listed(json!([{"id": "fox"}])));
    assert_eq!((served.len(), unlisted), (1, vec!["owl".to_owned()]));
    assert_eq!(serve(&settings, None).0.len(), 2);
}

#[test]
fn what_the_server_says_of_itself_is_in_the_schema() {
    let models = json!([
        {"id": "llama.cpp", "architecture": {"input_modalities": ["text", "image"]}, "aliases": ["x"], "meta": null},
        {"id": "vllm", "max_model_len": 1_000, "root": "x", "permission": []},
    ]);
    let specs = specs(URL, models);
    assert!(specs[0].takes("image") && !specs[1].takes("image"));
    assert_eq!(specs[0].property("max_tokens").unwrap()["maximum"], 4_096);
    assert_eq!(specs[1].property("max_tokens").unwrap()["maximum"], 1_000);
}

#[test]
fn the_section_has_the_last_word() {
    let toml = format!(
        "{URL}vision = true\nmax_tokens = 500\nextra = {{top_k = 3}}\n\
         [[models]]\nid = \"fox\"\nvision = false\ninputs = [\"seed\"]\nmature = true\ntitle = \"Fox\"\n[[models]]\nid = \"owl\""
    );
    let specs = specs(&toml, json!([{"id": "fox"}, {"id": "owl"}]));
    let inputs =
        |spec: &ModelSpec| fields(spec).into_iter().map(|field| field.name).collect::<Vec<_>>().join(" ");
    assert_eq!(inputs(&specs[0]), "seed max_tokens system");
    assert_eq!(inputs(&specs[1]), "seed temperature top_p max_tokens system stop image");
    assert_eq!(specs[1].property("max_tokens").unwrap()["maximum"], 500);
    assert_eq!((specs[0].mature, specs[0].title.as_str()), (true, "Fox"));
}

#[test]
fn picture_models_have_sizes_or_sides_and_what_the_section_says_they_can() {
    let toml = format!(
        "{URL}[[models]]\nid = \"sized\"\nmedia = \"image\"\nsizes = [\"1024x1024\", \"1536x1024\"]\nedits = true\n\
         [[models]]\nid = \"free\"\nmedia = \"image\"\ninputs = [\"seed\", \"negative_prompt\"]\nmax_count = 2"
    );
    let specs = specs(&toml, json!([{"id": "sized"}, {"id": "free"}]));
    let inputs =
        |spec: &ModelSpec| fields(spec).into_iter().map(|field| field.name).collect::<Vec<_>>().join(" ");
    assert_eq!(inputs(&specs[0]), "count size image");
    assert_eq!(inputs(&specs[1]), "seed count width height negative_prompt");
    assert_eq!(specs[1].property("count").unwrap()["maximum"], 2);
}

#[test]
fn other_weights_or_other_fields_are_another_version_and_another_address_is_not() {
    let digest = |toml: &str| specs(toml, json!([{"id": "fox"}]))[0].digest();
    let plain = digest(URL);
    assert_eq!(plain, digest("url = \"http://10.0.0.1:8000/v1\""));
    assert_ne!(plain, digest(&format!("{URL}models = [{{id = \"fox\", version = \"2\"}}]")));
    assert_ne!(plain, digest(&format!("{URL}extra = {{top_k = 3}}")));
}

fn refusal(toml: &str) -> String {
    Figment::from(Toml::string(toml)).extract::<Settings>().unwrap_err().to_string()
}

#[test]
fn sections_that_make_no_sense_are_refused_in_words() {
    let cases = [
        ("url = \"localhost:8000\"", "does not start with http:// or https://"),
        ("url = \"nowhere\"", "is no address"),
        ("url = \"http://key:secret@h/v1\"", "put the key into api_key"),
        (&format!("{URL}api_key = \"a\"\napi_key_env = \"B\""), "leave one of them out"),
        (&format!("{URL}api_key_env = \"RIFF_TEST_NO_SUCH_VARIABLE\""), "RIFF_TEST_NO_SUCH_VARIABLE"),
        (&format!("{URL}patience_seconds = 0.0"), "patience_seconds = 0 is not a number of seconds"),
        (&format!("{URL}models = [\"fox\", \"fox\"]"), "there twice"),
        (&format!("{URL}models = [{{id = \"fox\", sizes = [\"1x1\"]}}]"), "media = \"image\""),
        (&format!("{URL}models = [{{id = \"fox\", media = \"image\", sizes = [\"big\"]}}]"), "WIDTHxHEIGHT"),
        (&format!("{URL}models = [{{id = \"fox\", colour = \"red\"}}]"), "found `colour`"),
        (&format!("{URL}extra = {{stream = false}}"), "extra may not set \"stream\""),
        (&format!("{URL}name = \"Big Fox\""), "name \"Big Fox\" must be"),
        (&format!("{URL}adress = \"x\""), "found `adress`"),
    ];
    for (toml, expected) in cases {
        let said = refusal(toml);
        assert!(said.contains(expected), "{toml}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn keys_are_never_shown() {
    let settings = settings(&format!("{URL}api_key = \"sk-secret\""));
    assert!(!format!("{settings:?} {settings}").contains("secret"), "{settings:?}");
}
