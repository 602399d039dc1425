"""llama.cpp on the same file, prompt and threads as the bench `language`: needs the package xllamacpp."""

import json
import urllib.request

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = "weights/SmolLM2-135M-Instruct.Q4_1.gguf"
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
params.n_ctx, params.n_parallel = 2048, 1
server = xllamacpp.Server(params)
body = {
    "messages": [{"role": "user", "content": "Tell me a long story about a fox."}],
    "temperature": 0,
    "max_tokens": 200,
    "cache_prompt": False,
}
for _ in range(3):
    request = urllib.request.Request(
        server.listening_address + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    timings = json.load(urllib.request.urlopen(request))["timings"]
    print(f"prompt {timings['prompt_ms']:.0f} ms, {timings['predicted_per_second']:.1f} tokens/s", flush=True)
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")), end="")
