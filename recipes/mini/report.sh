#!/usr/bin/env bash
# Everything that docs/mini-report.md says: every setting, two readers, the reader's own ceiling, the distance
# to real pictures of this kind. About three hours on one core; started again it goes on.   report.sh FOLDER [--limit 8]
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
more=${*:2}
mkdir -p "$out"

# Pictures of this kind that no training saw: other texts, and another seed.
[ -e "$out/real/truth.jsonl" ] \
  || datatools synth "$out/real" --n 1000 --size 128 --profile mini-words --split test-words --seed 77
datatools import "$out/real" --catalog "$out/real.duckdb"

# What each sweep leaves unsaid is the recommended setting. A failed picture is a row of the report.
run() {
  txtdiff-eval run --store "$out/report.duckdb" --suite recipes/mini/report.jsonl --clip-model tiny \
    --reference "$out/real.duckdb" $more "$@" || [ $? -le 1 ]
}
# The samplers are tried on the base, whose letters they are; the upsampler then enlarges the recommended one's.
base() { run --base pretrained:mini/base "$@"; }

base --sampler ddim:10 --guidance 4 --guidance-capt 1.5 --ocr rapidocr --ocr easyocr
run --base pretrained:mini --sampler ddim:10 --upsampler-sampler ddim:5 --guidance 4 --guidance-capt 1.5 \
  --upsampler-consistency 0.5 --ocr rapidocr --ocr easyocr
run --base pretrained:mini --sampler ddim:10 --upsampler-sampler ddim:5 --guidance 4 --guidance-capt 1.5 \
  --upsampler-consistency 0,1
run --base pretrained:mini --sampler ddim:20 --upsampler-sampler ddim:5 --guidance 4 --guidance-capt 1.5
run --base pretrained:mini --sampler ddim:10 --upsampler-sampler ddim:5 --guidance 2 --guidance-capt 1.5
base --sampler ddim:5 --sampler ddim:20 --sampler ddim:50 --sampler dpmpp_2m:10 --sampler dpmpp_2m:20 \
  --sampler unipc:10 --sampler heun:10 --sampler ddpm:50 --guidance 4 --guidance-capt 1.5
base --sampler ddim:20 --guidance 1,2,8 --guidance-capt 1.5
base --sampler ddim:20 --guidance 4 --guidance-capt 1,4
base --sampler ddim:20 --guidance 4 --guidance-capt 1.5 --eta 1
base --sampler ddim:20 --guidance 8 --guidance-capt 1.5 --dynamic-threshold 0.95
txtdiff-eval calibrate --store "$out/report.duckdb" --size 128
