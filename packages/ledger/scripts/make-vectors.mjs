// Writes vectors/ledger/*.json from the built package: `node packages/ledger/scripts/make-vectors.mjs`. Known answers
// from other sources (RFC 6962 test tree, C2SP and Go notes) are literals here. The tests compare them with the code;
// interop/ compares log.json with Go's golang.org/x/mod.
import { createHash, createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { encodeCbor, fromHex, toBase64, toHex, utf8 } from '@millrace/base';
import {
  commitTo,
  consistencyProof,
  cosign,
  decodeCertificate,
  ed25519NoteSigner,
  encodeCertificate,
  encodeEvent,
  exportCertificate,
  formatNote,
  formatVerifierKey,
  inclusionProof,
  leafHash,
  nodeHash,
  noteKeyId,
  noteTypes,
  openLedger,
  tilePath,
  tilesOf,
  treeRoot,
  verifyCertificate,
} from '../dist/index.js';

const folder = new URL('../../../vectors/ledger/', import.meta.url);
const write = (name, value) => writeFileSync(new URL(name, folder), `${JSON.stringify(value, null, 1)}\n`);

function memoryStore() {
  const map = new Map();
  const append = async (writes) => {
    for (const w of writes) 'put' in w ? map.set(toHex(w.put), w.value) : map.delete(toHex(w.delete));
  };
  return {
    get: async (key) => map.get(toHex(key)),
    getMany: async (keys) => keys.map((key) => map.get(toHex(key))),
    acquire: async () => ({ append }),
    async *range({ gte, lt, limit = Infinity }) {
      let left = limit;
      for (const key of [...map.keys()].sort()) {
        if ((gte && key < toHex(gte)) || (lt && key >= toHex(lt)) || left-- <= 0) continue;
        yield { key: fromHex(key), value: map.get(key) };
      }
    },
  };
}

const naive = (leaves) => {
  if (leaves.length === 1) return leaves[0];
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(naive(leaves.slice(0, k)), naive(leaves.slice(k)));
};
const reader = (leaves) => async (level, index) => naive(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));

// tree.json
const entries = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
const leaves = entries.map((entry) => leafHash(fromHex(entry)));
const inclusion = [];
const consistency = [];
for (let size = 1; size <= 8; size++) {
  for (let index = 0; index < size; index++) {
    inclusion.push({ index, size, proof: (await inclusionProof(index, size, reader(leaves))).map(toHex) });
  }
  for (let old = 1; old <= size; old++) {
    consistency.push({ old, size, proof: (await consistencyProof(old, size, reader(leaves))).map(toHex) });
  }
}
const large = Array.from({ length: 70_000 }, (_, i) => leafHash(utf8(`entry ${i}`)));
const largeRoots = [];
for (const size of [255, 256, 257, 65_535, 65_536, 70_000]) {
  largeRoots.push({ size, root: toHex(await treeRoot(size, reader(large))) });
}
write('tree.json', {
  about:
    'Merkle tree of RFC 6962 with SHA-256. Hexadecimal. The eight entries are the customary test tree of Certificate Transparency.',
  entries,
  roots: [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ],
  inclusion,
  consistency,
  large: { rule: 'entry i is the ASCII text "entry <i>", i from 0 in decimal', roots: largeRoots },
});

// tiles.json
write('tiles.json', {
  about:
    'Names of tiles and entry bundles (C2SP tlog-tiles), and the tiles [level, index, width] of trees of some sizes.',
  valid: [
    { kind: 'hashes', level: 0, index: 0, width: 256 },
    { kind: 'hashes', level: 0, index: 273, width: 112 },
    { kind: 'hashes', level: 2, index: 0, width: 1 },
    { kind: 'hashes', level: 63, index: 1_234_067, width: 256 },
    { kind: 'entries', index: 999, width: 255 },
    { kind: 'entries', index: 1000, width: 256 },
  ].map((name) => ({ path: tilePath(name), ...name })),
  invalid: [
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000/001',
    'tile/0/001/002',
    'tile/0/x001/x002',
    'tile/00/000',
    'tile/01/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/000.p/0',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p',
    'tile/0/000/',
    '/tile/0/000',
    'tile/8/0/000',
    'tile/data/000',
    'checkpoint',
    '',
  ],
  sizes: [0, 1, 255, 256, 257, 65_536].map((size) => ({
    size,
    tiles: [...tilesOf(size)].slice(-4).map(({ level, index, width }) => [level, index, width]),
    count: [...tilesOf(size)].length,
  })),
});

// notes.json
const logSecret = new Uint8Array(32).fill(0x11);
const witnessSecret = new Uint8Array(32).fill(0x22);
const origin = 'vectors.example/log';
const signer = ed25519NoteSigner(origin, logSecret);
const witness = ed25519NoteSigner('witness.example/w1', witnessSecret);
const root = leafHash(utf8('entry 0'));
const text = `${origin}\n1\n${toBase64(root)}\n`;
const own = {
  name: origin,
  id: noteKeyId(signer.name, noteTypes.ed25519, signer.publicKey),
  signature: signer.sign(utf8(text)),
};
const line = await cosign(text, 1_700_000_000, witness);
const checkpoint = new TextDecoder().decode(formatNote({ text, signatures: [own, line] }));
write('notes.json', {
  about: 'Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature).',
  notes: [
    {
      source: 'C2SP signed-note, example of verifier keys',
      verifierKey: 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k',
      note: 'This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n',
    },
    {
      source: 'documentation of golang.org/x/mod/sumdb/note',
      verifierKey: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
      note: "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
    },
  ],
  checkpoint: {
    logSecret: toHex(logSecret),
    logKey: formatVerifierKey(origin, signer.publicKey),
    witnessSecret: toHex(witnessSecret),
    witnessKey: formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature),
    text,
    note: checkpoint,
    origin,
    size: 1,
    root: toHex(root),
    cosignatureTime: 1_700_000_000,
  },
  invalid: [
    { what: 'no newline at the end', note: checkpoint.slice(0, -1) },
    { what: 'a hyphen for the em dash', note: checkpoint.replace('—', '-') },
    { what: 'no blank line', note: checkpoint.replace('\n\n', '\n') },
    { what: 'a carriage return', note: checkpoint.replace('\n', '\r\n') },
    { what: 'a size with a leading zero', note: checkpoint.replace('\n1\n', '\n01\n') },
    { what: 'another size', note: checkpoint.replace('\n1\n', '\n2\n') },
    { what: 'another origin', note: checkpoint.replace(origin, 'other.example') },
    { what: 'only the witness has signed', note: checkpoint.replace(/\n— vectors.*\n/, '\n') },
    { what: 'the log has signed twice', note: checkpoint.replace(/\n(— vectors.*\n)/, '\n$1$1') },
    { what: 'base64 without padding', note: checkpoint.replace('=\n\n', '\n\n') },
    { what: 'a byte order mark', note: `\uFEFF${checkpoint}` },
    { what: 'nothing', note: '' },
  ],
});

// events.json
const first = {
  v: 1,
  id: '0190b9a0-0001',
  account: 'object-1',
  sequence: 0,
  previous: null,
  type: 'ordered',
  time: 1_700_000_000_000,
  actor: 'owner-1',
  body: { design: 'design-1', count: 1 },
};
const firstEntry = encodeEvent(first);
const second = {
  v: 1,
  id: '0190b9a0-0002',
  account: 'object-1',
  sequence: 1,
  previous: leafHash(firstEntry),
  type: 'licensed',
  time: 1_700_000_001_000,
  actor: 'owner-1',
  body: {
    licence: 'licence-1',
    digest: fromHex('00ff'),
    until: null,
    final: false,
    spools: ['PLA', 'PETG'],
    box: { mm: -3 },
  },
  evidence: [fromHex('d28443a10126a0'), fromHex('d2a1')],
};
const readable = (value) =>
  value instanceof Uint8Array
    ? { hex: toHex(value) }
    : Array.isArray(value)
      ? value.map(readable)
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, readable(v)]))
        : value;
const withHash = (event, salt) => {
  const encoded = encodeEvent(event);
  const entry = commitTo(encoded, salt);
  return {
    event: readable(event),
    encoded: toHex(encoded),
    salt: toHex(salt),
    entry: toHex(entry),
    hash: toHex(leafHash(entry)),
  };
};
const raw = (event) => toHex(encodeCbor(event));
write('events.json', {
  about:
    'Events, their encodings (deterministic CBOR), salts, entries (01 and HMAC-SHA-256 of the encoding under the salt) and hashes (RFC 6962 leaf hash of the entry). {"hex": …} stands for bytes.',
  valid: [
    withHash(first, new Uint8Array(32).fill(0x55)),
    withHash(second, new Uint8Array(32).fill(0x66)),
    // The same event again: another salt gives another entry.
    withHash(second, new Uint8Array(32).fill(0x67)),
  ],
  invalid: [
    { what: 'empty', encoded: '' },
    { what: 'a byte too many', encoded: `${toHex(firstEntry)}00` },
    { what: 'a byte too few', encoded: toHex(firstEntry).slice(0, -2) },
    {
      what: 'map length not in its shortest form',
      encoded: `b8${(firstEntry[0] - 0xa0).toString(16).padStart(2, '0')}${toHex(firstEntry).slice(2)}`,
    },
    { what: 'an unknown field', encoded: raw({ ...first, more: 1 }) },
    { what: 'another version', encoded: raw({ ...first, v: 2 }) },
    { what: 'an unknown type', encoded: raw({ ...first, type: 'printed' }) },
    { what: 'first event with a previous hash', encoded: raw({ ...first, previous: new Uint8Array(32) }) },
    { what: 'later event without a previous hash', encoded: raw({ ...first, sequence: 1 }) },
    { what: 'a fraction in the body', encoded: raw({ ...first, body: { grams: 1.5 } }) },
    { what: 'a key beside the evidence', encoded: raw({ ...second, evidenceKey: new Uint8Array(1) }) },
    { what: 'evidence outside a list', encoded: raw({ ...first, evidence: new Uint8Array(1) }) },
    { what: 'an empty list of evidence', encoded: raw({ ...first, evidence: [] }) },
    { what: 'an account with a control character', encoded: raw({ ...first, account: 'a\n' }) },
  ],
});

// log.json: a log of 260 entries as it is served
let now = 1_700_000_000_000;
const clock = { now: () => (now += 1000), monotonic: () => 0 };
// Salts that count, so that the vectors stay the same.
let salts = 0;
const random = (length) => {
  const bytes = new Uint8Array(length).fill(0xa5);
  for (let at = 0; at < length; at += 32) new DataView(bytes.buffer).setUint32(at, salts++);
  return bytes;
};
const ledger = await openLedger({ store: memoryStore(), signer, origin, clock, random });
const event = (account, type, body = {}, more = {}) => ({
  account,
  type,
  actor: 'a',
  body,
  eventId: `${account}/${type}`,
  ...more,
});
await ledger.appendMany([
  event('licence-1', 'licensed', { objects: 1 }, { evidence: [fromHex('d2a1')] }),
  event('object-1', 'ordered'),
  event('object-1', 'licensed', { licence: 'licence-1' }),
]);
await ledger.appendMany(Array.from({ length: 255 }, (_, i) => event(`m${i}`, 'machine')));
await ledger.appendMany([
  event('object-1', 'permitted', { licence: 'licence-1', machine: 'm0' }),
  event('object-1', 'completed'),
]);
const size = ledger.size;
const served = {};
for (const kind of ['hashes', 'entries']) {
  for (const { level, index, width } of tilesOf(size)) {
    if (kind === 'entries' && level > 0) continue;
    const path = tilePath({ kind, level, index, width });
    served[path] = toBase64(await ledger.tile(path));
  }
}
const proofs = [];
for (const index of [0, 1, 2, 128, 255, 256, 259]) {
  proofs.push({ index, proof: (await ledger.proveInclusion(index)).map(toBase64) });
}
const extensions = [];
for (const old of [1, 2, 3, 128, 255, 256, 257, 259, 260]) {
  const tiles = async (level, at) => nodeFrom(level, at);
  extensions.push({
    old,
    root: toBase64(await treeRoot(old, tiles)),
    proof: (await ledger.proveConsistency(old)).map(toBase64),
  });
}
async function nodeFrom(level, at) {
  const all = [];
  for (let i = at * 2 ** level; i < (at + 1) * 2 ** level; i++) all.push((await ledger.entry(i)).hash);
  return naive(all);
}
write('log.json', {
  about:
    'A log of 260 entries as it is served: checkpoint, tiles and entry bundles (base64), and proofs (base64 hashes).',
  logKey: ledger.logKey,
  checkpoint: new TextDecoder().decode(ledger.checkpoint()),
  size,
  served,
  inclusion: proofs,
  consistency: extensions,
});

// certificate.json
const certificate = await exportCertificate(ledger, 'object-1');
const refused = [];
async function refuse(what, bytes, logKey = ledger.logKey) {
  let code = 'accepted';
  try {
    verifyCertificate(bytes, { logKey });
  } catch (error) {
    code = error.code;
  }
  refused.push({ what, certificate: toHex(bytes), ...(logKey === ledger.logKey ? {} : { logKey }), code });
}
const bend = (change) => {
  const copy = structuredClone(decodeCertificate(certificate));
  change(copy);
  return encodeCertificate(copy);
};
await refuse('another first byte', Uint8Array.of(0x4d, ...certificate.subarray(1)));
await refuse('a byte too few', certificate.subarray(0, -1));
await refuse('a byte too many', Uint8Array.of(...certificate, 0));
await refuse(
  'an event in the middle left out',
  bend((c) => c.entries.splice(4, 1)),
);
await refuse(
  'the licence left out',
  bend((c) => c.entries.splice(0, 1)),
);
await refuse(
  'the machine left out',
  bend((c) => c.entries.splice(3, 1)),
);
await refuse(
  'entries in another order',
  bend((c) => c.entries.reverse()),
);
await refuse(
  'another index',
  bend((c) => {
    c.entries[4].index -= 1;
    c.entries[5].index -= 1;
  }),
);
await refuse(
  'proof hashes in another order',
  bend((c) => c.entries[0].proof.reverse()),
);
await refuse(
  'an actor changed in the last event',
  bend((c) => (c.entries[5].opening = swap(c.entries[5].opening, 'actora', 'actorb'))),
);
await refuse(
  'an actor changed in an earlier event',
  bend((c) => (c.entries[1].opening = swap(c.entries[1].opening, 'actora', 'actorb'))),
);
await refuse(
  'another salt',
  bend((c) => (c.entries[5].opening[0] ^= 1)),
);
await refuse(
  'an opening without its salt',
  bend((c) => (c.entries[5].opening = c.entries[5].opening.slice(32))),
);
await refuse(
  'a changed checkpoint',
  bend((c) => (c.checkpoint = swap(c.checkpoint, '\n260\n', '\n261\n'))),
);
await refuse(
  'the account of a licence as the object',
  bend((c) => (c.object = 'licence-1')),
);
await refuse('another key of the same name', certificate, formatVerifierKey(origin, witness.publicKey));
/** Replaces text in bytes. In CBOR, a length byte (0x61) is between 'actor' and its one-letter value. */
function swap(bytes, from, to) {
  const cbor = (t) => (t.startsWith('actor') ? `actor\x61${t.slice(5)}` : t);
  const at = Buffer.from(bytes).indexOf(cbor(from), 0, 'latin1');
  if (at < 0) throw new Error(`no ${from}`);
  const copy = Uint8Array.from(bytes);
  copy.set(Buffer.from(cbor(to), 'latin1'), at);
  return copy;
}
const accepted = refused.filter(({ code }) => code === 'accepted');
if (accepted.length > 0) throw new Error(`accepted: ${accepted.map(({ what }) => what)}`);
write('certificate.json', {
  about: 'A certificate and its parts, and certificates that are refused, with the code. Hexadecimal.',
  logKey: ledger.logKey,
  certificate: toHex(certificate),
  object: 'object-1',
  state: 'completed',
  size,
  indices: decodeCertificate(certificate).entries.map(({ index }) => index),
  refused,
});

// map.json, by the definition of section 15 and with Node's hash functions alone
const sha = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest();
const mapSalt = Buffer.alloc(32, 0x5a);
const zeros = Buffer.alloc(32);
function keyOf(account, salt = mapSalt) {
  return createHmac('sha256', salt).update(account).digest();
}
const mapped = Array.from({ length: 20 }, (_, i) => {
  const account = `account-${i}`;
  return { account, key: keyOf(account), sequence: 7 * i, hash: Buffer.alloc(32, i) };
});
const bit = (key, depth) => (key[depth >> 3] >> (7 - (depth % 8))) & 1;
function subtree(items, depth) {
  if (items.length === 0) return zeros;
  if (items.length > 1) {
    const [left, right] = [0, 1].map((side) =>
      subtree(
        items.filter(({ key }) => bit(key, depth) === side),
        depth + 1,
      ),
    );
    return sha(Buffer.of(3), left, right);
  }
  const [{ key, sequence, hash }] = items;
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(sequence));
  return sha(Buffer.of(2), key, number, hash);
}
function mapProof(account, all = mapped, salt = mapSalt) {
  const key = keyOf(account, salt);
  const siblings = [];
  let here = all;
  for (let depth = 0; here.length > 1; depth++) {
    const side = bit(key, depth);
    siblings.push(
      subtree(
        here.filter((item) => bit(item.key, depth) !== side),
        depth + 1,
      ).toString('hex'),
    );
    here = here.filter((item) => bit(item.key, depth) === side);
  }
  const [found] = here;
  return { account, siblings, ...(found && found.account !== account && { other: found.account }) };
}
write('map.json', {
  about: 'A map of 20 accounts: keys, leaves, root, proofs of presence and of absence. Hexadecimal.',
  salt: mapSalt.toString('hex'),
  accounts: mapped.map(({ account, key, sequence, hash }) => ({
    account,
    key: key.toString('hex'),
    sequence,
    hash: hash.toString('hex'),
  })),
  root: subtree(mapped, 0).toString('hex'),
  present: mapped.map(({ account }) => mapProof(account)),
  absent: ['', 'account-20', 'account-21', 'account-22', 'account-23', 'map'].map((account) => mapProof(account)),
  refused: refusedMapProofs(),
});

/** Proofs that do not hold. `newest` is the claimed newest event, none if absent. */
function refusedMapProofs() {
  const newestOf = (name) => {
    const { sequence, hash } = mapped.find(({ account }) => account === name);
    return { sequence, hash: hash.toString('hex') };
  };
  const present = { ...mapProof('account-7'), newest: newestOf('account-7') };
  const besideOther = ['account-20', 'account-21', 'account-22', 'account-23']
    .map((account) => mapProof(account))
    .find(({ other }) => other);
  const [firstHash, ...rest] = present.siblings;
  const flipped = `${firstHash.slice(0, -1)}${firstHash.endsWith('0') ? '1' : '0'}`;
  const far = mapped.find(({ key }) => bit(key, 0) !== bit(keyOf(besideOther.account), 0));
  const others = mapped.filter(({ account }) => account !== present.account);
  return [
    { what: 'an earlier event', ...present, newest: { ...present.newest, sequence: present.newest.sequence - 1 } },
    { what: 'another event', ...present, newest: newestOf('account-8') },
    { what: 'absence of an account that is present', ...present, newest: undefined },
    { what: 'absence by the leaf of the account itself', ...present, newest: undefined, other: present.account },
    { what: 'absence by a leaf with other leading bits', ...besideOther, other: far.account },
    { what: 'absence by an empty subtree in place of a leaf', ...besideOther, other: undefined },
    { what: 'presence beside the leaf of another account', ...present, other: others[0].account },
    { what: 'one bit of a hash changed', ...present, siblings: [flipped, ...rest] },
    { what: 'a hash left out', ...present, siblings: rest },
    { what: 'hashes in another order', ...present, siblings: present.siblings.toReversed() },
    { what: 'more than 256 hashes', ...present, siblings: Array(257).fill(zeros.toString('hex')) },
  ];
}

// map-certificate.json: a certificate with the map. Its accounts, leaves and root are computed as those of map.json.
const mapLedger = await openLedger({ store: memoryStore(), signer, origin, clock, random, map: { changes: 1_000 } });
await mapLedger.appendMany([
  event('licence-1', 'licensed', { objects: 1 }),
  event('object-1', 'ordered'),
  event('object-1', 'licensed', { licence: 'licence-1' }),
  event('m0', 'machine'),
  event('object-1', 'permitted', { licence: 'licence-1', machine: 'm0' }),
  event('object-1', 'completed'),
]);
const logged = await mapLedger.logMap();
const { root: loggedRoot, salt: loggedSalt } = logged.event.body;
const inMap = await Promise.all(
  ['object-1', 'licence-1', 'm0'].map(async (account) => {
    const { sequence, hash } = await mapLedger.head(account);
    return { account, key: keyOf(account, loggedSalt), sequence, hash: Buffer.from(hash) };
  }),
);
if (toHex(subtree(inMap, 0)) !== toHex(loggedRoot)) throw new Error('another root of the map');
await mapLedger.append(event('object-1', 'inspected'));
const later = decodeCertificate(await exportCertificate(mapLedger, 'object-1'));
const mapCertificates = [];
const claim = (what, code, change = () => {}) => {
  const parts = structuredClone(later);
  change(parts);
  mapCertificates.push({ what, ...(code && { code }), certificate: toHex(encodeCertificate(parts)) });
};
claim('with an event after the root');
claim('without that event', undefined, (c) => c.entries.pop());
claim('without the last event before the root', 'E_LEDGER_PROOF', (c) => c.entries.splice(-2, 2));
claim('proofs of the accounts in another order', 'E_LEDGER_PROOF', (c) => c.map.accounts.reverse());
claim('a proof too few', 'E_CERTIFICATE', (c) => c.map.accounts.pop());
claim('one bit of a proof changed', 'E_LEDGER_PROOF', (c) => (c.map.accounts[0][0][0] ^= 1));
claim('the root of another index', 'E_LEDGER_PROOF', (c) => (c.map.index -= 1));
claim('an event of another account as the root', 'E_LEDGER_ENTRY', ({ map, entries }) =>
  Object.assign(map, entries[0]),
);
write('map-certificate.json', {
  about:
    'A certificate with a root of the map of accounts: leaves and root of its accounts, and what is refused, with the code. Hexadecimal.',
  logKey: mapLedger.logKey,
  index: logged.index,
  root: toHex(loggedRoot),
  salt: toHex(loggedSalt),
  accounts: inMap.map(({ account, key, sequence, hash }) => ({
    account,
    key: key.toString('hex'),
    sequence,
    hash: hash.toString('hex'),
    leaf: subtree([{ key, sequence, hash }], 0).toString('hex'),
    siblings: mapProof(account, inMap, loggedSalt).siblings,
  })),
  accepted: mapCertificates.filter(({ code }) => !code),
  refused: mapCertificates.filter(({ code }) => code),
});
