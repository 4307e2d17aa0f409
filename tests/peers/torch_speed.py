"""How much faster valence computes preference losses and their gradients than torch's autograd on TRL's own code, here and now.

Usage: build/peers-trl/bin/python tests/peers/torch_speed.py build/bench/bin/bench_preference [names...]

Both on one thread, value and both gradients of 2^20 pairs whose log-probabilities are in memory; processor time, the median of
several evaluations, ours and torch's taken in turns, loss by loss. Needs what `./dev peers --trl` installs; not a test, because
times depend on the machine. The goals are printed with what misses them.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import time

try:
    import torch
    import trl_losses
except ImportError as missing:
    print(f"skipped: {missing} (./dev peers --trl installs what is needed; it is large)")
    sys.exit(77)

GOALS = {"float": 5.0, "double": 4.0}
TYPES = {"float": torch.float32, "double": torch.float64}
PAIRS = 1 << 20


def dpo(*loss_types: str, **options):
    def loss(c, chosen, rejected):
        return trl_losses.dpo({"loss_types": list(loss_types)} | options, chosen, rejected, c.ref_chosen, c.ref_rejected,
                              completion_mask=c.lengths)
    return loss


def cpo(mean: bool, **options):
    def loss(c, chosen, rejected):
        nll = -chosen.sum() / c.chosen_length.sum() if options.get("cpo_alpha") else torch.zeros(())
        if mean:
            chosen, rejected = chosen / c.chosen_length, rejected / c.rejected_length
        return trl_losses.cpo({"cpo_alpha": 0.0} | options, chosen, rejected, nll)
    return loss


def orpo(c, chosen, rejected):
    return trl_losses.orpo({}, chosen / c.chosen_length, rejected / c.rejected_length, -chosen.sum() / c.chosen_length.sum())


# Under the names of benchmarks/preference.cpp.
LOSSES = {
    "dpo": dpo("sigmoid"), "rdpo": dpo("robust", label_smoothing=0.1), "hinge": dpo("hinge"), "ipo_averaged": dpo("ipo"),
    "sigmoid_norm": dpo("sigmoid_norm"), "exo": dpo("exo_pair", label_smoothing=1e-3), "discopop": dpo("discopop", beta=0.05),
    "nca": dpo("nca_pair", beta=0.01), "bco_pair": dpo("bco_pair"), "sppo": dpo("sppo_hard"), "apo_zero": dpo("apo_zero"),
    "apo_down": dpo("apo_down"), "aot": dpo("aot"), "aot_unpaired": dpo("aot_unpaired"),
    "dpo_forward_kl": dpo("sigmoid", f_divergence_type="forward_kl"), "dpo_js": dpo("sigmoid", f_divergence_type="js_divergence"),
    "dpo_alpha": dpo("sigmoid", f_divergence_type="alpha_divergence"),
    "dpo_log_prob": cpo(False), "cpo": cpo(False, cpo_alpha=1.0), "simpo": cpo(True, loss_type="simpo", beta=2.0),
    "alphapo": cpo(True, loss_type="simpo", beta=2.0, alpha=0.25), "orpo": orpo,
}
FLOAT_ONLY = {"dpo_alpha", "orpo"}  # TRL computes these in float, or not at all in double


def columns(dtype):
    random = torch.Generator().manual_seed(1)
    chosen, rejected, shift, other = (torch.rand(PAIRS, generator=random, dtype=dtype) for _ in range(4))
    n_chosen, n_rejected = (torch.randint(1, 61, (PAIRS,), generator=random).to(dtype) for _ in range(2))
    chosen, rejected = -50 * chosen - 1, -50 * rejected - 1
    return trl_losses.SimpleNamespace(
        chosen=chosen.requires_grad_(), rejected=rejected.requires_grad_(), ref_chosen=chosen.detach() + shift,
        ref_rejected=rejected.detach() + other, chosen_length=n_chosen, rejected_length=n_rejected,
        lengths=torch.cat([n_chosen, n_rejected])[:, None])  # a "mask" of one column, whose sum is the length


def torch_ns(loss, c, evaluations: int) -> list[float]:
    times = []
    for i in range(evaluations + 1):  # the first is to warm up
        c.chosen.grad = c.rejected.grad = None
        start = time.process_time()
        loss(c, c.chosen, c.rejected).backward()
        times.append((time.process_time() - start) * 1e9 / PAIRS)
    return times[1:]


def valence_ns(program: pathlib.Path, name: str) -> float:
    done = subprocess.run([program, f"--benchmark_filter=^{name}/manual_time$", "--benchmark_format=json", "--benchmark_min_time=0.1"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout)["benchmarks"][0]["ns_pair"]


program, chosen = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or list(LOSSES)
torch.set_num_threads(1)
print(f"torch {torch.__version__}, one thread, nanoseconds a pair (value and gradients of {PAIRS} pairs)")
print(f"{'loss':16}" + "".join(f"{kind:>10}: ours {'torch':>8} {'ratio':>7}" for kind in TYPES))
missed, ratios = [], {kind: [] for kind in TYPES}
data = {kind: columns(dtype) for kind, dtype in TYPES.items()}
for name in chosen:
    line = f"{name:16}"
    for kind, dtype in TYPES.items():
        if kind == "double" and name in FLOAT_ONLY:
            continue
        torch.set_default_dtype(dtype)
        mine, theirs = [], []
        for _ in range(3):
            mine.append(valence_ns(program, f"{name}/{kind}"))
            theirs += torch_ns(LOSSES[name], data[kind], 3)
        mine, theirs = statistics.median(mine), statistics.median(theirs)
        ratios[kind].append(theirs / mine)
        line += f"{mine:16.2f} {theirs:8.1f} {theirs / mine:6.1f}x"
        if theirs / mine < GOALS[kind]:
            missed.append(f"{name}/{kind}")
    print(line, flush=True)
for kind, found in ratios.items():
    if found:
        print(f"{kind}: {min(found):.1f}x to {max(found):.1f}x, median {statistics.median(found):.1f}x (goal: at least {GOALS[kind]:g}x)")
print("below the goal: " + (", ".join(missed) or "none"))
