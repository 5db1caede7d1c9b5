#!/usr/bin/env python3
"""Builds the fuzz targets (fuzz/) once and runs each for a while. Exit code 1 if one finds something.

    scripts/fuzz.py [--seconds N] [--jobs N] [TARGET …]
    scripts/fuzz.py --runs N    from the seeds alone, the same inputs each time
    scripts/fuzz.py --lock      brings fuzz/Cargo.lock to the versions of Cargo.lock

New inputs are collected in target/fuzz/corpus and kept between runs (not with --runs). Findings are in
target/fuzz/found, each with the command that reproduces it. The seeds in fuzz/corpus are never changed.
With cargo-fuzz and a nightly Rust, `cargo fuzz run TARGET` works, too.

libFuzzer comes with the crate libfuzzer-sys and needs a C++ compiler; without one, the exit code is 3.
"""

import argparse
import concurrent.futures
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
STATE = TARGET / "fuzz"
CARGO = os.environ.get("CARGO", "cargo")
NOT_HERE = 3

# As much as a worker of the service has; what recurses without end is found by it.
STACK = 2 * 1024 * 1024
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]


def main():
    options = arguments()
    if options.lock:
        return lock()
    compiler = os.environ.get("CXX") or next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is None:
        print("fuzz: no C++ compiler found: libFuzzer needs one (install g++ or clang)", file=sys.stderr)
        return NOT_HERE
    targets = options.targets or sorted(path.stem for path in (FUZZ / "fuzz_targets").glob("*.rs"))
    build()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda target: run(target, options), targets))
    found = [target for target, good in zip(targets, results) if not good]
    how_long = f"{options.runs:,} runs" if options.runs else f"{options.seconds} s"
    print(f"fuzz: {len(targets)} targets, {how_long} each, found something: {', '.join(found) or 'none'}")
    return 1 if found else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=300, help="for each target (300)")
    parser.add_argument("--runs", type=int, help="run this many inputs per target from a fixed seed instead")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at once (the cores)")
    parser.add_argument("--lock", action="store_true", help="bring fuzz/Cargo.lock up to date, and nothing else")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, if none is named")
    return parser.parse_args()


def build():
    """In the main workspace's target folder: with the same features and options there, Cargo finds the
    dependencies built. The wrapper instruments our crates, whose files are not those of the main workspace,
    since Cargo tells them apart by path and options."""
    environment = {**os.environ, "RUSTC_WRAPPER": str(FUZZ / "rustc.sh"), "CARGO_TARGET_DIR": str(TARGET)}
    built = subprocess.run([CARGO, "build", "--locked", "--bins"], cwd=FUZZ, env=environment)
    if built.returncode != 0:
        sys.exit("fuzz: the targets cannot be built; if a lock file is in the way, run scripts/fuzz.py --lock")


def lock():
    """The same versions as in the main workspace, so that what is fuzzed is what is shipped."""
    shutil.copyfile(ROOT / "Cargo.lock", FUZZ / "Cargo.lock")
    command = [CARGO, "metadata", "--format-version=1"]
    return subprocess.run(command, cwd=FUZZ, stdout=subprocess.DEVNULL).returncode


def run(target, options):
    gathered, found = STATE / "corpus" / target, STATE / "found"
    found.mkdir(parents=True, exist_ok=True)
    seeds = FUZZ / "corpus" / target
    command = [TARGET / "debug" / target, *LIMITS, f"-artifact_prefix={found / target}-"]
    if options.runs:
        # An empty folder in the place of what was gathered: nothing is written into the seeds.
        shutil.rmtree(gathered.with_name(f"{target}.fixed"), ignore_errors=True)
        gathered = gathered.with_name(f"{target}.fixed")
        command += [f"-runs={options.runs}", "-seed=1"]
    else:
        command.append(f"-max_total_time={options.seconds}")
    gathered.mkdir(parents=True, exist_ok=True)
    command += [gathered, seeds]
    dictionary = FUZZ / "dictionaries" / f"{target}.dict"
    if dictionary.is_file():
        command.append(f"-dict={dictionary}")
    log = STATE / f"{target}.log"
    with log.open("wb") as output:
        code = subprocess.run(command, cwd=FUZZ, stdout=output, stderr=output, preexec_fn=small_stack).returncode
    text = log.read_text(errors="replace")
    print(f"fuzz: {target}: {'good' if code == 0 else 'FOUND SOMETHING'}, {statistics(text)}", flush=True)
    if code != 0:
        print(f"fuzz: the end of {log}:", *text.splitlines()[-40:], sep="\n", file=sys.stderr)
    return code == 0


def small_stack():
    resource.setrlimit(resource.RLIMIT_STACK, (STACK, STACK))


def statistics(text):
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    covered = re.findall(r"cov: (\d+)", text)
    return f"{int(runs.group(1)) if runs else 0:,} runs, {covered[-1] if covered else 0} places reached"


if __name__ == "__main__":
    sys.exit(main())
