"""Cuts the subsets in this folder from the full reference numbers (see README.md).

Usage: python tests/golden/make.py REFERENCE_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
METHODS = ("unimodal", "crossmodal_random", "crossmodal_zeroshot")
KEPT_WEIGHTS = ("last__head.weight", "best__head.weight", "last__img_scale", "last__txt_scale")

KEPT_OF_TRUNK = (
    "xproj_in.fc.bias",
    "yproj_in.fc.bias",
    "encoder.conv.weight",
    "encoder.transformer.layers.0.self_attn.in_proj_bias",
    "encoder.transformer.layers.2.linear2.bias",
    "encoder.transformer.layers.4.norm1.weight",
    "decoders.0.fc.bias",
    "decoders.1.fc.bias",
)


def cut(reference: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The arrays and the plain values of the subset."""
    arrays: dict[str, np.ndarray] = {}
    for prefix, name in (
        ("A2_data", "A2_data"),
        ("A2_init", "A2_init"),
        ("A2_batches", "A2_batches"),
        ("A3", "A3_zeroshot"),
        ("A5", "A5_early_stopping"),
        ("A5_data", "A5_easy_data"),
    ):
        arrays |= {f"{prefix}/{k}": v for k, v in np.load(reference / f"{name}.npz").items()}
    # The longest case of A5 that stops ends before iteration 500.
    for name in ("A5/img_bs8", "A5/txt_bs8"):
        arrays[name] = arrays[name][:501]
    for key, value in np.load(reference / "A1_lr_schedule.npz").items():
        arrays[f"A1/{key}"] = np.concatenate([value[:301], value[301::50]])
    for key, value in np.load(reference / "A2_runs_f64.npz").items():
        _, config, name = key.split("__", 2)
        losses = name in ("img_loss", "txt_loss", "val_loss", "val_acc")
        if losses or (name in KEPT_WEIGHTS and config in ("c0", "c5")):
            arrays[f"A2/{key}"] = value
    for key, value in np.load(reference / "A2_runs_f32.npz").items():
        if key.endswith(("__img_loss", "__txt_loss")):
            arrays[f"A2_f32/{key}"] = value
    summary = json.loads((reference / "A2_summary.json").read_text())
    plain = {
        "A2": {k: v for k, v in summary["configs"].items() if k.startswith("f64")},
        "A2_f32_gap": summary["f32_vs_f64_max_abs_gap"],
        "A5": json.loads((reference / "A5_early_stopping.json").read_text()),
    }
    return arrays, plain


def cut_trunk(reference: Path) -> dict[str, np.ndarray]:
    """The arrays of A4 but for the initial weights, which are drawn again (see README.md)."""
    arrays: dict[str, np.ndarray] = {}
    for key, value in np.load(reference / "A4_forward.npz").items():
        if not key.startswith("f32") and not key.endswith("__zx"):
            # The official table was computed in float32.
            kept = value.astype(np.float32) if key.endswith("pos_table") else value
            arrays[f"forward/{key}"] = kept
    for key, value in np.load(reference / "A4_train20.npz").items():
        final = key.partition("__final__")[2]
        if key.startswith("f64") and (not final or final in KEPT_OF_TRUNK):
            arrays[f"train/{key}"] = value
    return arrays


def cut_tower(reference: Path) -> dict[str, np.ndarray]:
    """AudioCLIP's audio tower: filter banks, scaled samples, and an embedding of each mode."""
    found = np.load(reference / "audioclip" / "audioclip_golden.npz")
    whole = (
        "base__fbsp_kernel_rows",
        "fbspN__fbsp_kernel_rows",
        "base__scaled_head",
        "base__emb_train_norm",
    )
    first = {"fbspN__emb_eval_f64": found["fbspN__emb_eval_f64"][:1]}
    return {name: found[name] for name in whole} | first


def main(reference: Path) -> None:
    """Writes sweep.npz, sweep.json, trunk.npz and audioclip.npz beside this file."""
    np.savez_compressed(HERE / "audioclip.npz", **cut_tower(reference))
    arrays, plain = cut(reference)
    np.savez_compressed(HERE / "trunk.npz", **cut_trunk(reference))
    np.savez_compressed(HERE / "sweep.npz", **arrays)
    (HERE / "sweep.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
