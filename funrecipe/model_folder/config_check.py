"""What ``config.yaml`` may contain: every key is used, known to have no effect, or refused by name.

A value that is never read has no effect but looks as if it had one. Keys of
components (``encoder_conf`` ...) are checked where the component is built (``models.registry.construct``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funrecipe.errors import UsageError, did_you_mean
from funrecipe.model_folder.model_settings import check_model_conf
from funrecipe.ranges import NOT_NEGATIVE, Range

# Read by this package, whatever the family.
_USED = """
model model_conf frontend frontend_conf specaug specaug_conf normalize normalize_conf input_size token_list
token_type split_with_space bpemodel cmvn_file seg_dict_file init ctc_conf encoder encoder_conf decoder
decoder_conf predictor predictor_conf encoder2 encoder2_conf decoder2 decoder2_conf decoder1 decoder1_conf
predictor2 predictor2_conf stride_conv stride_conv_conf rnnt_decoder rnnt_decoder_conf joint_network
joint_network_conf att_decoder att_decoder_conf bias_encoder bias_encoder_conf seaco_decoder seaco_decoder_conf
timestamp_predictor timestamp_predictor_conf lm lm_conf punctuation punctuation_conf punc_list vad_post_conf
pooling_type pooling_type_conf lang_token_type lang_token_type_conf adapter adapter_conf tokenizer tokenizer_conf
"""
# Settings of FunASR's, ESPnet's and ModelScope's training programs, which write all of theirs into config.yaml. They
# have no effect on a model that is built from it; ``train.options`` reads those that a fine-tuning run starts from.
_WITHOUT_EFFECT = """
config print_config log_level dry_run iterator_type output_dir ngpu seed num_workers num_att_plot dist_backend
dist_init_method dist_world_size dist_rank local_rank dist_master_addr dist_master_port dist_launcher
multiprocessing_distributed unused_parameters sharded_ddp cudnn_enabled cudnn_benchmark cudnn_deterministic
collect_stats write_collected_feats max_epoch max_update patience val_scheduler_criterion early_stopping_criterion
best_model_criterion keep_nbest_models nbest_averaging_interval grad_clip grad_clip_type grad_noise accum_grad
no_forward_run resume train_dtype use_amp log_interval use_matplotlib use_tensorboard use_wandb wandb_project
wandb_id wandb_entity wandb_name wandb_model_log_interval detect_anomaly pretrain_path init_param
ignore_init_mismatch freeze_param num_iters_per_epoch batch_size valid_batch_size batch_bins valid_batch_bins
batch_type valid_batch_type train_shape_file valid_shape_file fold_length sort_in_batch sort_batch
multiple_iterator chunk_length chunk_shift_ratio num_cache_chunks train_data_file valid_data_file train_set
dev_set train_data_path_and_name_and_type valid_data_path_and_name_and_type allow_variable_data_keys
max_cache_size max_cache_fd valid_max_cache_size optim optim_conf optim2 optim2_conf scheduler scheduler_conf
scheduler2 scheduler2_conf use_preprocessor use_preprocessor_valid non_linguistic_symbols cleaner g2p
speech_volume_normalize rir_scp rir_apply_prob noise_scp noise_apply_prob noise_db_range short_noise_thres
joint_net_conf pred_masked_weight pred_nomask_weight loss_weights num_classes required distributed simple_ddp
version dataset dataset_type dataset_conf train_conf data_dir data_path mc gpu_id gpu_num oss_bucket use_pai
num_worker_count access_key_id access_key_secret endpoint bucket_name embed_path task mode enable_tf32 frontends
split_fbank online_chunk_samples ctc_weight cmvn seg_jieba note model_dir weights released description author license
licence hub model_revision trust_remote_code is_training device
"""
# Settings of this package, in the configurations of its own training runs (train.options).
_OWN = """
pretrained init_model more_train_dirs batch_unit prefetch_batches cache_mb min_ms max_ms max_tokens max_bad_share
passes_per_epoch speed_perturb noise_probability noise_snr_db reverb_probability extend_vocab lora_rank lora_alpha
lora_targets phone_ctc_weight phone_ctc_layer share_pronunciations max_steps lr precision valid_decode
valid_decode_utterances save_interval accept_changed_data num_gpus process_timeout_s init_model
"""
USED = frozenset(_USED.split())
WITHOUT_EFFECT = frozenset((_WITHOUT_EFFECT + _OWN).split())
# Key -> the values that are implemented; anything else is refused.
ONLY: dict[str, tuple[Any, ...]] = {
    "split_with_space": (None, False, True),
    "token_type": (None, "char", "bpe", "word", "phn"),
    "frontend": (None, "wav_frontend", "wav_frontend_online"),
    "normalize": (None, "utterance_mvn"),
    "preencoder": (None,),
    "preencoder_conf": (None, {}),
    "postencoder": (None,),
    "postencoder_conf": (None, {}),
    "specaug": (None, "specaug", "specaug_lfr"),
}
FRONTEND = {
    "fs": Range(1000, 384_000, is_whole=True),
    "n_mels": Range(1, 1024, is_whole=True),
    "frame_length": Range(1, 1000),
    "frame_shift": Range(1, 1000),
    "lfr_m": Range(1, 100, is_whole=True),
    "lfr_n": Range(1, 100, is_whole=True),
    "dither": NOT_NEGATIVE,
}


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Check a folder's configuration (0.x key names) outside its components.

    Args:
        where: the file, for messages.

    Raises:
        UsageError: an unknown key, a value that is not implemented, a number that is invalid or out of range.
    """
    for key, value in config.items():
        if key in ONLY:
            if not any(value is known or (type(value) is type(known) and value == known) for known in ONLY[key]):
                known = ", ".join("null" if v is None else str(v) for v in ONLY[key])
                raise UsageError(f"{key}: {value!r:.60} is not implemented", where=where, hint=f"use one of: {known}")
        elif key not in USED | WITHOUT_EFFECT:
            known_keys = [*USED, *ONLY]
            hint = did_you_mean(key, known_keys) or "remove the key; it is never read"
            raise UsageError(f"unknown key '{key:.60}'", where=where, hint=hint)
        elif key.endswith("_conf") and key in USED and not isinstance(value, (Mapping, type(None))):
            raise UsageError(f"{key} is {value!r:.60}, not a mapping", where=where, hint="write 'name: value' lines")
    check_frontend(config.get("frontend_conf") or {}, f"{where}: frontend_conf")
    check_model_conf(str(config.get("model") or "asr"), config.get("model_conf") or {}, where)
    if config.get("input_size") is not None:
        Range(1, 100_000, is_whole=True).check("input_size", config["input_size"], where)


def check_frontend(conf: Mapping[str, Any], where: str) -> None:
    """Numbers of ``frontend_conf`` are numbers in range. Raises UsageError."""
    if not isinstance(conf.get("window", ""), (str, type(None))):
        raise UsageError(f"window is {conf['window']!r:.60}", where=where, hint="give a string, such as hamming")
    for key, allowed in FRONTEND.items():
        if (value := conf.get(key)) is not None and not allowed.has(in_hz(value) if key == "fs" else value):
            allowed.check(key, value, where)


def in_hz(fs: Any) -> Any:
    """``fs`` as a number where FunASR writes it as ``16k`` or ``'16000'``; anything else as it is."""
    text = fs.lower().removesuffix("k") if isinstance(fs, str) else ""
    if not text.replace(".", "", 1).isdigit():
        return fs
    return float(text) * (1000 if fs.lower().endswith("k") else 1)
