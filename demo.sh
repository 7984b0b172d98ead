#!/usr/bin/env bash
# The main job at demo size, with the commands one types on a folder of one's own.
# Started by `make demo`; every station continues where an earlier run stopped.
set -euo pipefail
cd "$(dirname "$0")"
began=$SECONDS

step() {
  printf '\n\033[1m$ %s\033[0m\n' "$*"
  "$@"
}
# Exit status 1 says that some items failed and which; the demo goes on without them.
step_tolerant() {
  local status=0
  step "$@" || status=$?
  [ "$status" -le 1 ] || exit "$status"
}

step datatools synth demo/images --n 400 --seed 0
step_tolerant datatools build-catalog demo/images --catalog demo/catalog.duckdb
step datatools stats --catalog demo/catalog.duckdb

step_tolerant datatools build-catalog examples/photos --catalog demo/photos/catalog.duckdb --write-txt demo/photos/txt
step datatools query "SELECT key, text FROM transcriptions ORDER BY key" --catalog demo/photos/catalog.duckdb

step_tolerant txtdiff train --preset mini-base --catalog demo/catalog.duckdb --out demo/base --images 12k
step_tolerant txtdiff train --preset mini-upsampler --catalog demo/catalog.duckdb --out demo/upsampler --images 5k
step txtdiff sample --base demo/base --upsampler demo/upsampler --txt 'I can\nwrite' --n 4 --out demo/samples

step_tolerant txtdiff-eval run --base demo/base --upsampler demo/upsampler --suite smoke --limit 16 \
  --sampler ddim:20 --sampler plms:20 --sampler dpmpp_2m:12 --guidance 1,3 \
  --reference demo/catalog.duckdb --clip-model tiny --store demo/eval.duckdb
step txtdiff sample --txt OPEN --txt CODE --n 4 --capt 'white capital letters on a blue background' --out demo/mini
step_tolerant txtdiff-eval run --base pretrained:mini --suite recipes/mini/words.jsonl --limit 32 \
  --sampler ddim:10 --sampler ddim:20 --upsampler-sampler ddim:5 --upsampler-consistency 0.5 --guidance 4 --guidance-capt 1.5 --clip-model tiny --store demo/eval.duckdb
step txtdiff-eval report --store demo/eval.duckdb --html demo/report.html

cat <<TXT

Done in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s. What was made:
  demo/images          400 pictures whose text is known exactly
  demo/catalog.duckdb  what the reader found in them (duckdb demo/catalog.duckdb, or datatools query)
  demo/photos          the same for a few real photographs
  demo/base, demo/upsampler   two trained stages, with loss curves and sample grids
  demo/samples/grid.png       what they write after a few minutes of training: shapes, not yet letters
  demo/mini/grid.png          what the cascade writes that comes with the package, trained for hours
  demo/report.html            the leaderboards: open it in a browser
TXT
