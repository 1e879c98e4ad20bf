#!/usr/bin/env python3
"""A second implementation of spec/vault.md, sections 1 to 4, which made the vectors beside it.

Needs the package `cryptography`; Keccak and CBOR are written out below.  python3 vectors/vault/make.py
"""
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).parent
CONTENT, SEALED = 16370, 16386
MASK = (1 << 64) - 1


def keccak_256(data: bytes) -> bytes:
    """Original padding (01), rate 136."""
    def rol(x, n):
        return ((x << n) | (x >> (64 - n))) & MASK if n else x

    padded = bytearray(data) + b"\x01"
    padded += bytes(-len(padded) % 136)
    padded[-1] |= 0x80
    state = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), 136):
        for lane in range(17):
            x, y = lane % 5, lane // 5
            state[x][y] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        lfsr = 1
        for _ in range(24):
            column = [state[x][0] ^ state[x][1] ^ state[x][2] ^ state[x][3] ^ state[x][4] for x in range(5)]
            delta = [column[(x - 1) % 5] ^ rol(column[(x + 1) % 5], 1) for x in range(5)]
            state = [[lane ^ delta[x] for lane in state[x]] for x in range(5)]
            x, y, current = 1, 0, state[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                current, state[x][y] = state[x][y], rol(current, (t + 1) * (t + 2) // 2 % 64)
            for y in range(5):
                row = [state[x][y] for x in range(5)]
                for x in range(5):
                    state[x][y] = row[x] ^ (~row[(x + 1) % 5] & MASK & row[(x + 2) % 5])
            for bit in range(7):
                if lfsr & 1:
                    state[0][0] ^= 1 << ((1 << bit) - 1)
                lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
    return b"".join(state[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


def hkdf(ikm: bytes, info: bytes, salt: bytes = bytes(32)) -> bytes:
    key = hmac.digest(salt, ikm, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def ctr(key: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(data)


def u32(n: int) -> bytes:
    return n.to_bytes(4, "big")


def cbor(value) -> bytes:
    def head(major, n):
        for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if n < 24:
                return bytes([major << 5 | n])
            if n < 1 << 8 * size:
                return bytes([major << 5 | info]) + n.to_bytes(size, "big")

    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    pairs = sorted((cbor(k), cbor(v)) for k, v in value.items())
    return head(5, len(pairs)) + b"".join(k + v for k, v in pairs)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def pattern(length: int) -> bytes:
    """The design of the vectors: byte i is (7 i + ⌊i / 256⌋) mod 256."""
    return bytes((7 * i + i // 256) & 255 for i in range(length))


def secret(label: str, n: int = 0) -> bytes:
    return sha(f"millrace vector {label} {n}".encode())


def short(data: bytes) -> dict:
    return {"length": len(data), "first32": data[:32].hex(), "last32": data[-32:].hex(), "sha256": sha(data).hex()}


def segments(size: int, nonce: bytes):
    content = pattern(size)
    count = -(-size // CONTENT)
    ceks = [secret("cek", n) for n in range(count)]
    design_secret = secret("design secret")
    sealed = []
    for n in range(count):
        piece = content[n * CONTENT : (n + 1) * CONTENT].ljust(CONTENT, b"\0")
        aad = b"millrace/v1/segment" + nonce + u32(n) + bytes([n == count - 1])
        key = hkdf(ceks[n] + design_secret, b"millrace/v1/segment-key" + nonce + u32(n))
        sealed.append(AESGCM(key).encrypt(bytes(12), piece, aad))
        assert len(sealed[n]) == SEALED
    mac = hmac.digest(hkdf(ceks[0] + design_secret, b"millrace/v1/content-mac"), content, "sha256")
    return ceks, sealed, mac


def tree_root(leaves: list) -> bytes:
    """RFC 6962, 2.1, over hashes of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:]))


def hash_root(hashes: bytes) -> bytes:
    groups = [hashes[at : at + 64 * 32] for at in range(0, len(hashes), 64 * 32)]
    return tree_root([sha(b"\x00" + group) for group in groups])


def write(name: str, value) -> None:
    (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    assert keccak_256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    nonce = secret("design nonce")[:16]
    cases, manifests = [], []
    for size in (1, CONTENT, CONTENT + 1, 3 * CONTENT - 5):
        ceks, sealed, mac = segments(size, nonce)
        cases.append({
            "size": size, "nonce": nonce.hex(), "designSecret": secret("design secret").hex(), "contentMac": mac.hex(),
            "segments": [{"cek": k.hex(), "sealed": short(s)} for k, s in zip(ceks, sealed)],
        })
        hashes = b"".join(map(sha, sealed))
        times = b"".join(u32(12345 + n) for n in range(len(sealed)))
        core = {
            "owner": b"\x02" + secret("owner point"), "custody": "keys" if size == CONTENT else "owner", "kind": "gcode",
            "size": size, "segments": len(sealed), "nonce": nonce, "hashRoot": hash_root(hashes),
            "timesHash": sha(times), "privateHash": sha(pattern(1000)), "contentMac": mac,
        }
        manifest = {"v": 2, "hashes": hashes, "times": times, "private": pattern(1000)}
        if size == 1:
            del manifest["private"], core["privateHash"]
        manifest["core"] = cbor(core)
        manifests.append({
            "size": size, "manifest": cbor(manifest).hex(), "coreHash": sha(manifest["core"]).hex(),
            "designId": sha(b"millrace/v1/design" + manifest["core"])[:16].hex(),
        })
    write("segments.json", {"design": "byte i is (7 i + floor(i / 256)) mod 256", "cases": cases})
    trees = []
    for count in (1, 64, 65, 128, 129, 1000):
        hashes = b"".join(sha(u32(n)) for n in range(count))
        trees.append({"segments": count, "root": hash_root(hashes).hex()})
    write("manifest.json", {"cases": manifests, "hashes": "hash n is SHA-256(u32be(n))", "trees": trees})

    owner, salt = secret("owner"), secret("private salt")[:16]
    part = cbor({
        "v": 1, "name": "Größe 42.gcode", "nonce": nonce, "designSecret": secret("design secret"), "box": [-1500, 0, 200, 120000, 80000, 30400],
        "material": {"name": "PLA", "milligrams": 12345}, "time": {"model": 2831000, "slicer": 2797000},
    })
    plain = u32(len(part)) + part
    plain += bytes(-len(plain) % 4096)
    head = b"\x01" + salt
    key = hkdf(owner, b"millrace/v1/private-part", salt)
    write("private.json", {
        "secret": owner.hex(), "salt": salt.hex(), "nonce": nonce.hex(), "designSecret": secret("design secret").hex(),
        "sealed": (head + AESGCM(key).encrypt(bytes(12), plain, head)).hex(),
    })

    epoch_key, design, decoy_secret = secret("epoch key"), secret("design")[:16], secret("decoys")
    index_key = hkdf(epoch_key, b"index")
    cells = []
    for n in (0, 1, 255, 256, 4294967295):
        key = hmac.digest(epoch_key, b"outer" + design + u32(n), "sha256")
        index = keccak_256(index_key + design + u32(n))[:20]
        cells.append({"segment": n, "outerKey": key.hex(), "index": index.hex(), "body": short(ctr(key, pattern(SEALED)))})
    decoys = []
    for n in (0, 1, 77):
        seed = hmac.digest(decoy_secret, b"decoy" + u32(n), "sha256")
        decoys.append({"number": n, "seed": seed.hex(), "bytes": short(ctr(seed, bytes(SEALED)))})
    write("outer.json", {
        "sealed": "byte i is (7 i + floor(i / 256)) mod 256", "epochKey": epoch_key.hex(), "design": design.hex(),
        "indexKey": index_key.hex(), "cells": cells, "decoySecret": decoy_secret.hex(), "decoys": decoys,
    })


main()
