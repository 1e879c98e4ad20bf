#!/usr/bin/env python3
"""A second implementation of spec/protocol.md (2, 2.7, 5.6, 5.7, 10), spec/pairing.md and spec/federation.md.

It makes amendments.json, cases.json, acting.json, life.json, pairing.json and federation.json. The standard library has
SHA-256, HMAC and scrypt; CBOR, COSE_Sign1 and ECDSA with the nonces of RFC 6979 are written out below.

    python3 vectors/protocol/make.py
"""
import hashlib
import hmac
import json
import pathlib

HERE = pathlib.Path(__file__).parent
SINCE = 1_700_000_000_000
DAY = 86_400_000
A, B = "0f" * 16, "0e" * 16


def cbor(value) -> bytes:
    """Deterministic CBOR (RFC 8949, 4.2.1)."""
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        info, size = next((info, size) for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)) if n < 1 << 8 * size)
        return bytes([major << 5 | info]) + n.to_bytes(size, "big")

    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
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


class Curve:
    """y² = x³ + a x + b over the integers modulo p, with the generator g of order n."""

    def __init__(self, p, a, b, g, n):
        self.p, self.a, self.n, self.g = p, a, n, g
        assert (g[1] ** 2 - g[0] ** 3 - a * g[0] - b) % p == 0

    def add(self, one, two):
        if one is None or two is None:
            return one or two
        (x, y), (u, v) = one, two
        if x == u and (y + v) % self.p == 0:
            return None
        if one == two:
            slope = (3 * x * x + self.a) * pow(2 * y, -1, self.p)
        else:
            slope = (v - y) * pow(u - x, -1, self.p)
        w = (slope * slope - x - u) % self.p
        return w, (slope * (x - w) - y) % self.p

    def times(self, k):
        total, point = None, self.g
        while k:
            if k & 1:
                total = self.add(total, point)
            point, k = self.add(point, point), k >> 1
        return total


def hexes(*words):
    return [int(word, 16) for word in words]


SECP256K1 = Curve(2**256 - 2**32 - 977, 0, 7, tuple(hexes(
    "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8")),
    int("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16))
P256_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_B = int("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b", 16)
P256 = Curve(P256_P, P256_P - 3, P256_B, tuple(hexes(
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")),
    int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16))


class Key:
    """The key whose 32 secret bytes all have one value: secp256k1 of a user, P-256 of a machine or a node."""

    def __init__(self, byte: int, curve=SECP256K1):
        self.secret, self.curve = bytes([byte] * 32), curve
        x, y = curve.times(int.from_bytes(self.secret, "big"))
        if curve is P256:
            self.public = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        else:
            self.public = bytes([2 + (y & 1)]) + x.to_bytes(32, "big")
        self.id = sha(self.public)[:16]
        self.name = self.id.hex()

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 and the nonce of RFC 6979, 3.2; ES256K signatures have the lower of both values of s."""
        n, digest = self.curve.n, sha(message)
        z = int.from_bytes(digest, "big")
        k, v = bytes(32), b"\x01" * 32
        seed = self.secret + (z % n).to_bytes(32, "big")
        for separator in (b"\0", b"\1"):
            k = hmac.digest(k, v + separator + seed, "sha256")
            v = hmac.digest(k, v, "sha256")
        while True:
            v = hmac.digest(k, v, "sha256")
            nonce = int.from_bytes(v, "big")
            if 0 < nonce < n:
                r = self.curve.times(nonce)[0] % n
                s = pow(nonce, -1, n) * (z + r * int.from_bytes(self.secret, "big")) % n
                if r and s:
                    break
            k = hmac.digest(k, v + b"\0", "sha256")
            v = hmac.digest(k, v, "sha256")
        if self.curve is SECP256K1 and s > n // 2:
            s = n - s
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign1(key: Key, payload: bytes, context: bytes) -> bytes:
    """COSE_Sign1 (RFC 9052, 4.2), PR-2.1 and PR-2.2."""
    protected = cbor({1: -47 if key.curve is SECP256K1 else -7, 4: key.id})
    signature = key.sign(cbor(["Signature1", protected, context, payload]))
    return b"\xd2" + cbor([protected, {}, payload, signature])


def readable(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [readable(item) for item in value]
    if isinstance(value, dict):
        return {name: readable(item) for name, item in value.items()}
    return value


def changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


class File:
    """Documents by name, each with its inputs, its bytes and their SHA-256. All else refers to them by name."""

    def __init__(self):
        self.id, self.documents, self.credentials = 0, {}, {}

    def dated(self, **more):
        self.id += 1
        return {"id": bytes([self.id] * 16), "issued": SINCE, "expires": SINCE + 600_000, **more}

    def add(self, name: str, key: Key, body: dict, label="transaction", at=A) -> bytes:
        data = sign1(key, cbor(body), f"millrace/v1/{label}/".encode() + bytes.fromhex(at))
        self.documents[name] = {
            "secret": key.secret.hex(), "label": label, "installation": at, "body": readable(body), "bytes": data.hex(),
            "sha256": sha(data).hex(),
        }
        return data

    def transaction(self, title: str, key: Key, kind: str, /, at=A, **fields) -> bytes:
        return self.add(title, key, {"type": kind, **self.dated(), **fields}, at=at)

    def spoiled(self, document: bytes) -> bytes:
        of = self.referring(document.hex())
        data = changed(document)
        self.documents[f"{of}, one bit changed"] = {"bytes": data.hex()}
        return data

    def chain(self, name: str, documents: list) -> str:
        self.credentials[name] = cbor(documents).hex()
        return self.credentials[name]

    def referring(self, value):
        """The value with names in place of documents and credentials."""
        if isinstance(value, dict):
            return {name: self.referring(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.referring(item) for item in value]
        known = ((self.credentials, lambda item: item), (self.documents, lambda item: item["bytes"]))
        names = (name for of, data in known for name, item in of.items() if data(item) == value)
        return next(names, value) if isinstance(value, str) and value else value

    def credential(self, key: Key, name: str) -> str:
        """Of a key that the administrator registered itself."""
        return self.transaction(f"credential of {name}", ADMIN, "user.register", publicKey=key.public, name=name).hex()

    def organisation(self, name: str, organisation: str, kind="brand") -> bytes:
        return self.transaction(
            name, ADMIN, "organisation.register", organisation=organisation, name=name, kinds=[kind])

    def member(self, registered: bytes, organisation: str, name: str, key: Key, roles: list, chain=(), by=None,
               until=SINCE + DAY, kind="member.invite", named=None) -> list:
        """Documents of the credential of a member, the key's enrolment first."""
        invitation = Key(key.secret[0] + 1)
        fields = {"invitation": invitation.public, "until": until}
        if kind == "member.invite":
            fields |= {"organisation": organisation, "person": key.id.hex(), "name": name, "roles": roles}
        invited = self.transaction(f"invitation of {named or name}", by or ADMIN, kind, **fields)
        proof = invitation.sign(b"millrace/v1/enrolment/" + bytes.fromhex(A) + key.public)
        enrolled = self.transaction(
            f"enrolment of {named or name}", key, "key.enrol", invitation=invitation.name, publicKey=key.public,
            device="laptop", proof=proof)
        return [enrolled, invited, *(chain or [registered])]

    def write(self, name: str, about: str, **rest) -> None:
        value = {
            "about": about, "madeBy": "vectors/protocol/make.py, another implementation",
            "anchor": {"installation": A, "adminKey": ADMIN.public.hex()}, "documents": self.documents,
            **({"credentials": self.credentials} if self.credentials else {}), **self.referring(rest),
        }
        (HERE / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


ADMIN, OWNER, HOLDER, FIRST, SECOND, STRANGER = (Key(byte) for byte in (1, 3, 4, 5, 6, 7))
MACHINE_KEY, OTHER_MACHINE_KEY, PERMIT_KEY = (Key(byte, P256) for byte in (0x31, 0x32, 0x21))


def machine(key: Key) -> dict:
    return {"machine": key.name, "publicKey": key.public, "serial": f"SN-{key.secret[0]}", "kind": "virtual",
            "profile": {"factor": 240}}


MACHINE, OTHER_MACHINE = machine(MACHINE_KEY), machine(OTHER_MACHINE_KEY)


def licensed(of: dict, **more) -> dict:
    return {"machine": of["machine"], "registration": sha(cbor(of)), **more}


def grant(file: File, name="grant", **more) -> tuple:
    body = {
        "type": "licence.grant", **file.dated(), "design": "d0" * 16, "core": bytes([0xc0] * 32), "objects": 2,
        "machines": [licensed(MACHINE)], "materials": ["PLA"], "notBefore": SINCE, "notAfter": SINCE + DAY,
        "holder": HOLDER.public, "secretHash": bytes([0x5e] * 32), "telemetryKey": Key(0x41, P256).public,
        "disclose": [], **more,
    }
    return file.add(name, OWNER, body), body["id"].hex()


def amendments() -> None:
    file = File()
    people = {"owner": OWNER, "holder": HOLDER, "first": FIRST, "second": SECOND, "stranger": STRANGER}
    credentials = {name: file.credential(key, name) for name, key in people.items()}
    data, licence = grant(file, transfer="with-approval")
    _, other = grant(file, "another grant")
    document = {"grant": data}
    signer = {}

    def amend(name, by, kind, licence=licence, **fields):
        document[name] = file.transaction(name, people[by], kind, licence=licence, **fields)
        signer[name] = by

    def approve(name, by, of, licence=licence):
        amend(name, by, "licence.approve", licence, document=sha(document[of]))

    approve("approval of the grant", "first", "grant")
    amend("extension", "owner", "licence.extend", machines=[licensed(OTHER_MACHINE)])
    approve("approval of the extension", "second", "extension")
    amend("transfer 1", "holder", "licence.transfer", number=1, to=FIRST.public)
    approve("owner's approval of transfer 1", "owner", "transfer 1")
    amend("transfer 2", "first", "licence.transfer", number=2, to=SECOND.public)
    approve("owner's approval of transfer 2", "owner", "transfer 2")
    approve("approver's approval of transfer 1", "first", "transfer 1")
    approve("approval by a stranger", "stranger", "grant")
    approve("approval on another licence", "first", "grant", other)
    amend("extension by the holder", "holder", "licence.extend", machines=[licensed(OTHER_MACHINE)])
    amend("transfer by the former holder", "holder", "licence.transfer", number=2, to=STRANGER.public)
    document["grant, which has no transfer"], plain = grant(file, "grant, which has no transfer")
    amend("transfer of it", "holder", "licence.transfer", plain, number=1, to=FIRST.public)
    document["forged approval"] = file.spoiled(document["approval of the grant"])
    signer["forged approval"] = "first"

    def attested(names, credential=None):
        return [{"transaction": document[name].hex(), "credential": credentials[credential or signer[name]]}
                for name in names]

    def result(what, names, approved_by, machines, holders, pending):
        transfers = [sha(document[f"transfer {n + 1}"]).hex() for n in range(len(holders) - 1)]
        return {
            "what": what, "amendments": attested(names), "approvedBy": [people[name].name for name in approved_by],
            "approved": len(approved_by) >= 2, "machines": [of["machine"] for of in machines],
            "holders": [people[name].public.hex() for name in holders], "transfers": transfers,
            "pending": [sha(document[name]).hex() for name in pending],
        }

    first = ["transfer 1", "owner's approval of transfer 1"]
    extended = ["extension", "approval of the extension"]
    every = ["approval of the grant", *extended, *first, "transfer 2", "owner's approval of transfer 2"]
    one, both = [MACHINE], [MACHINE, OTHER_MACHINE]
    accepted = [
        result("no amendment: the owner's signature is one approval", [], ["owner"], one, ["holder"], []),
        result("an approval of the grant", ["approval of the grant"], ["first", "owner"], one, ["holder"], []),
        result("an extension without approval (PR-5.7.4)", ["extension"], ["owner"], one, ["holder"], ["extension"]),
        result("an extension with an approval", extended, ["owner"], both, ["holder"], []),
        result("a transfer without approval (PR-5.7.6)", first[:1], ["owner"], one, ["holder"], ["transfer 1"]),
        result("a transfer that an approver of the design approved, not the owner (PR-5.7.6)",
               ["transfer 1", "approver's approval of transfer 1"], ["owner"], one, ["holder"], ["transfer 1"]),
        result("a transfer with the owner's approval", first, ["owner"], one, ["holder", "first"], []),
        result("all amendments", every, ["first", "owner"], both, ["holder", "first", "second"], []),
    ]

    def refused(what, code, names, credential=None, base="grant"):
        return {"what": what, "code": code, "grant": document[base].hex(), "amendments": attested(names, credential)}

    file.write(
        "amendments.json",
        "Amendments of a licence and the terms in force (spec/protocol.md, 5.7). The design asks for the approvals of "
        "two of three keys.",
        owner=OWNER.public.hex(),
        approvals={"needed": 2, "approvers": [key.public.hex() for key in (OWNER, FIRST, SECOND)]},
        grant=data.hex(), accepted=accepted,
        refused=[
            refused("an approval by a stranger", "E_LICENCE_INVALID", ["approval by a stranger"]),
            refused("an approver's credential under another signature", "E_AUTH", ["approval by a stranger"], "first"),
            refused("an approval on another licence", "E_LICENCE_INVALID", ["approval on another licence"]),
            refused("one bit of a signature changed", "E_SIGNATURE", ["forged approval"]),
            refused("an extension by the holder", "E_LICENCE_INVALID", ["extension by the holder"]),
            refused("a transfer by the former holder (PR-5.7.7)", "E_LICENCE_INVALID",
                    [*first, "transfer by the former holder"]),
            refused("transfers out of order (PR-5.7.7)", "E_LICENCE_INVALID", ["transfer 2", *first]),
            refused("the grant has no transfer (PR-5.7.6)", "E_LICENCE_INVALID", ["transfer of it"],
                    base="grant, which has no transfer"),
        ],
    )


def cases() -> None:
    file = File()
    owner, holder = file.credential(OWNER, "owner"), file.credential(HOLDER, "holder")
    data, licence = grant(file, creditPolicy={"below": 100, "most": 1})
    plain, _ = grant(file, "grant without a credit policy")
    registered = file.transaction("machine.register", ADMIN, "machine.register", machine=MACHINE).hex()
    other = file.transaction("machine.register of another machine", ADMIN, "machine.register", machine=OTHER_MACHINE)
    mine = f"{licence}-1"
    report = file.transaction("case.report", HOLDER, "case.report", object=mine, reason="warping",
                              evidence=sha(b"sealed evidence"))

    def decide(name, key=OWNER, of=mine, credit=True, **more):
        return file.transaction(name, key, "case.decide", object=of, report=sha(report), credit=credit, **more).hex()

    def failed(name, key=MACHINE_KEY, of=mine, event="failed", **facts):
        body = {"type": "report", **file.dated(), "object": of, "run": bytes([0x77] * 16), "event": event,
                "facts": {"serial": MACHINE["serial"], "material": "PLA", "segments": 1, **facts}}
        return file.add(name, key, body, "machine document").hex()

    credit = decide("case.decide", note="printed once more")
    early = failed("report of an early failure", lines=99, code="E_MACHINE")

    def checked(what, transaction, credential, code=None, licence=data):
        return {"what": what, **({"code": code} if code else {}), "licence": licence.hex(), "licenceSigner": owner,
                "transaction": transaction, "credential": credential}

    file.write(
        "cases.json",
        "A case, the owner's decision, and credits (spec/protocol.md, 5.6). `evidenceInfo` is the info of HPKE, and "
        "`evidence` the plaintext, of PR-5.6.3.",
        owner=OWNER.public.hex(), object=mine, report=report.hex(), reportHash=sha(report).hex(),
        evidenceInfo=(b"millrace/v1/case-evidence/" + bytes.fromhex(A) + mine.encode()).hex(),
        evidence=cbor({"text": "warped", "photo": {"type": "image/png", "bytes": b"\x89PNG"}}).hex(),
        accepted=[
            checked("a credit by the owner", credit, owner),
            checked("a credit by policy: the machine's report and its registration", early, registered),
        ],
        refused=[
            checked("a decision without a credit", decide("denial", credit=False), owner, "E_FORBIDDEN"),
            checked("a credit that the holder signs", decide("credit by the holder", HOLDER), holder, "E_AUTH"),
            checked("a credit under the owner's credential that the holder signed",
                    file.documents["credit by the holder"]["bytes"], owner, "E_AUTH"),
            checked("a credit of an object of another licence",
                    decide("credit on another licence", of=f"{'ab' * 16}-1"), owner, "E_FORBIDDEN"),
            checked("one bit of a credit changed", file.spoiled(bytes.fromhex(credit)).hex(), owner, "E_SIGNATURE"),
            checked("the holder's report in place of a decision", report.hex(), holder, "E_AUTH"),
            checked("a failure that is not early", failed("late failure", lines=100), registered, "E_FORBIDDEN"),
            checked("a failure without its lines", failed("failure without lines"), registered, "E_FORBIDDEN"),
            checked("a failure of an object that was made", failed("failure of a made object", lines=0, made=True),
                    registered, "E_FORBIDDEN"),
            checked("an object that was completed", failed("completed object", event="completed", lines=0), registered,
                    "E_FORBIDDEN"),
            checked("a machine that the grant does not name",
                    failed("failure of another machine", OTHER_MACHINE_KEY, lines=0), other.hex(), "E_LICENCE_INVALID"),
            checked("another machine's signature", file.documents["failure of another machine"]["bytes"], registered,
                    "E_AUTH"),
            checked("a licence without a policy", early, registered, "E_FORBIDDEN", plain),
        ],
    )


def acting() -> None:
    file = File()
    brand, bureau = "b1" * 16, "b2" * 16
    registered, rival = file.organisation("Brand", brand), file.organisation("Bureau", bureau, "bureau")
    [ada, bea, cleo, dan, eve] = [Key(byte) for byte in (0x61, 0x63, 0x65, 0x67, 0x69)]
    phone = Key(0x6b)
    chief = file.member(registered, brand, "Ada", ada, ["owner-admin"])
    chains = {
        "designer": file.member(registered, brand, "Bea", bea, ["designer"], chief, ada),
        "operator": file.member(registered, brand, "Cleo", cleo, ["operator"], chief, ada),
        "rival": file.member(rival, bureau, "Dan", dan, ["designer"]),
        "invited by a designer": file.member(registered, brand, "Eve", eve, ["designer"],
                                             file.member(registered, brand, "Bea", bea, ["designer"], chief, ada,
                                                         named="Bea, again"), bea),
    }
    chains["second device"] = file.member(registered, brand, "Bea", phone, [], chains["designer"], bea,
                                          kind="device.invite", named="Bea's phone", until=SINCE + 9 * DAY)
    credentials = {name: file.chain(name, chain) for name, chain in chains.items()}
    credentials["owner-admin"] = file.chain("owner-admin", chief)
    credentials["key alone"] = file.credential(OWNER, "owner")
    credentials["key that a stranger registered"] = file.transaction(
        "user.register by a stranger", STRANGER, "user.register", publicKey=OWNER.public, name="owner").hex()
    mixed = "operator's enrolment, designer's invitation"
    credentials[mixed] = file.chain(mixed, [chains["operator"][0], *chains["designer"][1:]])
    signers = {"designer": bea, "operator": cleo, "rival": dan, "invited by a designer": eve, "second device": phone,
               "owner-admin": ada, "key alone": OWNER}
    # Documents of a designer: any type serves.
    late, skew = SINCE + DAY, 65 * 60_000
    texts = {name: file.transaction(f"design.delete by {name}", key, "design.delete", design="d0" * 16)
             for name, key in signers.items()}
    dated = {"issued": late + skew, "expires": late + 2 * DAY}
    texts["last moment"] = file.transaction("design.delete at the last moment", bea, "design.delete", design="d0" * 16,
                                            **dated)
    texts["too late"] = file.transaction("design.delete after the key expired", bea, "design.delete", design="d0" * 16,
                                         **dated | {"issued": late + skew + 1})
    texts["elsewhere"] = file.transaction("design.delete for another installation", bea, "design.delete", at=B,
                                          design="d0" * 16)
    texts["phone, too late"] = file.transaction(
        "design.delete by the second device after the first invitation's end", phone, "design.delete", design="d0" * 16,
        **dated | {"issued": late + skew + 1})

    def revoked(name, key, *kept):
        entry = {"key": key.name, "name": "Bea", "at": SINCE, "kept": [sha(document) for document in kept]}
        body = {"type": "revocations", **file.dated(), "sequence": 1, "entries": [entry]}
        return file.add(name, ADMIN, body, "revocations").hex()

    lists = {"key": revoked("revocation of a key", bea),
             "kept": revoked("revocation that keeps a document", bea, texts["designer"]),
             "invitation": revoked("revocation of an invitation", Key(0x64)),
             "inviter": revoked("revocation of the inviter", ada)}
    own = {"organisation": brand}

    def check(what, party, text, credential=None, code=None, role="designer", revocations=None,
              now=None):
        return {"what": what, **({"code": code} if code else {}), "party": party, "role": role,
                **({"now": now} if now else {}),
                "transaction": texts[text].hex(), "credential": credentials[credential or text],
                **({"revocations": lists[revocations]} if revocations else {})}

    alone = {"key": OWNER.public.hex()}
    file.write(
        "acting.json",
        "Who signs for an owner or a holder (spec/protocol.md, 2.7): a party, the role that it needs, a document and "
        "the credential of its signer. Chains lead from the key to the administrator.",
        accepted=[
            check("a designer of the organisation", own, "designer"),
            check("another device of the designer", own, "second device"),
            check("an operator, where an operator has to sign", own, "operator", role="operator"),
            check("a key without an organisation, in every role", alone, "key alone"),
            check("a key that a licence names alone, although it belongs to an organisation", {"key": bea.public.hex()},
                  "designer"),
            check("dated 65 minutes after the key expired (PR-2.7.3)", own, "last moment", "designer"),
            check("65 minutes after the key expired, by the own clock (PR-2.7.4)", own, "last moment", "designer",
                  now=late + skew),
            check("a revoked key, but the revocation keeps the document", own, "designer", revocations="kept"),
        ],
        refused=[
            check("a designer of another organisation (PR-2.7.1)", own, "rival", code="E_AUTH"),
            check("a key alone for an organisation (PR-2.7.1)", own, "key alone", code="E_AUTH"),
            check("a member for a key alone (PR-2.7.1)", alone, "designer", code="E_AUTH"),
            check("the credential of another member", own, "operator", "designer", "E_AUTH"),
            check("an operator in place of a designer (PR-2.7.2)", own, "operator", code="E_FORBIDDEN"),
            check("an owner-admin in place of a designer (PR-2.7.2)", own, "owner-admin", code="E_FORBIDDEN"),
            check("invited by a designer", own, "invited by a designer", code="E_FORBIDDEN"),
            check("registered by a stranger", alone, "key alone", "key that a stranger registered", "E_AUTH"),
            check("an enrolment under the invitation of another", own, "operator",
                  mixed, "E_FORBIDDEN"),
            check("dated later than 65 minutes after the key expired (PR-2.7.3)", own, "too late", "designer",
                  "E_EXPIRED"),
            check("later than 65 minutes after the key expired, by the own clock (PR-2.7.4)", own, "last moment",
                  "designer", "E_EXPIRED", now=late + skew + 1),
            check("another device does not prolong a membership", own, "phone, too late", "second device", "E_EXPIRED"),
            check("signed for another installation", own, "elsewhere", "designer", "E_SIGNATURE"),
            check("a revoked key (PR-2.7.5)", own, "designer", code="E_REVOKED", revocations="key"),
            check("a revoked invitation (PR-2.7.5)", own, "designer", code="E_REVOKED", revocations="invitation"),
            check("a revoked key of who invited (PR-2.7.5)", own, "designer", code="E_REVOKED", revocations="inviter"),
        ],
    )


def life() -> None:
    file = File()
    mine = f"{'a0' * 16}-1"
    newest = None
    chain = []

    def follow(name, key, kind, **fields):
        nonlocal newest
        if kind != "object.accept" and newest is not None:
            fields["after"] = newest
        newest = sha(file.transaction(name, key, kind, object=mine, **fields))
        chain.append(name)
        return newest

    follow("appointment", HOLDER, "object.appoint", inspectors=[SECOND.public, "b2" * 16])
    inspected = follow("inspection", SECOND, "object.inspect", result="passed", method="ISO 2768-1",
                       document=sha(b"report of the inspection"))
    offer = follow("offer", HOLDER, "object.transfer", to=FIRST.public)
    accepted = follow("acceptance", FIRST, "object.accept", transfer=offer)
    follow("second inspection", FIRST, "object.inspect", result="failed")
    follow("retirement", FIRST, "object.retire", reason="worn")

    def broken(what, after, **fields):
        more = {} if after is None else {"after": after}
        document = file.transaction(what, FIRST, "object.retire", object=mine, reason="lost", **more)
        return {"what": what, "document": document.hex(), **fields}

    file.write(
        "life.json",
        "The life of a part (spec/protocol.md, 10): a chain of documents, each with the SHA-256 of the one before it. "
        "`newest` of a refused document is the name of the newest one.",
        chain=[{"document": name, "name": file.documents[name]["sha256"]} for name in chain],
        refused=[
            broken("names the document before the newest one", inspected, newest=offer.hex(), code="E_CONFLICT"),
            broken("names the offer, not its acceptance", offer, newest=accepted.hex(), code="E_CONFLICT"),
            broken("names no document, but there is one", None, newest=accepted.hex(), code="E_CONFLICT"),
            broken("names a document, but there is none", accepted, code="E_CONFLICT"),
        ],
    )


def pairing() -> None:
    file = File()
    text = "7Q2M-VX4C-9T1K-HZ8D"
    plain = text.replace("-", "")
    values = hashlib.scrypt(plain.encode(), salt=b"millrace/v1/pairing", n=16_384, r=8, p=1, maxmem=1 << 26, dklen=80)
    agent, operator = values[16:48], values[48:]
    tls = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + Key(0x33, P256).public
    expires = SINCE + 900_000

    def message(key, bound, body):
        return cbor({"body": body, "tag": hmac.digest(key, bound + body, "sha256")})

    def offer_body(key=MACHINE_KEY, public=MACHINE_KEY.public, context=b"millrace/v1/pairing-offer/", **more):
        payload = {"version": 1, "publicKey": public, "tlsKey": tls, "expires": expires} | more
        return sign1(key, cbor(payload), context)

    offer = message(agent, b"", offer_body())
    token = {"manufacturer": "ACME", "model": "Token 2", "serial": "0123456789abcdef", "hardware": True}
    bureau = "b2" * 16
    registered = file.organisation("Bureau", bureau, "bureau")
    [dan, eve] = [Key(0x67), Key(0x69)]
    member = bytes.fromhex(file.chain("operator", file.member(registered, bureau, "Dan", dan, ["operator"])))
    designer = bytes.fromhex(file.chain("designer", file.member(registered, bureau, "Eve", eve, ["designer"])))
    body = {"type": "machine.pair", **file.dated(), "expires": SINCE + 30 * DAY, "name": "mk3", "machine": MACHINE,
            "tlsKey": tls, "material": "PLA", "driver": '{"port":"/dev/ttyUSB0"}'}

    def pair(name, key=dan, at=A, **more):
        return file.add(name, key, body | more, "machine-pairing", at)

    document = pair("machine.pair")
    by_admin = pair("machine.pair by the administrator", ADMIN)

    def answer_body(document, credential):
        return cbor({"version": 1, "installation": A, "adminKey": ADMIN.public.hex(), "directory": 3,
                     "distribution": {"host": "cloud.example", "port": 7402}, "document": document,
                     "credential": credential})

    answer = message(operator, sha(offer), answer_body(document, member))
    another = message(agent, b"", offer_body(OTHER_MACHINE_KEY, OTHER_MACHINE_KEY.public))

    def answered(what, document, credential, code):
        return {"what": what, "code": code, "document": document.hex(), "credential": credential.hex()}

    file.write(
        "pairing.json",
        "Pairing of an agent (spec/pairing.md): the values of a code, an offer, an answer and a signed pairing, and "
        "what is refused at `now`. Offers are signed by P-256 keys.",
        now=SINCE,
        code={"shown": text, "entered": ["7q2m vx4c 9tlk hz8d", "7Q2M-VX4C-9TIK-HZ8D", plain], "characters": plain,
              "scrypt": values.hex(), "id": values[:16].hex(), "agent": agent.hex(), "operator": operator.hex(),
              "refused": [plain[:-1], plain[:-1] + "U", plain + "0"]},
        offer={"machineSecret": MACHINE_KEY.secret.hex(), "publicKey": MACHINE_KEY.public.hex(), "tlsKey": tls.hex(),
               "expires": expires, "body": offer_body().hex(), "tag": offer[-32:].hex(), "message": offer.hex()},
        offerInToken={"token": token, "message": message(agent, b"", offer_body(token=token)).hex()},
        answer={"document": document.hex(), "credential": member.hex(), "directory": 3, "adminKey": ADMIN.public.hex(),
                "distribution": {"host": "cloud.example", "port": 7402}, "offerHash": sha(offer).hex(),
                "body": answer_body(document, member).hex(), "tag": answer[-32:].hex(), "message": answer.hex()},
        accepted=[
            {"what": "signed by an operator", "document": document.hex(), "credential": member.hex(), "by": dan.name},
            {"what": "signed by the administrator", "document": by_admin.hex(), "credential": "", "by": ADMIN.name},
        ],
        refusedOffers=[
            {"what": "a tag with the operator key (PA-2.1)", "code": "E_AUTH",
             "message": message(operator, b"", offer_body()).hex()},
            {"what": "one bit of the tag changed (PA-2.1)", "code": "E_AUTH", "message": changed(offer).hex()},
            {"what": "keys of another machine under the tag of this offer (PA-2.1)", "code": "E_AUTH",
             "message": (another[:-32] + offer[-32:]).hex()},
            {"what": "signed by another key than the offered one (PA-2.2)", "code": "E_SIGNATURE",
             "message": message(agent, b"", offer_body(OTHER_MACHINE_KEY)).hex()},
            {"what": "signed in another context (PA-2.2)", "code": "E_SIGNATURE",
             "message": message(agent, b"", offer_body(context=b"millrace/v1/machine-pairing/")).hex()},
            {"what": "a token with a field that is not specified (PA-2.2)", "code": "E_INPUT",
             "message": message(agent, b"", offer_body(token=token | {"grade": "high"})).hex()},
            {"what": "more than 65 minutes after it expired (PA-3.1)", "code": "E_EXPIRED", "message": offer.hex(),
             "now": expires + 65 * 60_000 + 1},
        ],
        refusedAnswers=[
            {"what": "a tag with the agent key (PA-2.3)", "code": "E_AUTH",
             "message": message(agent, sha(offer), answer_body(document, member)).hex()},
            {"what": "an answer to another offer (PA-2.3)", "code": "E_AUTH",
             "message": message(operator, sha(another), answer_body(document, member)).hex()},
            {"what": "one bit of the tag changed (PA-4.1)", "code": "E_AUTH", "message": changed(answer).hex()},
        ],
        refusedPairings=[
            answered("signed by a designer (PA-4.2)", pair("machine.pair by a designer", eve), designer, "E_FORBIDDEN"),
            answered("signed by a stranger", pair("machine.pair by a stranger", STRANGER), member, "E_AUTH"),
            answered("of another installation (PA-2.5)", pair("machine.pair for another installation", at=B), member,
                     "E_SIGNATURE"),
            answered("a transaction's context (PA-2.5)", file.add("machine.pair as a transaction", dan, body), member,
                     "E_SIGNATURE"),
            answered("a machine under the name of another key",
                     pair("machine.pair under another name", machine=MACHINE | {"machine": OTHER_MACHINE["machine"]}),
                     member, "E_MACHINE_UNKNOWN"),
            answered("expired", pair("machine.pair that has expired", expires=SINCE - 65 * 60_000 - 1), member,
                     "E_EXPIRED"),
        ],
    )


def federation() -> None:
    file = File()
    there = Key(0x71)
    run, licence, printed = bytes([0x77] * 16), "", "9a" * 16
    recognition = file.transaction("cloud.recognise", ADMIN, "cloud.recognise", cloud=B, name="B",
                                   adminKey=there.public)
    registration = file.transaction("machine.register", there, "machine.register", at=B, machine=MACHINE)
    file.transaction("machine.introduce", HOLDER, "machine.introduce", cloud=B, registration=registration)
    data, licence = grant(file, machines=[licensed(MACHINE, cloud=B)])
    here, _ = grant(file, "grant for a machine of A")
    stray, _ = grant(file, "grant for a machine of a cloud that is not recognised",
                     machines=[licensed(MACHINE, cloud="0d" * 16)])
    about = {"cloud": A, "print": printed, "licence": licence, "machine": MACHINE["machine"]}
    request = file.transaction("visit.request", HOLDER, "visit.request", at=B, **about)
    visit = file.documents["visit.request"]["body"]["id"]["hex"]
    file.add("visa.request", MACHINE_KEY, {"type": "visa.request", **file.dated(), "visit": visit, "run": run},
             "machine document", B)
    file.add("visit.report", MACHINE_KEY, {"type": "visit.report", **file.dated(), "visit": visit, "run": run,
                                           "event": "completed"}, "machine document", B)
    file.transaction("visit.cancel", HOLDER, "visit.cancel", at=B, visit=visit)

    def visa(name, key=PERMIT_KEY, at=B, of=request, **more):
        body = {"type": "visa", **file.dated(), **about, "run": run, "visit": visit, "request": sha(of), **more}
        return file.add(name, key, body, "visa", at)

    given = visa("visa")
    now = SINCE + 1_000

    def check(what, code=None, licence=data, visa=given, request=request, registration=registration, now=now,
              none=False):
        admission = {"visa": visa.hex(), "request": request.hex(), "registration": registration.hex()}
        return {"what": what, **({"code": code} if code else {}), "licence": licence.hex(), "now": now,
                **({} if none else {"admission": admission})}

    def other_request(name, key=HOLDER, at=B, **more):
        made = file.transaction(name, key, "visit.request", at=at, **about | more)
        identifier = file.documents[name]["body"]["id"]["hex"]
        return {"request": made, "visa": visa(f"visa for {name}", of=made, visit=identifier)}

    late = now + DAY
    by_a = file.transaction("machine.register by A", ADMIN, "machine.register", at=B, machine=MACHINE)
    faster = file.transaction("machine.register with another profile", there, "machine.register", at=B,
                              machine=MACHINE | {"profile": {"factor": 1}})
    file.write(
        "federation.json",
        "Two clouds (spec/federation.md): A, installation 0f…, has the design and recognises B, installation 0e…, "
        "which has the machine. `linkName` is that of FE-3.7.",
        recognised={"installation": B, "adminKey": there.public.hex(), "recognition": recognition.hex(),
                    "permitKey": PERMIT_KEY.public.hex()},
        machine=readable(MACHINE), print=printed, holder=HOLDER.public.hex(), run=run.hex(),
        linkName=sha(b"millrace/v1/visitor/" + bytes.fromhex(B + MACHINE["machine"]))[:16].hex(),
        accepted=[
            check("B's visa for the holder's request"),
            check("long after the object has begun (FE-3.6)", now="any time"),
            check("a machine of A, which needs none", licence=here, none=True),
        ],
        refused=[
            check("no visa (FE-3.1)", "E_VISA", none=True),
            check("a visa for a machine of A (FE-3.1)", "E_VISA", licence=here),
            check("a cloud that is not recognised (FE-1.3)", "E_CLOUD_UNKNOWN", licence=stray),
            check("signed by another key (FE-3.2)", "E_AUTH", visa=visa("visa by another key", OTHER_MACHINE_KEY)),
            check("signed for A (FE-3.2)", "E_SIGNATURE", visa=visa("visa for A", at=A)),
            check("one bit changed (FE-3.2)", "E_SIGNATURE", visa=file.spoiled(given)),
            check("a request by another key (FE-3.3)", "E_AUTH",
                  **other_request("visit.request by a stranger", STRANGER)),
            check("a request signed for A (FE-3.3)", "E_SIGNATURE", **other_request("visit.request for A", at=A)),
            check("a machine that A's administrator registered (FE-3.4)", "E_AUTH", registration=by_a),
            check("another registration (FE-3.4)", "E_MACHINE_UNKNOWN", registration=faster),
            check("another run (FE-3.5)", "E_VISA", visa=visa("visa for another run", run=bytes(16))),
            check("another print (FE-3.5)", "E_VISA", visa=visa("visa for another print", print="9b" * 16)),
            check("another cloud (FE-3.5)", "E_VISA", visa=visa("visa for another cloud", cloud="0d" * 16)),
            check("another request's hash (FE-3.5)", "E_VISA", visa=visa("visa for another request", of=b"")),
            check("it does not repeat the request (FE-3.5)", "E_VISA",
                  **other_request("visit.request for another licence", licence="1c" * 16)),
            check("too old when the object begins (FE-3.6)", "E_EXPIRED", now=late),
        ],
    )


if __name__ == "__main__":
    for make in (amendments, cases, acting, life, pairing, federation):
        make()
