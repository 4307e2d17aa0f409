"""Every preference loss that TRL and valence both have: value and gradient agree, on random and on extreme log-probabilities.

Usage: trl_losses_peer.py <losses_peer>

TRL's own code runs (trl_losses.py). In double the two agree to 1e-12, in float to 1e-6: relative to the number itself, or to 1 for
a value and to beta for a slope where TRL takes the difference of two numbers near one (1 - sigmoid(x)), and of what is smaller
only noise is left. In float, numbers that depend steeply on their inputs may also differ by as much as they move when the
log-ratios are rounded (a relative 2^-22); and where TRL's float is farther than all this from double and ours is not, it is
counted and not held against ours. Where TRL gives NaN or infinity ours must not: these cases are listed. Needs the
packages of requirements-trl.txt, `./dev peers --trl`; without them the test is skipped.
"""
import collections
import json
import math
import pathlib
import random
import subprocess
import sys

try:
    import torch
    import transformers
    import trl
    import trl_losses
except ImportError as missing:
    print(f"skipped: {missing} (./dev peers --trl installs what is needed; it is large)")
    sys.exit(77)

TYPES = {"double": (torch.float64, 1e-12), "float": (torch.float32, 1e-6)}
PAIRS = ["chosen", "rejected", "ref_chosen", "ref_rejected"]
DIVERGENCES = {"forward_kl": "forward_kl", "js": "js_divergence", "alpha": "alpha_divergence"}

peer = subprocess.Popen([pathlib.Path(sys.argv[1]).resolve()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ours(question: dict) -> dict:
    print(json.dumps(question), file=peer.stdin, flush=True)
    return json.loads(peer.stdout.readline())


# ------------------------------------------------------------------------------------------------ what is compared

# Ours, its options, TRL's function, its options, the types in which TRL can do it.
Case = collections.namedtuple("Case", "ours options trainer trl types", defaults=[("double", "float")])


def cases():
    def dpo(name, options, loss_type, trl_options={}, **more):
        shared = {key: value for key, value in options.items() if key in ("beta", "label_smoothing")}
        return Case(name, options, "dpo", {"loss_types": [loss_type]} | shared | trl_options, **more)

    for beta in (0.05, 0.1, 0.5):
        yield dpo("dpo", {"beta": beta}, "sigmoid")
        yield dpo("ipo_averaged", {"beta": beta}, "ipo")
    for name, loss_type in [("hinge", "hinge"), ("nca", "nca_pair"), ("bco_pair", "bco_pair"), ("sppo", "sppo_hard"),
                            ("apo_zero", "apo_zero"), ("apo_down", "apo_down"), ("sigmoid_norm", "sigmoid_norm")]:
        yield dpo(name, {"beta": 0.1}, loss_type)
    for smoothing in (1e-3, 0.1, 0.3):
        for name, loss_type in [("rdpo", "robust"), ("exo", "exo_pair"), ("aot", "aot"), ("aot_unpaired", "aot_unpaired")]:
            yield dpo(name, {"beta": 0.1, "label_smoothing": smoothing}, loss_type)
    for tau in (0.05, 0.5):
        yield dpo("discopop", {"beta": 0.1, "tau": tau}, "discopop", {"args": trl_losses.SimpleNamespace(discopop_tau=tau)})
    yield dpo("batch_token_mean_sft", {}, "sft")
    yield Case("mpo", {"beta": 0.1}, "dpo", {"loss_types": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]})
    for divergence, theirs in DIVERGENCES.items():
        for name, loss_type in [("dpo", "sigmoid"), ("hinge", "hinge"), ("exo", "exo_pair"), ("rdpo", "robust"),
                                ("discopop", "discopop")]:
            smoothed = {"label_smoothing": 0.1} if name in ("exo", "rdpo") else {}
            # TRL's table of clamps has no entry for double, so there is nothing to compare with.
            yield dpo(f"{name}/{divergence}", {"beta": 0.1} | smoothed | ({"tau": 0.05} if name == "discopop" else {}), loss_type,
                      {"f_divergence_type": theirs}, types=("float",) if divergence == "alpha" else ("double", "float"))
    for weight in (1.0, 0.5):
        for name in ("kto", "apo_zero_unpaired"):
            weights = {"desirable_weight": weight, "undesirable_weight": 1.5 * weight} if name == "kto" else {}
            yield Case(name, {"beta": 0.1} | weights, "kto",
                       {"beta": 0.1, "loss_type": name, "calculate_KL": name == "kto"} | weights)
    yield Case("cpo", {"beta": 0.1, "alpha": 0.7}, "cpo", {"cpo_alpha": 0.7})
    yield Case("cdpo/log_prob", {"beta": 0.1, "label_smoothing": 0.2}, "cpo", {"cpo_alpha": 0.0, "label_smoothing": 0.2})
    yield Case("hinge/log_prob", {"beta": 0.1}, "cpo", {"cpo_alpha": 0.0, "loss_type": "hinge"})
    yield Case("ipo/mean_log_prob", {"beta": 0.1}, "cpo_mean", {"cpo_alpha": 0.0, "loss_type": "ipo"})
    for smoothing in (0.0, 0.1):
        both = {"beta": 2.0, "label_smoothing": smoothing}
        yield Case("simpo", both | {"gamma": 0.7}, "cpo_mean", both | {"cpo_alpha": 0.0, "loss_type": "simpo", "simpo_gamma": 0.7})
        for alpha in (0.25, -0.5):
            yield Case("alphapo", both | {"gamma": 0.7, "alpha": alpha}, "cpo_mean",
                       both | {"cpo_alpha": 0.0, "loss_type": "simpo", "simpo_gamma": 0.7, "alpha": alpha})
    # TRL computes the odds in float whatever it is given.
    yield Case("orpo", {"lambda": 0.1}, "orpo", {"beta": 0.1}, ("float",))
    for name, loss_type in [("cdpo/log_prob", "sigmoid"), ("hinge/log_prob", "hinge"), ("ipo/mean_log_prob", "ipo"),
                            ("simpo", "tpo-l")]:
        smoothed = {"label_smoothing": 0.1} if name in ("cdpo/log_prob", "simpo") else {}
        yield Case(name, {"beta": 0.1} | smoothed | ({"gamma": 0.5} if name == "simpo" else {}), "tpo",
                   {"beta": 0.1, "loss_type": loss_type} | smoothed)
    yield Case("dpo", {"beta": 0.1}, "online_dpo", {"beta": 0.1, "loss_type": "sigmoid"})
    yield Case("ipo", {"beta": 0.1}, "online_dpo", {"beta": 0.1, "loss_type": "ipo"})


# ------------------------------------------------------------------------------------------------ TRL's side


def theirs(case: Case, batch: dict, dtype) -> dict:
    """Value and gradients, under our names."""
    torch.set_default_dtype(dtype)  # some of TRL's constants are tensors of the default type

    def column(key, source=batch, gradient=False):
        return torch.tensor(source[key], dtype=dtype, requires_grad=gradient)

    if case.trainer == "kto":
        single, kl = batch["unpaired"], batch["kl"]
        log_prob = column("log_prob", single, True)
        loss = trl_losses.kto(case.trl, log_prob, column("ref_log_prob", single), torch.tensor(single["desirable"]),
                              column("log_prob", kl), column("ref_log_prob", kl))
        loss.backward()
        return {"loss": loss.item(), "d_unpaired": log_prob.grad.tolist()}

    leaves = [column("chosen", gradient=True), column("rejected", gradient=True)]
    n_chosen, n_rejected = torch.tensor(batch["chosen_length"]), torch.tensor(batch["rejected_length"])
    reference = [column("ref_chosen"), column("ref_rejected")]
    width = max(batch["chosen_length"] + batch["rejected_length"])
    mask = (torch.arange(width) < torch.cat([n_chosen, n_rejected])[:, None]).long()
    # All of a response's log-probability on its first token: the sum over the tokens is then exact.
    tokens = torch.cat([torch.cat(leaves)[:, None], torch.zeros(len(mask), width - 1)], 1)
    if case.trainer == "dpo":
        prompt_too = torch.cat([torch.zeros(len(mask), 1, dtype=torch.long), mask], 1)
        loss = trl_losses.dpo(case.trl, *leaves, *reference, code_from="logps", per_token_logps=tokens,
                              completion_mask=prompt_too, shift_completion_mask=mask)
    elif case.trainer == "tpo":
        loss = trl_losses.tpo(case.trl, tokens, mask)
    elif case.trainer == "online_dpo":
        loss = trl_losses.online_dpo(case.trl, *leaves, *reference)
    else:
        means = leaves if case.trainer == "cpo" else [leaves[0] / n_chosen, leaves[1] / n_rejected]
        nll = -leaves[0].sum() / n_chosen.sum()  # cross-entropy over the batch's tokens
        loss = (trl_losses.orpo if case.trainer == "orpo" else trl_losses.cpo)(case.trl, *means, nll)
    loss.backward()
    zero = torch.zeros(len(leaves[0]))
    return {"loss": loss.item(), **{f"d_{key}": (zero if leaf.grad is None else leaf.grad).tolist()
                                    for key, leaf in zip(PAIRS, leaves)}}


# ------------------------------------------------------------------------------------------------ batches


def random_batch(rng: random.Random, size: int) -> dict:
    def responses():
        return [-rng.expovariate(1 / 40) - 0.01 for _ in range(size)]

    chosen, rejected = responses(), responses()
    return {"chosen": chosen, "rejected": rejected, "ref_chosen": [q + rng.gauss(0, 5) for q in chosen],
            "ref_rejected": [q + rng.gauss(0, 5) for q in rejected],
            "chosen_length": [rng.randint(1, 30) for _ in chosen], "rejected_length": [rng.randint(1, 30) for _ in rejected]}


def extreme_batches():
    """One pair each: log-ratios and margins from 0 to thousands, both signs; certain and nearly certain answers."""
    for chosen in (0.0, 1.0, -50.0, 50.0, -800.0, 800.0, -20000.0, 20000.0):
        for rejected in (0.0, 50.0, -800.0, 800.0):
            low = min(-chosen, -rejected, 0.0) - 1000  # both log-probabilities stay below 0
            yield {"chosen": [low + chosen], "rejected": [low + rejected], "ref_chosen": [low], "ref_rejected": [low],
                   "chosen_length": [3], "rejected_length": [7]}
    for chosen in (0.0, -1e-38, -1e-12, -1e-7, -1e-3, -5.0, -700.0, -5000.0):
        yield {"chosen": [chosen], "rejected": [-2.0], "ref_chosen": [-3.0], "ref_rejected": [-2.5], "chosen_length": [1],
               "rejected_length": [2]}


def singles(batch: dict) -> dict:
    """A batch of pairs as single responses, and a rotation of it as the mismatched ones."""
    log_prob, reference = batch["chosen"] + batch["rejected"], batch["ref_chosen"] + batch["ref_rejected"]
    size = len(batch["chosen"])
    return {"unpaired": {"log_prob": log_prob, "ref_log_prob": reference, "desirable": [True] * size + [False] * size},
            "kl": {"log_prob": log_prob[::2], "ref_log_prob": reference[::2]}}


def rounded(batch, dtype):
    """The numbers as both sides see them."""
    if isinstance(batch, dict):
        return {key: value if "length" in key or key == "desirable" else rounded(value, dtype) for key, value in batch.items()}
    return torch.tensor(batch, dtype=dtype).tolist()


# ------------------------------------------------------------------------------------------------ comparing

failures, notes, compared = [], collections.defaultdict(list), 0
# Deviation over tolerance; in float: ours from double, TRL's from double, and how many of TRL's numbers are off alone.
worst = collections.defaultdict(lambda: [0.0, 0.0, 0.0, 0])


def flat(answer: dict) -> list[tuple[str, float]]:
    return [("loss", answer["loss"])] + [(f"{key}[{i}]", x) for key in sorted(answer) if key != "loss"
                                         for i, x in enumerate(answer[key])]


def nudged(case: Case, batch: dict, key: str) -> dict:
    """The batch with the log-ratios of `key` (log-probabilities, where there is no reference) off by a rounding in float."""
    # Online DPO takes the difference of the two responses first, so that it is log-probabilities that are rounded.
    reference = batch.get(f"ref_{key}") if case.trainer in ("dpo", "kto") else None
    return batch | {key: [r + (q - r) * (1 + 2**-22) for q, r in zip(batch[key], reference or [0.0] * len(batch[key]))]}


def moves(case: Case, batch: dict, question: dict, exact: dict) -> dict:
    """How far roundings move each number."""
    off = collections.Counter()
    variants = [batch | {"unpaired": nudged(case, batch["unpaired"], "log_prob")}] if "unpaired" in batch else \
        [nudged(case, batch, key) for key in ("chosen", "rejected")]
    for variant in variants:
        for name, x in flat(ours(question | {"batch": variant})):
            off[name] += abs(x - exact[name])
    return off


def compare(case: Case, batch: dict, kind: str, label: str):
    global compared
    dtype, tolerance = TYPES[kind]
    batch = rounded(singles(batch) if case.trainer == "kto" else batch, dtype)
    question = {"loss": case.ours, "type": kind, "options": case.options, "batch": batch}
    answer, expected = ours(question), theirs(case, batch, dtype)
    name = f"{case.trainer}: {case.ours} {case.options} {kind}, {label}"
    sick = [(key, x) for key, x in flat(expected) if not math.isfinite(x)]
    said = f"TRL: loss {expected['loss']:g}" + (f", {sick[-1][0]} {sick[-1][1]:g}" if sick else ", all finite")
    if "error" in answer:
        notes[case.trainer, case.ours, kind].append(f"{label}: {said}; ours refuses: {answer['error']}")
        if not sick:
            failures.append(f"{name}: {answer['error']}")
        return
    if any(not math.isfinite(x) for _, x in flat(answer)):
        failures.append(f"{name}: ours is not finite: {answer}")
        return
    if sick:
        notes[case.trainer, case.ours, kind].append(f"{label}: {said}; ours: loss {answer['loss']:g}, all finite")
        return
    exact = slack = collections.Counter()
    if kind == "float":
        question |= {"type": "double"}
        exact = dict(flat(ours(question)))
        slack = moves(case, batch, question, exact)
    beta, size = case.options.get("beta", case.options.get("lambda", 1.0)), (len(flat(answer)) - 1) / 2
    record = worst[case.trainer, case.ours, kind]
    for (key, a), (same_key, b) in zip(flat(answer), flat({key: expected[key] for key in answer}), strict=True):
        assert key == same_key
        compared += 1
        unit = 1.0 if key == "loss" else beta / size
        allowed = tolerance * max(abs(b), unit) + slack[key]
        if kind == "float":
            for i, x in enumerate((a, b), 1):
                record[i] = max(record[i], abs(x - exact[key]) / max(abs(exact[key]), unit))
            if abs(b - exact[key]) > allowed >= abs(a - exact[key]):
                record[3] += 1
                continue
        record[0] = max(record[0], abs(a - b) / allowed)
        if abs(a - b) > allowed:
            failures.append(f"{name}: {key} is {a!r}, TRL has {b!r}")


def label_of(batch):
    u = [batch[a][0] - batch[b][0] for a, b in (("chosen", "ref_chosen"), ("rejected", "ref_rejected"))]
    return f"log-prob of the chosen {batch['chosen'][0]:g}, log-ratios {u[0]:g} and {u[1]:g}"


for case in cases():
    for kind in case.types:
        for seed, size in enumerate((1, 2, 7, 64, 256)):
            compare(case, random_batch(random.Random(seed), size), kind, f"random batch of {size}")
        for batch in extreme_batches():
            compare(case, batch, kind, label_of(batch))

# WPO: TRL weighs each pair by the probabilities of its own tokens, ours by the column `weight`.
rng = random.Random(11)
batch = rounded(random_batch(rng, 50), torch.float64)
mask = torch.tensor([[1]] * 100)
leaves = [torch.tensor(batch[key], dtype=torch.float64, requires_grad=True) for key in PAIRS]
tokens, sums = torch.cat(leaves[:2])[:, None] / 50, torch.tensor([[-rng.random()] for _ in range(100)], dtype=torch.float64)
torch.set_default_dtype(torch.float64)
loss = trl_losses.dpo({"use_weighting": True}, *leaves, code_from="chosen_logratios", per_token_logps=tokens, seq_len=1,
                      outputs=trl_losses.SimpleNamespace(log_sum_sq_probs=sums), completion_mask=mask,
                      shift_completion_mask=mask)
loss.backward()
weights = torch.exp(tokens - sums).detach()[:, 0]
answer = ours({"loss": "dpo", "type": "double", "options": {"beta": 0.1},
               "batch": {key: batch[key] for key in PAIRS} | {"weight": (weights[:50] * weights[50:]).tolist()}})
for mine, them in [(answer["loss"], loss.item()), *zip(answer["d_chosen"], leaves[0].grad.tolist())]:
    compared += 1
    if abs(mine - them) > 1e-12 * max(abs(them), 1e-3):
        failures.append(f"dpo with use_weighting: {mine!r}, TRL has {them!r}")

# LD-DPO: TRL's statements sum the tokens, ours are `ld_log_prob`; then the losses must agree.
for ld_alpha in (0.0, 0.3, 1.0):
    lengths = [[rng.randint(1, 9) for _ in range(20)] for _ in range(2)]
    rows = [[[-rng.expovariate(1) for _ in range(n)] for n in side] for side in lengths]
    mask = torch.tensor([[1] * n + [0] * (9 - n) for side in lengths for n in side])
    tokens = torch.tensor([row + [0.0] * (9 - len(row)) for side in rows for row in side], dtype=torch.float64)
    reference = [torch.zeros(20, dtype=torch.float64)] * 2
    loss = trl_losses.dpo({"ld_alpha": ld_alpha}, None, None, *reference, code_from="logps", per_token_logps=tokens,
                          completion_mask=mask, shift_completion_mask=mask).item()
    shared = [min(pair) for pair in zip(*lengths)]
    sums = [[ours({"ld_alpha": ld_alpha, "common": k, "tokens": row})["log_prob"] for k, row in zip(shared, side)] for side in rows]
    mine = ours({"loss": "dpo", "type": "double", "options": {"beta": 0.1}, "batch": dict(
        zip(PAIRS, [*sums, [0.0] * 20, [0.0] * 20]))})["loss"]
    compared += 1
    if abs(mine - loss) > 1e-12 * abs(loss):
        failures.append(f"dpo with ld_alpha {ld_alpha}: {mine!r}, TRL has {loss!r}")

print(f"trl {trl.__version__}, torch {torch.__version__}, transformers {transformers.__version__}: {len(worst)} losses and types, "
      f"{compared} numbers compared")
print("\nlargest deviation as a share of the tolerance; in float also the largest relative deviations from double, ours and TRL's, "
      "and how many of TRL's numbers alone are off:")
for (trainer, name, kind), (off, mine, them, alone) in sorted(worst.items()):
    print(f"  {trainer:10} {name:22} {kind:6} {off:8.2g}" + (f" {mine:12.2g} {them:8.2g} {alone:4}" if kind == "float" else ""))
print("\nwhere TRL gives NaN or infinity, or we refuse:")
for (trainer, name, kind), found in sorted(notes.items()):
    print(f"  {trainer}: {name}, {kind}, {len(found)} batches: {found[0]}")
if failures:
    sys.exit("\n".join([f"\n{len(failures)} numbers differ:", *failures[:40]]))
