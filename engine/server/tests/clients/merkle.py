"""The tree of RFC 6962 and C2SP's texts about it, from their own descriptions: nothing of this project is used."""

import base64
import hashlib


def leaf(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Checkpoint:
    """A C2SP tlog-checkpoint; its signatures are not looked at."""

    def __init__(self, note):
        body, signatures = note.decode().split("\n\n", 1)
        self.origin, size, root = body.split("\n")[:3]
        self.size, self.root = int(size), base64.b64decode(root, validate=True)
        assert len(self.root) == 32
        assert signatures.startswith(f"\u2014 {self.origin} "), signatures


class Proof:
    """A C2SP tlog-proof."""

    def __init__(self, proof):
        head, note = proof.split(b"\n\n", 1)
        lines = head.decode().split("\n")
        assert lines.pop(0) == "c2sp.org/tlog-proof@v1", proof
        if lines[0].startswith("extra "):
            lines.pop(0)
        self.index = int(lines.pop(0).removeprefix("index "))
        self.path = [base64.b64decode(line, validate=True) for line in lines]
        self.checkpoint = Checkpoint(note)


def root_of(entry, proof):
    """The root that an inclusion proof leads to: RFC 9162, 2.1.3.2."""
    at, last, found = proof.index, proof.checkpoint.size - 1, leaf(entry)
    assert at <= last
    for beside in proof.path:
        assert last > 0, "the path is too long"
        if at % 2 == 1 or at == last:
            found = node(beside, found)
            while at % 2 == 0 and at > 0:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, beside)
        at, last = at >> 1, last >> 1
    assert last == 0, "the path is too short"
    return found


def grew(old, new, path):
    """Whether a consistency proof leads from one checkpoint to the other: RFC 9162, 2.1.4.2."""
    if old.size & (old.size - 1) == 0:
        path = [old.root, *path]
    at, last = old.size - 1, new.size - 1
    while at % 2 == 1:
        at, last = at >> 1, last >> 1
    one = other = path[0]
    for beside in path[1:]:
        if last == 0:
            return False
        if at % 2 == 1 or at == last:
            one, other = node(beside, one), node(beside, other)
            while at % 2 == 0 and at > 0:
                at, last = at >> 1, last >> 1
        else:
            other = node(other, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and (one, other) == (old.root, new.root)
