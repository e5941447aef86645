"""Sends the same calls to the sandbox, moto and ministack, and fails on any difference that the table does not list.

Usage: run.py --binary PATH [--only TEXT] [--show]
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import astrapy  # noqa: E402
import singlestoredb  # noqa: E402

import clouds  # noqa: E402
import compare  # noqa: E402
import contract  # noqa: E402
import generate  # noqa: E402
import record  # noqa: E402
import sequence  # noqa: E402
import singlestore_client  # noqa: E402
import vendor_client  # noqa: E402

HERE = Path(__file__).parent
FEWEST = 200


class Aside(threading.Thread):
    """Something that runs beside the rest, and fails where its result is asked for."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.value, self.problem = work, None, None
        self.start()

    def run(self):
        try:
            self.value = self.work()
        except BaseException as problem:  # noqa: BLE001 - handed to the caller
            self.problem = problem

    def result(self):
        self.join()
        if self.problem:
            raise self.problem
        return self.value


# cloud -> its own client
VENDORS = {"astra": (vendor_client, astrapy), "singlestore": (singlestore_client, singlestoredb)}


def vendors_client(stack, directory, binary, cloud):
    """A vendor's own client on a sandbox of its own; what went over the wire keeps to the contract."""
    checks, client = VENDORS[cloud]
    sandbox = stack.enter_context(clouds.Sandbox(directory, binary, cloud))
    file = Path(directory) / f"{cloud}.jsonl"
    with record.Recorder(getattr(sandbox, cloud), file) as recorder:
        checks.check(sandbox, recorder.address)
    exchanges = [json.loads(line) for line in file.read_text().splitlines()]
    seen, problems = contract.judge(exchanges, whole=False, table=contract.Table(HERE / f"{cloud}-contract.yaml"))
    name = f"{client.__name__} {client.__version__}"
    if problems:
        raise SystemExit("\n".join([f"what {name} and the sandbox say is not in the contract:", *problems]))
    return f"{name}: {len(exchanges)} exchanges of {len(seen)} calls, all in the contract"


def all_outcomes(running, sequences):
    """cloud -> outcomes of each sequence; the clouds work side by side."""

    def work(cloud):
        caller = sequence.Caller(cloud)
        return [sequence.outcomes(caller, s, n) for n, s in enumerate(sequences)]

    working = {cloud.name: Aside(lambda cloud=cloud: work(cloud)) for cloud in running}
    return {name: aside.result() for name, aside in working.items()}


def judge(sequences, results, entries, show):
    """The lines to complain about."""
    unlisted, compared = [], Counter()
    for witness in ("moto", "ministack"):
        for n, s in enumerate(sequences):
            found, count = compare.sequence(
                witness, s["steps"], results["sandbox"][n], results[witness][n], s["name"]
            )
            compared[witness] += count
            for d in found:
                fitting = [e for e in entries if e.fits(d)]
                for entry in fitting[:1]:
                    entry.seen[d.witness] = entry.seen.get(d.witness, 0) + 1
                if not fitting:
                    unlisted.append(d)
    complaints = []
    groups = {}
    for d in unlisted:
        groups.setdefault((d.witness, d.call, d.at, d.ours, d.theirs, d.message if show else ""), []).append(d)
    for (witness, call, at, ours, theirs, _), all_of_it in sorted(groups.items()):
        d = all_of_it[0]
        complaints.append(
            f"not listed: {call} {at}: sandbox {ours} ({d.message[:150]}), {witness} {theirs}; "
            f"{len(all_of_it)} times, first: {d.where}"
        )
    for entry in entries:
        for witness in entry.witnesses:
            if witness not in entry.seen:
                complaints.append(f"listed, but it does not occur any more with {witness}: {entry}")
    return complaints, compared


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--only", default="", help="only sequences whose name contains this")
    parser.add_argument("--show", action="store_true", help="print every outcome")
    options = parser.parse_args()
    began = time.monotonic()
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    by_hand = sequence.load(HERE / "sequences")
    sequences = by_hand + generate.sequences()
    if not options.only and len(sequences) < FEWEST:
        raise SystemExit(f"{len(sequences)} sequences are fewer than {FEWEST}")
    sequences = [s for s in sequences if options.only in s["name"]]
    entries = compare.load(HERE / "differences.yaml")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        running = [clouds.Sandbox(directory, options.binary), clouds.Moto(directory), clouds.Ministack(directory)]
        for cloud in running:
            stack.enter_context(cloud)
        vendors = [
            Aside(lambda cloud=cloud: vendors_client(stack, directory, options.binary, cloud)) for cloud in VENDORS
        ]
        results = all_outcomes(running, sequences)
        vendors_say = [vendor.result() for vendor in vendors]
    if options.show:
        for n, s in enumerate(sequences):
            print(s["name"])
            for i, step in enumerate(s["steps"]):
                print("  ", step["call"], step.get("args", ""))
                for name, outcome in results.items():
                    print("     ", name, outcome[n][i])
    complaints, compared = judge(sequences, results, entries, options.show)
    calls = sum(len(s["steps"]) for s in sequences)
    print(
        f"{len(sequences)} sequences ({len(by_hand)} by hand), {calls} calls; compared with moto {compared['moto']}, "
        f"with ministack {compared['ministack']}; {len(entries)} known differences; "
        f"{time.monotonic() - began:.0f} s"
    )
    print(*vendors_say, sep="\n")
    if complaints and not options.only:
        print("\n".join(complaints), file=sys.stderr)
        raise SystemExit(f"{len(complaints)} complaints: see tests/witness/README.md for what to do")
    if complaints:
        print("\n".join(complaints))


if __name__ == "__main__":
    main()
