#!/usr/bin/env bash
# Train the small Mandarin Paraformer of the quick start: bash egs/tiny_zh/run.sh --base_model M --corpus C --words W
# Stages: 0 data, 1 train, 2 mixed weights and character n-grams, 3 decode and score, 4 pack. What it gives: RESULTS.md
# shellcheck disable=SC2154  # options are set by declare_option
# shellcheck source=utils/recipe.sh
recipe_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$recipe_dir/../../utils/recipe.sh"

declare_option stage 0 "first stage to run" integer
declare_option stop_stage 4 "last stage to run" integer
declare_option base_model "" "model folder to start from, which also aligns the speech for splicing"
declare_option corpus "" "AISHELL sample: train/, validation/, test/, each with wav.scp and text"
declare_option more_data "" "further data directories with absolute paths in wav.scp, separated by blanks"
declare_option voice_dir "" "recorded syllables (gcin-voice); empty: no joined sentences"
declare_option words "" "word list with frequencies (jieba's dict.txt), for joined sentences and n-grams"
declare_option open_gram "" "folder of open-gram's word n-grams (lm_sc.t3g, pydict_sc.bin); empty: from the Debian archive"
declare_option more_text "" "further Kaldi text files for the n-grams, separated by blanks"
declare_option data_dir "$recipe_dir/data" "data directories of the recipe"
declare_option exp_dir "$recipe_dir/exp" "training run, results, packed model"
declare_option steps 3000 "updates" integer
declare_option lr 0.0005 "learning rate at its peak"
declare_option spliced 1500 "spliced utterances" integer
declare_option joined 900 "joined sentences" integer
declare_option njob 2 "decoding jobs" integer
parse_options "$@"

run=$exp_dir/train
ngram=$exp_dir/lang/ngram.arpa.gz
gcin=$recipe_root/egs/gcin_zh/local

# append DATA_DIR PREFIX: its lists, with absolute paths and prefixed ids, to the training set
append() {
  awk -v folder="$(cd "$1" && pwd)/" -v prefix="$2" \
    '{ key = $1; sub(/^[^ \t]+[ \t]+/, ""); if ($0 !~ /^\//) $0 = folder $0; print prefix key, $0 }' "$1/wav.scp" >> "$data_dir/train/wav.scp"
  sed "s/^/$2/" "$1/text" >> "$data_dir/train/text"
}

# get_open_gram: the word n-grams of Debian's package sunpinyin-data, without installing it (no root needed).
get_open_gram() {
  if ! compgen -G "$data_dir/sunpinyin-data/usr/lib/*/sunpinyin/data/lm_sc.t3g" > /dev/null; then
    local packages=$data_dir/packages
    mkdir -p "$packages"
    (cd "$packages" && apt-get download sunpinyin-data) || die "could not get sunpinyin-data; --open_gram names a copy" 3
    dpkg-deb -x "$packages"/sunpinyin-data_*.deb "$data_dir/sunpinyin-data"
  fi
  open_gram=$(dirname "$data_dir"/sunpinyin-data/usr/lib/*/sunpinyin/data/lm_sc.t3g)
}

if stage 0; then
  log "Stage 0: Preparing the data ..."
  mkdir -p "$data_dir/train" "$data_dir/lists"
  "$PYTHON" "$recipe_dir/local/splice.py" "$base_model" "$corpus/train" "$data_dir/spliced" --count "$spliced"
  : > "$data_dir/train/wav.scp"
  : > "$data_dir/train/text"
  # The real recordings count twice.
  append "$corpus/train" ""
  append "$corpus/train" "R_"
  append "$data_dir/spliced" ""
  if [ -n "$voice_dir" ]; then
    "$PYTHON" "$recipe_dir/local/random_sentences.py" "$words" "$base_model/tokens.txt" --count "$joined" > "$data_dir/lists/joined"
    "$PYTHON" "$gcin/join_syllables.py" "$voice_dir" "$data_dir/lists/joined" "$data_dir/joined" --use all
    append "$data_dir/joined" ""
  fi
  for folder in $more_data; do append "$folder" ""; done
  ln -sfn "$(cd "$corpus/validation" && pwd)" "$data_dir/validation"
fi

if stage 1; then
  log "Stage 1: Training ..."
  # bf16 pays on a CPU with AVX512-BF16. Small batches: with so little data, steps matter more than hours. Without
  # length normalisation the decoder's loss counts as much as CTC's, which is a sum over the utterance.
  funrecipe train --model "$base_model" --data_dir "$data_dir" --output_dir "$run" --extend_vocab true --precision bf16 \
    --batch_bins 350 --cache_mb 4000 --speed_perturb '[0.9, 0.95, 1.0, 1.05, 1.1]' --specaug specaug_lfr \
    --specaug_conf '{apply_time_warp: false, freq_mask_width_range: [0, 30], num_freq_mask: 2,
                     time_mask_width_range: [0, 8], num_time_mask: 2}' \
    --model_conf '{ctc_weight: 0.4, sampling_ratio: 0.4, lsm_weight: 0.1, length_normalized_loss: false}' \
    --optim adamw --optim_conf '{betas: [0.9, 0.98], weight_decay: 0.01}' --lr "$lr" --scheduler linear \
    --scheduler_conf "{warmup_steps: 100, total_steps: $steps, end_factor: 0.02}" --max_steps "$steps" --max_epoch 1000 \
    --keep_nbest_models 5 --best_model_criterion '[[valid, cer_decode, min]]' --log_interval 100
fi

if stage 2; then
  log "Stage 2: Mixed weights and character n-grams ..."
  "$PYTHON" "$recipe_dir/local/mix_weights.py" "$base_model" "$run" "$run/valid.cer_decode.ave.pb" "$run/mixed.pb"
  mkdir -p "$exp_dir/lang"
  if [ -z "$open_gram" ]; then get_open_gram; fi
  # shellcheck disable=SC2086  # lists of files
  "$PYTHON" "$recipe_dir/local/char_ngram.py" --tokens "$run/tokens.txt" --open_gram "$open_gram" --words "$words" \
    --text "$corpus/train/text" $more_text --output "$ngram"
  cp "$ngram" "$run/ngram.arpa.gz"
  cp "$recipe_dir/conf/decoding.yaml" "$run/decoding.yaml"
fi

if stage 3; then
  log "Stage 3: Decoding and scoring ..."
  for part in validation test; do
    bash "$recipe_root/egs/asr/infer.sh" --model "$run" --checkpoint_dir "$run" \
      --checkpoint_name mixed.pb --data_dir "$corpus/$part" --output_dir "$exp_dir/results/$part" \
      --njob "$njob" --gpu_inference false
  done
fi

if stage 4; then
  log "Stage 4: Packing ..."
  funrecipe pack --run_dir "$run" --checkpoint_name mixed.pb --target "$exp_dir/model" --half
  cp "$run/ngram.arpa.gz" "$run/decoding.yaml" "$exp_dir/model"
fi
