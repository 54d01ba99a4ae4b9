"""Checks a COSE receipt of a stele log with scitt-cose, which shares no code with stele.

    verify_receipt.py RECEIPT VKEY LEAF
    verify_receipt.py RECEIPT VKEY OLDER_CHECKPOINT NEWER_CHECKPOINT

VKEY is the log's Ed25519 verifier key (C2SP signed-note), LEAF the file with the leaf's bytes. Prints
what the receipt says; exit code 1 if it does not hold. scitt-cose recomputes the root from leaf and
proof and checks the signature over it. It has no receipts of consistency: of those the proof is
checked with its Merkle code between the roots of the two checkpoints, and the signature with its COSE
code over the newer one.
"""

import base64
import sys

import cbor2
import scitt_cose
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

VDP, CONSISTENCY = 396, -2


def pem(vkey):
    algorithm, *key = base64.b64decode(vkey.split("+", 2)[2])
    if algorithm != 1:
        sys.exit("FAILED: not an Ed25519 key")
    public = Ed25519PublicKey.from_public_bytes(bytes(key))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def inclusion(receipt, leaf, key):
    result = scitt_cose.verify_receipt(receipt, leaf_entry_hex=leaf.hex(), log_public_key_pem=key)
    if not result.ok:
        sys.exit(f"FAILED: {result.errors}")
    print(f"index {result.leaf_index} of {result.issuer} {result.subject} at {result.iat}, root {result.root}")


def checkpoint(name):
    with open(name, encoding="utf-8") as file:
        _, size, root = file.read().split("\n")[:3]
    return int(size), base64.b64decode(root).hex()


def consistency(receipt, proof, older, newer, key):
    old, new, path = cbor2.loads(proof)
    (old_size, old_root), (new_size, new_root) = checkpoint(older), checkpoint(newer)
    if (old, new) != (old_size, new_size):
        sys.exit(f"FAILED: a receipt from {old} to {new}, checkpoints {old_size} and {new_size}")
    path = [node.hex() for node in path]
    if not scitt_cose.verify_consistency(old_root, new_root, old, new, path):
        sys.exit("FAILED: the proof does not lead from the older root to the newer one")
    try:
        scitt_cose.verify_sign1(
            receipt,
            public_key_pem=key,
            detached_payload=bytes.fromhex(new_root),
            understood_labels=frozenset({1, 2, 4, 15, 395}),
        )
    except scitt_cose.CoseError as error:
        sys.exit(f"FAILED: {error}")
    print(f"{old} is continued by {new}, root {new_root}")


def main():
    with open(sys.argv[1], "rb") as file:
        receipt = file.read()
    key = pem(sys.argv[2])
    proofs = cbor2.loads(receipt).value[1][VDP]
    if CONSISTENCY in proofs:
        consistency(receipt, proofs[CONSISTENCY][0], sys.argv[3], sys.argv[4], key)
    else:
        with open(sys.argv[3], "rb") as file:
            inclusion(receipt, file.read(), key)
    print("OK")


main()
