#!/usr/bin/env -S python3 -S -E
"""Behaves as sbatch, squeue, scancel, scontrol or sacct, by the name that it is called by, as ``scenario.json`` says.

``$FAKE_SLURM`` is the folder of the scenario, of the log of all calls, and of what was submitted. The scenario:
``states``: per submission (0, 1, ...) and index a list of "STATE|NODE|REASON", one for each squeue, of which the last
stays; "" is not listed. ``down``: how many calls of a command find no controller. ``lost_answers``: of how many
submissions the answer is lost. ``refuse``: what sbatch refuses. ``run``: start the elements as processes; a state is
then the process's, unless the scenario has one.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])
NAME = Path(sys.argv[0]).name
SCENARIO = json.loads((HOME / "scenario.json").read_text())


def load(name, default):
    path = HOME / name
    return json.loads(path.read_text()) if path.exists() else default


def save(name, value):
    (HOME / name).write_text(json.dumps(value))


def option(name):
    return next((word.split("=", 1)[1] for word in sys.argv if word.startswith(f"--{name}=")), "")


def indices(text):
    for part in text.split("%")[0].split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def sbatch():
    if any(part in " ".join(sys.argv) for part in SCENARIO.get("refuse", [])):
        sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified")
    number = len(load("arrays.json", []))
    elements = list(indices(option("array")))
    if max(elements) >= SCENARIO.get("max_array", 1001):
        sys.exit("sbatch: error: Batch job submission failed: Invalid job array specification")
    script = next(position for position, word in enumerate(sys.argv[1:], start=1) if not word.startswith("--"))
    if SCENARIO.get("run"):
        for index in elements:
            environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(index)}
            command = ["sh", "-c", f'bash "$@"; echo $? > "{HOME}/code.{number}.{index}"', "sh", *sys.argv[script:]]
            subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    save("arrays.json", [*load("arrays.json", []), elements])
    save("environment.json", dict(os.environ))
    save("names.json", [*load("names.json", []), option("job-name")])
    if number < SCENARIO.get("lost_answers", 0):
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    print(100 + number)


def squeue():
    if name := option("name"):
        print("\n".join(str(100 + n) for n, known in enumerate(load("names.json", [])) if known == name))
        return
    asked, ended = load("asked.json", {}), load("cancelled.json", [])
    for array in map(int, option("jobs").split(",")):
        submissions = load("arrays.json", [])
        for index in submissions[array - 100] if array - 100 < len(submissions) else []:
            states = SCENARIO.get("states", {}).get(str(array - 100), {}).get(str(index))
            code = HOME / f"code.{array - 100}.{index}"
            if f"{array}_{index}" in ended or str(array) in ended:
                state = "CANCELLED||None"
            elif states is None and SCENARIO.get("run"):
                done = code.exists() and code.read_text()
                state = (
                    "RUNNING|n1|None" if not done else f"{'COMPLETED' if done == '0' + chr(10) else 'FAILED'}|n1|None"
                )
            else:
                states = states or ["COMPLETED|n1|None"]
                turn = asked.get(f"{array}_{index}", 0)
                asked[f"{array}_{index}"] = turn + 1
                state = states[min(turn, len(states) - 1)]
            if state:
                print(f"{array}|{index}|{state}")
    save("asked.json", asked)


def scancel():
    save("cancelled.json", [*load("cancelled.json", []), *sys.argv[1:]])


def scontrol():
    print(f"Configuration data\nMaxArraySize            = {SCENARIO.get('max_array', 1001)}\nMaxJobCount = 10000")


def sacct():
    print("\n".join(SCENARIO.get("sacct", [])))


with open(HOME / "calls.jsonl", "a") as log:
    log.write(json.dumps([NAME, *sys.argv[1:]]) + "\n")
downs = load("downs.json", {})
if downs.get(NAME, 0) < SCENARIO.get("down", {}).get(NAME, 0):
    save("downs.json", downs | {NAME: downs.get(NAME, 0) + 1})
    sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
assert not re.search(r"SLURM_(JOB|MEM)", " ".join(os.environ)) or NAME == "scancel"
{"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "scontrol": scontrol, "sacct": sacct}[NAME]()
