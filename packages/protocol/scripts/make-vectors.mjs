// Writes directory, registrations, materials from the built package: `node packages/protocol/scripts/make-vectors.mjs`.
// Keys, ids and times are fixed and ES256K signatures are deterministic (RFC 6979), so that the files stay the same.
// vectors/protocol/make.py writes files of another implementation.
import { mkdirSync, writeFileSync } from 'node:fs';
import { encodeCbor, fromHex, toHex } from '@millrace/base';
import { keyName, p256Key, userKey } from '@millrace/identity';
import {
  documentHash,
  encodeCredential,
  materialText,
  proveInvitation,
  registrationHash,
  signDirectory,
  signTransaction,
} from '../dist/index.js';

const folder = new URL('../../../vectors/protocol/', import.meta.url);
mkdirSync(folder, { recursive: true });
const write = (name, document) =>
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(document, null, 2)}\n`);

const fill = (byte, length = 32) => new Uint8Array(length).fill(byte);
const point = (byte) => p256Key(fill(byte)).publicKey;
const secrets = { administrator: toHex(fill(1)), stranger: toHex(fill(2)), owner: toHex(fill(3)) };
const signers = Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [name, userKey(fromHex(secret))]));
const anchor = { installation: '0f'.repeat(16), adminKey: toHex(signers.administrator.publicKey) };
const elsewhere = '0e'.repeat(16);
const since = 1_700_000_000_000;

const node = (id, role, byte, addresses = []) => ({
  id,
  role,
  addresses,
  fingerprints: [{ fingerprint: toHex(fill(byte)), since }],
  identities: [{ key: toHex(point(byte)), since }],
});
const first = {
  version: 2,
  sequence: 1,
  issued: since,
  ...anchor,
  name: 'Vectors',
  authorities: [{ certificate: '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n', since }],
  nodes: [
    node('control-1', 'control', 0x11, [{ host: '192.0.2.1', port: 7401 }]),
    node('distribution-1', 'distribution', 0x12, [{ host: '2001:db8::1', port: 7402 }]),
    node('segments-1', 'segments', 0x13),
    node('segments-2', 'segments', 0x14),
    node('keys-1', 'keys', 0x15),
  ],
  permitKeys: [{ key: toHex(point(0x21)), since }],
  logKeys: [{ key: 'millrace/vectors+00000000+AA==', since }],
};
const rotated = {
  ...first,
  sequence: 2,
  issued: since + 1,
  permitKeys: [
    { key: toHex(point(0x22)), since: since + 1 },
    { ...first.permitKeys[0], until: since + 604_800_001 },
  ],
};
const accept = async (what, document) => ({
  what,
  cbor: toHex(encodeCbor(document)),
  hash: toHex(documentHash(document)),
  signed: await signDirectory(signers.administrator, document),
});
const accepted = [await accept('the first directory', first), await accept('a permit key was rotated', rotated)];
const [{ signed }] = accepted;
const inside = (change) => ({ ...signed, directory: { ...signed.directory, ...change } });
write('directory', {
  anchor,
  secrets,
  accepted,
  refused: [
    { what: 'signed by somebody else', signed: await signDirectory(signers.stranger, first) },
    { what: 'changed after it was signed', signed: inside({ sequence: 2 }) },
    {
      what: 'of another installation',
      signed: await signDirectory(signers.administrator, { ...first, installation: elsewhere }),
    },
    { what: 'names another administrator', signed: inside({ adminKey: toHex(signers.stranger.publicKey) }) },
    { what: 'two nodes with one id', signed: inside({ nodes: [...first.nodes, first.nodes[0]] }) },
    { what: 'no keys node', signed: inside({ nodes: first.nodes.slice(0, 4) }) },
    { what: 'a former key without an end', signed: inside({ permitKeys: [...first.permitKeys, ...first.permitKeys] }) },
    { what: 'a field that is not known', signed: inside({ colour: 'red' }) },
    { what: 'version 1', signed: inside({ version: 1 }) },
  ],
});

const common = { id: fill(7, 16), issued: since, expires: since + 600_000 };
const machine = {
  machine: keyName(point(0x31)),
  publicKey: point(0x31),
  serial: 'virtual-1-00000000',
  kind: 'virtual',
  profile: { factor: 240 },
};
const bodies = {
  user: { ...common, type: 'user.register', publicKey: signers.owner.publicKey, name: 'owner' },
  machine: { ...common, type: 'machine.register', machine },
  permitKey: { ...common, type: 'permit-key.register', publicKey: point(0x21) },
};
const sign = async (signer, body, installation = anchor.installation) =>
  toHex(await signTransaction(signer, installation, body));
const { administrator, stranger } = signers;
write('registrations', {
  anchor,
  secrets,
  user: { publicKey: toHex(bodies.user.publicKey), document: await sign(administrator, bodies.user) },
  machine: {
    ...machine,
    publicKey: toHex(machine.publicKey),
    /** What a licence names. */
    hash: toHex(registrationHash(machine)),
    document: await sign(administrator, bodies.machine),
  },
  permitKey: { publicKey: toHex(bodies.permitKey.publicKey), document: await sign(administrator, bodies.permitKey) },
  refused: [
    {
      what: 'a user, signed by somebody else',
      as: 'user',
      code: 'E_AUTH',
      document: await sign(stranger, bodies.user),
    },
    {
      what: 'a user, of another installation',
      as: 'user',
      code: 'E_SIGNATURE',
      document: await sign(administrator, bodies.user, elsewhere),
    },
    {
      what: 'a machine in the place of a user',
      as: 'user',
      code: 'E_INPUT',
      document: await sign(administrator, bodies.machine),
    },
    {
      what: 'a machine under the name of another key',
      as: 'machine',
      code: 'E_MACHINE_UNKNOWN',
      document: await sign(administrator, { ...bodies.machine, machine: { ...machine, publicKey: point(0x32) } }),
    },
    {
      what: 'a permit key, signed by somebody else',
      as: 'permitKey',
      code: 'E_AUTH',
      document: await sign(stranger, bodies.permitKey),
    },
  ],
});

// A supplier with one person, who certifies a spool.
const [carla, invitation] = [userKey(fill(5)), userKey(fill(6))];
const dated = { issued: since, expires: since + 600_000 };
const organisation = { type: 'organisation.register', id: fill(0x51, 16), ...dated, organisation: '5a'.repeat(16) };
const invited = {
  type: 'member.invite',
  id: fill(0x52, 16),
  ...dated,
  organisation: organisation.organisation,
  person: '5b'.repeat(16),
  name: 'Carla',
  roles: ['certifier'],
  invitation: invitation.publicKey,
  until: since + 1_000_000_000,
};
const enrolled = {
  type: 'key.enrol',
  id: fill(0x53, 16),
  ...dated,
  invitation: keyName(invitation.publicKey),
  publicKey: carla.publicKey,
  device: 'laptop',
  proof: await proveInvitation(invitation, anchor.installation, carla.publicKey),
};
const bytesOf = (signer, body, installation = anchor.installation) => signTransaction(signer, installation, body);
const credential = async (kind) =>
  encodeCredential([
    await bytesOf(carla, enrolled),
    await bytesOf(administrator, invited),
    await bytesOf(administrator, { ...organisation, name: 'ACME', kinds: [kind] }),
  ]);
const spool = {
  type: 'material.certify',
  id: fill(0x54, 16),
  ...dated,
  name: 'PLA',
  batch: '2026-31-A',
  spool: 'AC-000017',
  grams: 1_000,
  form: 'filament',
  diameter: 1_750,
  density: 1_240,
  made: since - 86_400_000,
  until: since + 63_072_000_000,
  properties: { colour: 'black' },
};
const certificate = await bytesOf(carla, spool);
const supplier = toHex(await credential('supplier'));
write('materials', {
  anchor,
  certificate: toHex(certificate),
  text: materialText(certificate),
  supplier,
  organisation: organisation.organisation,
  key: keyName(carla.publicKey),
  refused: [
    {
      what: 'the signer’s organisation is a brand',
      code: 'E_FORBIDDEN',
      certificate: toHex(certificate),
      supplier: toHex(await credential('brand')),
    },
    {
      what: 'signed by another key than the credential’s',
      code: 'E_AUTH',
      certificate: toHex(await bytesOf(stranger, spool)),
      supplier,
    },
    {
      what: 'of another installation',
      code: 'E_SIGNATURE',
      certificate: toHex(await bytesOf(carla, spool, elsewhere)),
      supplier,
    },
    {
      what: 'a filament without a diameter',
      code: 'E_INPUT',
      certificate: toHex(await bytesOf(carla, { ...spool, diameter: undefined })),
      supplier,
    },
  ],
});
