"""The whole ledger as files, over gRPC, and each file once more over HTTP: export.py http://127.0.0.1:PORT FOLDER

What lies in the folder is then the auditor's to judge; its last line of output is the key to judge it with.
"""

import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import grpc

import stubs

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
inference, _, ledger, _ = stubs.MESSAGES
INFERENCE, _, LEDGER, _ = stubs.over(grpc.insecure_channel(ADDRESS.removeprefix("http://")))


def ask():
    """Something to record: the base, each adapter, several answers at once."""
    for adapters in [[], ["clay"], ["loess"], ["clay", "loess"]]:
        uses = [inference.AdapterUse(name=name) for name in adapters]
        ends = inference.Ends(max_tokens=40, ignore_eos=True)
        request = inference.GenerateRequest(text="What grows here?", adapters=uses, ends=ends, n=2, receipt=True)
        assert len([event for event in INFERENCE.Generate(request, timeout=60) if event.HasField("receipt")]) == 2


def logs():
    """The logs, once all of each is signed."""
    until = time.monotonic() + 10
    while True:
        found = LEDGER.Logs(ledger.LogsRequest(), timeout=60).logs
        if all(log.signed_size == log.size for log in found):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.05)


def exported():
    """Each file's bytes by its path, written to the folder too."""
    files, ended = {}, set()
    for part in LEDGER.Export(ledger.ExportRequest(), timeout=60):
        assert part.path not in ended, f"{part.path} goes on after its end"
        assert ".." not in part.path.split("/") and not part.path.startswith("/"), part.path
        files[part.path] = files.get(part.path, b"") + part.bytes
        ended |= {part.path} if part.last else set()
    assert ended == set(files), "every file has an end"
    for path, data in files.items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_bytes(data)
    return files


def get(path):
    try:
        with urllib.request.urlopen(f"{ADDRESS}/{urllib.parse.quote(path)}", timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read()


def is_static(path):
    """A log's own files, which are the public's; rows and manifests are made for whoever asked for the export."""
    log = next((log for log in ["records/", "usage/1/"] if path.startswith(log)), None)
    rest = path[len(log) :] if log else ""
    return rest in ("checkpoint", "policy.txt") or rest.startswith(("checkpoints/", "tile/"))


ask()
found = logs()
assert [log.log for log in found] == ["records", "usage/1"], found
files = exported()
static = [path for path in files if is_static(path)]
private = [path for path in files if not is_static(path)]
print(len(files), "files, of which these are this export's alone:", *sorted(private))
for wanted in ["records/checkpoint", "usage/1/checkpoint", "usage/1/policy.txt"]:
    assert wanted in static, wanted
for kind in ["tile/0/", "tile/entries/", "checkpoints/"]:
    assert any(path.startswith(f"usage/1/{kind}") for path in static), kind
for path in static:
    status, headers, data = get(path)
    assert status == 200 and data == files[path], (path, status, len(data), len(files[path]))
    if path.endswith("/checkpoint"):
        assert headers["cache-control"] == "no-store", "a head is asked for anew"
        assert headers["content-type"].startswith("text/plain")
    elif path.endswith("/policy.txt"):
        assert headers["cache-control"] == "no-store", "a policy may change"
    else:
        assert "immutable" in headers["cache-control"], path
print(len(static), "files are the same over HTTP")
for missing in ["usage/1/tile/0/999", "usage/9/checkpoint", "usage/1/nothing", "records/tile/../checkpoint", *private]:
    status, _, _ = get(missing)
    assert status == 404, (missing, status)
print("and no others are there")
print(next(log.verifier_key for log in found if log.log == "records"))
