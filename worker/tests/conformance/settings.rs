//! The worker's settings: what is read, and what is said of mistakes.

use riff_worker::settings::{Chosen, Settings};

fn load(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("worker.toml");
    std::fs::write(&file, text).unwrap();
    let loaded =
        Settings::load(Some(&file), &Chosen { token: Some("riff_w_x".to_owned()), ..Chosen::default() });
    loaded.map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "FOLDER"))
}

#[test]
fn sections_become_engines() {
    let settings = load(
        r#"
        weights = "elsewhere"
        [[engine]]
        kind = "cog"
        url = "http://10.0.0.7:5000"
        name = "sdxl"
        inputs = { api_key = "k" }
        webhook = "off"
        [[engine]]
        kind = "cog"
        url = "http://10.0.0.7:5001/behind/proxy"
        name = "flux"
        outputs = 4
        [[engine]]
        kind = "openai"
        url = "http://10.0.0.7:8000"
        api_key = "sk-secret"
        [[engine.models]]
        id = "Qwen/Qwen2.5-VL-7B-Instruct"
        vision = true
        [[engine]]
        kind = "diffusion"
        path = "models/sdxl"
        device = "cuda:1"
        sampler = "euler_a"
        loras = [{ path = "loras/ink.safetensors" }]
        [[engine]]
        kind = "comfyui"
        url = "http://10.0.0.7:8188"
        workflow = "portrait.json"
        name = "portrait"
        inputs.steps = { max = 40 }
        [[engine]]
        kind = "a1111"
        url = "http://10.0.0.7:7860"
        name = "forge"
        extra = { clip_skip = 2 }
        "#,
    )
    .unwrap();
    assert_eq!(
        (settings.weights.as_path(), settings.hub.as_str()),
        ("elsewhere".as_ref(), "http://127.0.0.1:7433")
    );
    assert_eq!(settings.engines.len(), 6);
    assert!(format!("{:?}", settings.engines[1]).contains("/behind/proxy/"), "{:?}", settings.engines[1]);
    let diffusion = format!("{:?}", settings.engines[3]);
    assert!(diffusion.contains("Cuda(1)") && diffusion.contains("EulerAncestral"), "{diffusion}");
    let openai = format!("{:?}", settings.engines[2]);
    assert!(openai.contains("http://10.0.0.7:8000/v1") && !openai.contains("secret"), "{openai}");
}

const REPLICATE: &str = r#"
    [[engine]]
    kind = "replicate"
    monthly_usd = 5.0
    ledger = "spent"
    [[engine.models]]
    id = "acme/painter"
    name = "painter"
"#;

#[test]
fn a_token_that_is_not_there_is_named_and_one_that_is_there_is_not_shown() {
    let priced = format!("{REPLICATE}\nusd_per_run = 0.01");
    let refused = load(&priced.replace("ledger", "token_env = \"NO_SUCH_VARIABLE\"\nledger")).unwrap_err();
    assert!(
        refused.contains("the variable NO_SUCH_VARIABLE, which token_env names, is not set"),
        "{refused}"
    );
    let settings = load(&priced.replace("ledger", "token_env = \"CARGO_PKG_NAME\"\nledger")).unwrap();
    let shown = format!("{:?}", settings.engines);
    assert!(shown.contains("api.replicate.com") && !shown.contains("riff-worker"), "{shown}");
}

#[test]
fn mistakes_are_named() {
    for (name, text) in [
        ("kind", "[[engine]]\nkind = \"kog\""),
        ("no_kind", "[[engine]]\nurl = \"http://127.0.0.1:5000\""),
        ("key", "[[engine]]\nkind = \"cog\"\nurl = \"http://a:1\"\nname = \"x\"\ncolour = 1"),
        ("missing", "[[engine]]\nkind = \"cog\"\nurl = \"http://a:1\""),
        ("address", "[[engine]]\nkind = \"cog\"\nname = \"x\"\nurl = \"127.0.0.1:5000\""),
        ("outputs", "[[engine]]\nkind = \"cog\"\nname = \"x\"\nurl = \"http://a:1\"\noutputs = 99"),
        ("webhook", "[[engine]]\nkind = \"cog\"\nname = \"x\"\nurl = \"http://a:1\"\nwebhook = \"here\""),
        (
            "beside",
            "[[engine]]\nkind = \"comfyui\"\nurl = \"http://a:1\"\nname = \"x\"\nworkflow = \"w\"\nprompt = \"p\"",
        ),
        ("a1111_key", "[[engine]]\nkind = \"a1111\"\nurl = \"http://a:1\"\nname = \"x\"\noutputs = 4"),
        (
            "certificate",
            "[[engine]]\nkind = \"a1111\"\nurl = \"https://a:1\"\nname = \"x\"\ncertificate = \"/nowhere.pem\"",
        ),
        ("replicate_key", &format!("{REPLICATE}\nusd_per_run = 0.01\nurl = \"http://a:1\"")),
        ("openai_address", "[[engine]]\nkind = \"openai\"\nurl = \"localhost:8000\""),
        (
            "openai_model",
            "[[engine]]\nkind = \"openai\"\nurl = \"http://a:1\"\n[[engine.models]]\nid = \"x\"\ncolour = 1",
        ),
        ("comfyui_missing", "[[engine]]\nkind = \"comfyui\"\nurl = \"http://a:1\"\nname = \"x\""),
        (
            "comfyui_input",
            "[[engine]]\nkind = \"comfyui\"\nurl = \"http://a:1\"\nname = \"x\"\nworkflow = \"w\"\n[engine.inputs.steps]\nmost = 3",
        ),
        (
            "a1111_login",
            "[[engine]]\nkind = \"a1111\"\nurl = \"http://a:1\"\nname = \"x\"\nauth_env = \"RIFF_TEST_UNSET\"",
        ),
        ("a1111_side", "[[engine]]\nkind = \"a1111\"\nurl = \"http://a:1\"\nname = \"x\"\nside = 500"),
        (
            "a1111_extra",
            "[[engine]]\nkind = \"a1111\"\nurl = \"http://a:1\"\nname = \"x\"\nextra = { seed = 1 }",
        ),
        ("replicate_price", REPLICATE),
        (
            "replicate_id",
            "[[engine]]\nkind = \"replicate\"\nmonthly_usd = 1.0\nledger = \"x\"\n[[engine.models]]\nid = \"sdxl\"\nname = \"x\"",
        ),
        ("replicate_cap", "[[engine]]\nkind = \"replicate\"\nledger = \"x\"\nmodels = []"),
        (
            "image",
            "[[engine]]\nkind = \"cog\"\nname = \"x\"\nurl = \"http://a:1\"\nimage = \"r8.im/a/b:latest\"",
        ),
        ("diffusion_device", "[[engine]]\nkind = \"diffusion\"\npath = \"x\"\ndevice = \"gpu\""),
        ("diffusion_sampler", "[[engine]]\nkind = \"diffusion\"\npath = \"x\"\nsampler = \"magic\""),
        ("diffusion_batch", "[[engine]]\nkind = \"diffusion\"\npath = \"x\"\nbatch = 17"),
        ("top", "engines = []"),
    ] {
        insta::assert_snapshot!(format!("mistake_{name}"), load(text).unwrap_err());
    }
}

#[test]
fn a_worker_needs_a_token_and_a_file_that_is_there() {
    let error =
        Settings::load(None, &Chosen { token: Some(" ".to_owned()), ..Chosen::default() }).unwrap_err();
    assert!(error.to_string().contains("riff token create"), "{error}");
    let error = Settings::load(Some("nowhere.toml".as_ref()), &Chosen::default()).unwrap_err();
    assert_eq!(error.to_string(), "the settings file nowhere.toml is not there: check --config");
}
