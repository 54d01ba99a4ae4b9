#!/usr/bin/env python3
"""Checks a stele evidence file with the Python standard library alone.

Written from record.md and evidence.md beside it alone, to show that they suffice.

IT CHECKS NO SIGNATURE: the standard library has neither Ed25519 nor ML-DSA-44. A file that somebody
made up from end to end passes here; `stele verify` tells it apart.

Usage: verify_evidence.py FILE [LOG.pub]       exit code: 0 no fault, 5 a fault, 1 anything else
"""
import base64, collections, hashlib, hmac, json, pathlib, sys

FORMAT, LINE_BYTES_MAX = "stele-evidence/v1", 64 * 1024 * 1024 // 3 * 4 + 1024 * 1024
SOURCE_OPEN, SEAL, GAP = 1, 2, 3
# Fields of a CBOR map by key: major types allowed, and which numbers or lengths they may have.
UINT64, BYTES32 = ({0}, range(2**64)), ({2}, [32])
UINT32, UINT16, INT64 = ({0}, range(2**32)), ({0}, range(2**16)), ({0, 1}, range(2**63))
HEADER = {1: UINT64, 2: BYTES32, 3: UINT64, 4: UINT64, 5: UINT32, 6: UINT16, 7: INT64, 8: INT64,
          9: ({3}, range(129)), 10: UINT64, 11: UINT16, 12: BYTES32}
SEAL_FIELDS = {1: UINT64, 2: BYTES32, 3: INT64, 4: ({2}, [64])}
ALGORITHMS = {1: ("Ed25519", 32), 4: ("Ed25519 cosignature", 32), 6: ("ML-DSA-44", 1312)}

def require(condition, what):
    if not condition:
        raise ValueError(what)

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def unbase64(text, what, length=None):
    data = base64.b64decode(str(text), validate=True)
    require(base64.b64encode(data).decode() == text, f"{what}: not canonical base64")
    require(length in (None, len(data)), f"{what}: expected {length} bytes")
    return data

def json_object(data, what):
    value = json.loads(data.decode(), object_pairs_hook=list)
    require(data.lstrip()[:1] == b"{", f"{what}: expected an object")
    require(len(dict(value)) == len(value), f"{what}: a member is there twice")
    return dict(value)

def cbor_head(data, at):
    """Major type, argument and next offset; the argument must have its shortest form."""
    major, low = data[at] >> 5, data[at] & 31
    if low < 24:
        return major, low, at + 1
    require(low < 28, "CBOR: indefinite or reserved length")
    size = 1 << (low - 24)
    value = int.from_bytes(data[at + 1:at + 1 + size], "big")
    require(value >= (24 if size == 1 else 1 << 4 * size), "CBOR: cut off, or not shortest form")
    return major, value, at + 1 + size

def cbor_map(data, fields, optional=()):
    """A map with these fields in ascending order of their keys, and nothing after it."""
    major, count, at = cbor_head(data, 0)
    require(major == 5, "CBOR: expected a map")
    found, last = {}, 0
    for _ in range(count):
        major, key, at = cbor_head(data, at)
        require(major == 0 and key > last and key in fields, f"CBOR: unexpected key {key}")
        (majors, allowed), last = fields[key], key
        major, value, at = cbor_head(data, at)
        require(major in majors and value in allowed, f"CBOR: key {key}: wrong type or size")
        if major in (2, 3):
            found[key], at = data[at:at + value], at + value
        else:
            found[key] = value if major == 0 else -1 - value
    require(at == len(data), "CBOR: cut off, or bytes follow after the map")
    require(set(fields) - set(optional) <= set(found), "CBOR: a field is missing")
    return found

def root_of(leaf, index, size, proof):
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2)."""
    require(0 <= index < size, f"the tree of size {size} has no leaf {index}")
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        require(last != 0, "the proof has too many hashes")
        if node & 1 or node == last:
            value = sha256(b"\x01", sibling, value)
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            value = sha256(b"\x01", value, sibling)
        node, last = node >> 1, last >> 1
    require(last == 0, "the proof has too few hashes")
    return value

def read_key(text):
    """Name, id and algorithm of a vkey NAME+ID+KEY."""
    name, written, key = text.split("+", 2)
    key = unbase64(key, "key")
    algorithm, length = ALGORITHMS.get(key[0], ("unknown", -1))
    require(len(key) == 1 + length, f"key {name}: wrong length or unknown algorithm")
    key_id = sha256(name.encode(), b"\n", key)[:4]
    require(key_id.hex() == written.lower(), f"key id {written} is not that of its key")
    return name, key_id, algorithm

def open_checkpoint(note, keys):
    """Origin, size and root of a checkpoint with a line of each key. CHECKS NO SIGNATURE."""
    require(all(c >= " " or c == "\n" for c in note), "checkpoint: a control character")
    text, _, lines = note.rpartition("\n\n")
    body, signed = text.split("\n"), set()
    well_formed = lines.endswith("\n") and all(body) and str(int(body[1])) == body[1]
    require(well_formed, "checkpoint: not origin, size, root, empty line, signatures")
    for line in lines[:-1].split("\n"):
        dash, name, signature = line.split(" ")
        require(dash == "\u2014", "checkpoint: not a signature line")
        signed.add((name, unbase64(signature, "signature")[:4]))
    for name, key_id, algorithm in keys:
        require((name, key_id) in signed, f"no line of key {name}+{key_id.hex()} ({algorithm})")
    require(body[0] in [key[0] for key in keys], "the origin is not the name of a key")
    return body[0], int(body[1]), unbase64(body[2], "root", 32)

class Records:
    def __init__(self, size, root):
        self.size, self.root, self.last = size, root, -1
        self.streams, self.counts = {}, collections.Counter()

    def check(self, line):
        record = json_object(line, "record")
        index, data = record["index"], unbase64(record["record"], "record")
        require(type(index) is int and index > self.last, "the index is not in ascending order")
        require(len(data) <= 512, "the header is longer than 512 bytes")
        require(data[1:3] == b"\x01\x01", "a header of another version than 1")
        header, leaf = cbor_map(data, HEADER, optional=(7, 9)), sha256(b"\x00", data)
        header.get(9, b"").decode()  # must be UTF-8
        proof = [unbase64(text, "proof", 32) for text in record["proof"]]
        require(root_of(leaf, index, self.size, proof) == self.root, "not in the checkpoint's tree")
        self.counts["records in the tree of the checkpoint"] += 1
        self.counts["gaps that the sources themselves recorded"] += header[6] == GAP
        self.chain(header, leaf, self.payload(record, header))
        self.last = index

    def payload(self, record, header):
        if record["payload"] is None or record["salt"] is None:
            self.counts["payloads that are not in the file"] += 1
            return None
        payload, salt = unbase64(record["payload"], "payload"), unbase64(record["salt"], "salt", 32)
        require(len(payload) == header[10], "the payload does not have the length in its record")
        commitment = hmac.digest(salt, payload, "sha256")
        require(commitment == header[12], "the payload is not what its record commits to")
        self.counts["payloads that are what their record commits to"] += 1
        return payload

    def chain(self, header, leaf, payload):
        stream, seq = (header[2], header[3]), header[4]
        next_seq, head = self.streams.get(stream, (0, None))
        require(seq >= next_seq, "the source's sequence numbers run backwards")
        if seq == 0:
            head = sha256(b"stele/chain/v1\0", stream[0], stream[1].to_bytes(8, "big"))
        elif seq == next_seq:
            self.counts["records that follow the source's one before without a hole"] += 1
        else:
            head = None  # Records are left out in between: the next seal gives a head again.
        if header[6] == SOURCE_OPEN and payload is not None:
            key = bytes.fromhex(json_object(payload, "declaration")["publicKey"])
            require(sha256(key) == stream[0], "the declared key is not the source's")
        if header[6] == SEAL and payload is not None:
            seal = cbor_map(payload, SEAL_FIELDS)
            require(seal[1] == seq, "the seal is over another number of records")
            require(head in (None, seal[2]), "the seal is over other records than those before it")
            self.counts["seals that name exactly the records before them"] += head is not None
            head = seal[2]
        self.streams[stream] = seq + 1, head and sha256(b"\x02", head, leaf)

def check(file, keys):
    """Checks a file and raises its first fault. If `keys` is None, those in the file are taken."""
    number = 1
    try:
        manifest = json_object(file.readline(LINE_BYTES_MAX), "manifest")
        require(manifest["format"] == FORMAT, f"format {manifest['format']!r} is not {FORMAT}")
        keys = [read_key(key) for key in (manifest.get("keys", []) if keys is None else keys)]
        origin, size, root = open_checkpoint(manifest["checkpoint"], keys)
        require(manifest["origin"] == origin, "the manifest names another log")
        records = Records(size, root)
        while line := file.readline(LINE_BYTES_MAX):
            number += 1
            records.check(line)
        require(manifest["count"] == number - 1, f"the manifest says {manifest['count']} records")
    except (ValueError, LookupError, TypeError, RecursionError) as fault:
        raise ValueError(f"line {number}: {fault!r}") from fault
    print(f"checkpoint: {origin}, size {size}, root {root.hex()}, {number - 1} records")
    print("".join(f"{count:>9} {name}\n" for name, count in records.counts.items()), end="")

def main(path, key_path=None):
    keys = pathlib.Path(key_path).read_text().splitlines() if key_path else None
    print("SIGNATURES ARE NOT CHECKED, neither the checkpoint's nor the seals': use `stele verify`")
    print("keys:", key_path or "THE FILE'S OWN CLAIM; better give the log's public keys")
    try:
        with open(path, "rb") as file:
            check(file, keys and [key for key in keys if key and key[0] != "#"])
    except ValueError as fault:
        print(f"DOES NOT HOLD: {fault}")
        return 5
    print("no fault was found in what was checked")
    return 0

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else __doc__)
