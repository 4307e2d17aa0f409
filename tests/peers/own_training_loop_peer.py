"""A training loop in Python whose losses and gradients come from examples/own_training_loop through a pipe.

Usage: own_training_loop_peer.py <own_training_loop>
"""
import json
import math
import subprocess
import sys

TOOL = sys.argv[1]


def run(*arguments: str, text: str = ""):
    return subprocess.run([TOOL, *arguments], input=text, capture_output=True, text=True, encoding="utf-8", timeout=60)


# A table of three answers to one prompt, the best first; the reference is uniform. DPO through the pipe must learn it.
pairs = [(0, 1), (1, 2), (0, 2)]
logits = [0.0, 0.0, 0.0]
pipe = subprocess.Popen([TOOL, "-", "--loss", "dpo", "--set", "beta=0.5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
losses = []
for _ in range(200):
    total = math.log(sum(map(math.exp, logits)))
    log_prob = [z - total for z in logits]
    batch = {"chosen": [log_prob[w] for w, _ in pairs], "rejected": [log_prob[l] for _, l in pairs],
             "ref_chosen": [-math.log(3)] * 3, "ref_rejected": [-math.log(3)] * 3}
    print(json.dumps(batch), file=pipe.stdin, flush=True)
    answer = json.loads(pipe.stdout.readline())  # comes before the next batch is sent
    margins = [0.5 * (w - l) for w, l in zip(batch["chosen"], batch["rejected"])]
    expected = sum(math.log1p(math.exp(-m)) for m in margins) / 3
    assert abs(answer["loss"] - expected) < 1e-14 * max(1, expected), (answer["loss"], expected)
    for d, e, m in zip(answer["d_chosen"], answer["d_rejected"], margins):
        assert abs(d + 0.5 / 3 / (1 + math.exp(m))) < 1e-15 and e == -d, (d, e, m)
    losses.append(answer["loss"])
    for (w, l), d, e in zip(pairs, answer["d_chosen"], answer["d_rejected"]):
        for a in range(3):
            p = math.exp(log_prob[a])
            logits[a] -= d * ((a == w) - p) + e * ((a == l) - p)
pipe.stdin.close()
assert pipe.wait(timeout=60) == 0
assert abs(losses[0] - math.log(2)) < 1e-15 and losses[-1] < 0.5 * losses[0] and logits[0] > logits[1] > logits[2], losses

# Any loss by name, with its hyper-parameters; KTO reads single responses.
single = {"unpaired": {"log_prob": [-3.0, -4.0], "ref_log_prob": [-5.0, -4.0], "desirable": [True, False]},
          "kl": {"log_prob": [-1.0], "ref_log_prob": [-2.0]}}
answer = json.loads(run("-", "--loss", "kto", "--set", "beta=0.2", text=json.dumps(single)).stdout)
terms = [1 / (1 + math.exp(0.2 * (2 - 1))), 1 / (1 + math.exp(0.2 * (1 - 0)))]
assert abs(answer["loss"] - sum(terms) / 2) < 1e-15, answer
assert answer["d_unpaired"][0] < 0 < answer["d_unpaired"][1], answer

# What is wrong is refused with its line, after the answers to what was right before it.
good = json.dumps({"chosen": [-1.0], "rejected": [-2.0], "ref_chosen": [-1.0], "ref_rejected": [-2.0]})
for bad, words in [("[1]", "the line is an array"), ('{"chosen": [NaN]}', "not valid JSON"),
                   (good.replace("-1.0", '"x"', 1), "chosen[0] is a string"),
                   (good.replace("[-2.0]", "[]", 1), "rejected"), (good.replace("chosen", "chosne", 1), "unknown key 'chosne'")]:
    done = run("-", text=f"{good}\n\n{bad}\n{good}\n")
    assert done.returncode == 1 and "line 3" in done.stderr and words in done.stderr, (bad, done.stderr)
    assert len(done.stdout.splitlines()) == 1, done.stdout
for arguments, words in [(("--loss", "dppo"), "unknown loss"), (("--set", "beta"), "name=number"),
                         (("--set", "gamma=1"), "no option"), (("no/such/file.jsonl",), "no/such/file.jsonl"),
                         (("no/such/file.csv",), "no/such/file.csv"), (("--set", "beta=-1"), "beta")]:
    done = run(*arguments)
    assert done.returncode == 1 and words in done.stderr, (arguments, done.stderr)
print(f"{len(losses)} steps through the pipe: loss {losses[0]:.3f} to {losses[-1]:.3f}")
