//! llama.cpp's own server with the default language model, as `llama.py` starts it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// A server. It ends when its standard input is closed: with this, or with the tests.
pub struct Llama {
    pub url: String,
    process: Child,
}

impl Llama {
    pub fn start() -> Self {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let python = root.join(".venv/bin/python");
        let folder = std::env::var_os("RIFF_WEIGHTS").map_or_else(|| root.join("weights"), PathBuf::from);
        let weights = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
        for file in [&python, &weights] {
            assert!(
                file.exists(),
                "{} is missing: run ./test once, it fetches what is missing",
                file.display()
            );
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../worker/tests/openai/llama.py");
        let mut command = Command::new(python);
        command.arg(script).arg(weights).arg("HuggingFaceTB/SmolLM2-135M-Instruct");
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { url: line.trim().to_owned(), process }
    }

    /// One for all tests that leave it as it was.
    pub fn shared() -> &'static Self {
        static LLAMA: OnceLock<Llama> = OnceLock::new();
        LLAMA.get_or_init(Self::start)
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
