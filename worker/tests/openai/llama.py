"""llama.cpp's server on a free loopback port: prints its address, and ends when standard input is closed."""

import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {sys.argv[2]}
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
params.n_ctx, params.n_parallel = 1024, 1
params.endpoint_slots = True
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
