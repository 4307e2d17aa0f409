"""valence reads preference rows as TRL does: the same prompt, chosen and rejected for 2,000 rows of all shapes.

Usage: trl_peer.py <io_peer>

TRL's documented rule (trl.extract_prompt, applied where a row has no prompt of its completions' shape) is stated here again in
Python's own terms: sequences of characters or of messages. Where the package `trl` is installed, its function is asked too.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

try:
    from trl.data_utils import maybe_extract_prompt as asked
except ImportError:
    asked = None

TOOL = pathlib.Path(sys.argv[1]).resolve()


def stated(row):
    chosen, rejected = row["chosen"], row["rejected"]
    if "prompt" in row and type(row["prompt"]) is type(chosen):
        return row
    same = next((i for i, (a, b) in enumerate(zip(chosen, rejected)) if a != b), None)
    if same is None:  # one begins with the other: an element stays for each completion
        same = min(len(chosen), len(rejected)) - 1
    elif same > 0 and chosen[same - 1] == " ":  # the space goes with the completions
        same -= 1
    return {"prompt": chosen[:same], "chosen": chosen[same:], "rejected": rejected[same:]}


def deviates(row):
    """The one case where we do not follow: TRL looks at chosen[-1] when the texts differ from the start."""
    chosen, rejected = row["chosen"], row["rejected"]
    return isinstance(chosen, str) and chosen[0] != rejected[0] and chosen[-1] == " "


def rows(rng):
    def text(least, most):
        return "".join(rng.choice("ab  éèü\n\t\"\\😀😁→x") for _ in range(rng.randint(least, most)))

    def turns(least, most):
        return [{"role": rng.choice(["user", "assistant"]), "content": text(0, 2)} | ({"name": "n"} if rng.random() < 0.1 else {})
                for _ in range(rng.randint(least, most))]

    for _ in range(2000):
        make = text if rng.random() < 0.6 else turns
        prompt = make(0, 6)
        row = {"chosen": prompt + make(0, 3), "rejected": prompt + make(0, 3)}
        if not row["chosen"] or not row["rejected"]:
            continue
        if rng.random() < 0.2:
            row["prompt"] = make(1, 3)
        elif rng.random() < 0.1:
            row["prompt"] = "a question" if make is turns else [{"role": "user", "content": "a question"}]
        if rng.random() < 0.2:
            row["ref_chosen_logps"], row["ref_rejected_logps"] = -rng.random() * 100, -rng.random() * 1e-5
        yield row


given = list(rows(random.Random(7)))
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "rows.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for index, row in enumerate(given):
            file.write(json.dumps(row, ensure_ascii=index % 2 == 0) + ("\r\n" if index % 3 == 0 else "\n"))
    done = subprocess.run([TOOL, "preferences", path], capture_output=True, text=True, encoding="utf-8", check=True)
read = [json.loads(line) for line in done.stdout.split("\n") if line]
assert [line["line"] for line in read] == list(range(1, len(given) + 1)), [line for line in read if "reason" in line][:3]
compared = 0
for row, line in zip(given, read):
    expected = stated(row) | {key: row[key] for key in row if key.startswith("ref_")}
    assert line["row"] == expected, (row, line["row"], expected)
    if asked and not deviates(row):
        theirs = asked(dict(row))
        assert all(line["row"][key] == theirs[key] for key in ("prompt", "chosen", "rejected")), (row, line["row"], theirs)
        compared += 1
print(f"{len(given)} rows read as TRL's rule says; {compared} compared with the package" + ("" if asked else " (trl is not installed)"))
