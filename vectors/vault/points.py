#!/usr/bin/env python3
"""A second implementation of the layer of points (spec/vault.md, section 3), which made points.json beside it.

Needs nothing: field, curve and RFC 9380's secp256k1_XMD:SHA-256_SSWU_RO_ are written out below.  python3 vectors/vault/points.py
"""
import hashlib
import hmac
import json
import pathlib

HERE = pathlib.Path(__file__).parent
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SEALED, CHUNK, POINTS, BODY = 16386, 30, 547, 18054
DST = b"millrace/v1/points/secp256k1_XMD:SHA-256_SSWU_RO_"

# RFC 9380, section 8.7 and appendix E.1: the curve 3-isogenous to secp256k1, and the isogeny's polynomials (lowest first).
ISO_A, ISO_B, Z = 0x3F8731ABDD661ADCA08A5558F0F5D272E953D363CB6F0E5D405447C01A444533, 1771, P - 11
X_NUM = [
    0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA8C7,
    0x07D3D4C80BC321D5B9F315CEA7FD44C5D595D2FC0BF63B92DFFF1044F17C6581,
    0x534C328D23F234E6E2A413DECA25CAECE4506144037C40314ECBD0B53D9DD262,
    0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA88C,
]
X_DEN = [
    0xD35771193D94918A9CA34CCBB7B640DD86CD409542F8487D9FE6B745781EB49B,
    0xEDADC6F64383DC1DF7C4B2D51B54225406D36B641F5E41BBC52A56612A8C6D14,
    1,
]
Y_NUM = [
    0x4BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684B8E38E23C,
    0xC75E0C32D5CB7C0FA9D0A54B12A0A6D5647AB046D686DA6FDFFC90FC201D71A3,
    0x29A6194691F91A73715209EF6512E576722830A201BE2018A765E85A9ECEE931,
    0x2F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F38E38D84,
]
Y_DEN = [
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFF93B,
    0x7A06534BB8BDB49FD5E9E6632722C2989467C1BFC8E8D978DFB425D2685C2573,
    0x6484AA716545CA2CF3A70C3FA8FE337E0A3D21162F0D6299A7BF8192BFD2A76F,
    1,
]


def root(a):
    y = pow(a, (P + 1) // 4, P)
    return y if y * y % P == a % P else None


def add(p, q):
    if p is None or q is None:
        return p or q
    (x1, y1), (x2, y2) = p, q
    if x1 == x2:
        if (y1 + y2) % P == 0:
            return None
        slope = 3 * x1 * x1 * pow(2 * y1, -1, P)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def multiply(k, p):
    out = None
    while k:
        if k & 1:
            out = add(out, p)
        p = add(p, p)
        k >>= 1
    return out


def expand(message, length, dst):
    tail = dst + bytes([len(dst)])
    first = hashlib.sha256(bytes(64) + message + length.to_bytes(2, "big") + b"\0" + tail).digest()
    blocks = [hashlib.sha256(first + b"\x01" + tail).digest()]
    while 32 * len(blocks) < length:
        mixed = bytes(a ^ b for a, b in zip(first, blocks[-1]))
        blocks.append(hashlib.sha256(mixed + bytes([len(blocks) + 1]) + tail).digest())
    return b"".join(blocks)[:length]


def polynomial(coefficients, x):
    return sum(c * pow(x, i, P) for i, c in enumerate(coefficients)) % P


def map_to_curve(u):
    """Simplified SWU of section 6.6.2, written straight from its definition, then the isogeny."""
    zu2 = Z * u * u % P
    tv = (zu2 * zu2 + zu2) % P
    inverse = pow(tv, -1, P) if tv else 0
    x = -ISO_B * pow(ISO_A, -1, P) * (1 + inverse) % P if inverse else ISO_B * pow(Z * ISO_A, -1, P) % P
    y = root((x**3 + ISO_A * x + ISO_B) % P)
    if y is None:
        x = zu2 * x % P
        y = root((x**3 + ISO_A * x + ISO_B) % P)
    if y % 2 != u % 2:
        y = P - y
    return (
        polynomial(X_NUM, x) * pow(polynomial(X_DEN, x), -1, P) % P,
        y * polynomial(Y_NUM, x) * pow(polynomial(Y_DEN, x), -1, P) % P,
    )


def hash_to_curve(message, dst=DST):
    uniform = expand(message, 96, dst)
    us = [int.from_bytes(uniform[48 * i : 48 * i + 48], "big") % P for i in range(2)]
    return add(map_to_curve(us[0]), map_to_curve(us[1]))


def embed(chunk):
    for counter in range(256):
        x = int.from_bytes(b"\0" + chunk + bytes([counter]), "big")
        y = root(x**3 + 7)
        if y is not None:
            return x, (P - y if y % 2 else y)


def layer(key, label, sealed):
    filled = sealed.ljust(POINTS * CHUNK, b"\0")
    body = b""
    for i in range(POINTS):
        point = add(embed(filled[i * CHUNK : (i + 1) * CHUNK]), multiply(key, hash_to_curve(label + i.to_bytes(4, "big"))))
        body += bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")
    return body.ljust(BODY, b"\0")


def secret(name):
    return hashlib.sha256(f"millrace vector {name}".encode()).digest()


def short(data):
    return {"length": len(data), "first32": data[:32].hex(), "last32": data[-32:].hex(), "sha256": hashlib.sha256(data).hexdigest()}


def main():
    # RFC 9380, J.8.1: the empty message.
    rfc = hash_to_curve(b"", b"QUUX-V01-CS02-with-secp256k1_XMD:SHA-256_SSWU_RO_")
    assert rfc[0] == 0xC1CAE290E291AEE617EBAEF1BE6D73861479C48B841EABA9B7B5852DDFEB1346
    assert rfc[1] == 0x64FA678E07AE116126F08B022A94AF6DE15985C996C3A91B64C406A960E51067
    design, segment = secret("design")[:16], 3
    name = design + segment.to_bytes(4, "big")
    label = hmac.digest(secret("decoys"), b"label" + name, "sha256")
    sealed = bytes((7 * i + i // 256) & 255 for i in range(SEALED))
    epochs = []
    for e in range(2):
        epoch_key = secret(f"points epoch {e}")
        key = int.from_bytes(hmac.digest(epoch_key, b"points" + name, "sha512"), "big") % N
        body = layer(key, label, sealed)
        epochs.append({"epochKey": epoch_key.hex(), "key": key.to_bytes(32, "big").hex(), "body": short(body)})
    keys = [int(epoch["key"], 16) for epoch in epochs]
    value = {
        "sealed": "byte i is (7 i + floor(i / 256)) mod 256", "design": design.hex(), "segment": segment,
        "secret": secret("decoys").hex(), "label": label.hex(), "epochs": epochs,
        "token": ((keys[1] - keys[0]) % N).to_bytes(32, "big").hex(),
    }
    (HERE / "points.json").write_text(json.dumps(value, indent=1) + "\n")


main()
