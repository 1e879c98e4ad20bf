import { type Bytes, encodeCbor, toBase64, toHex, utf8 } from '@millrace/base';
import type { CallOptions } from '../http.ts';
import type { Caller } from '../test-installation.ts';
import { encodeLoosely, mutate, mutateValue } from './mutate.ts';
import type { Random } from './random.ts';

/** A request that no genuine client sends. */
export interface OddRequest extends CallOptions {
  readonly node: 'control' | 'distribution';
  readonly caller: Caller;
}

const id = '0123456789abcdef'.repeat(2);
const json: Readonly<Record<string, unknown>> = {
  '/v1/transactions': {
    transaction: toBase64(new Uint8Array(40)),
    attachments: { manifest: 'AAAA', keys: 'AAAA', secret: 'AAAA' },
  },
  [`/v1/designs/${id}/repair`]: { segments: [1, 2, 3] },
  [`/v1/designs/${id}/uploaded`]: {},
  '/v1/vault/checks': { deep: true },
  '/v1/mailbox/acknowledge': { ids: [id] },
  '/v1/mailbox/release': { ids: [id] },
  [`/v1/progress/${id}-1`]: {
    acked: 1,
    revision: 2,
    machine: { state: 'running', temperatures: { bed: 60 }, buffer: 1.5, wire: 1, hints: 2 },
    owner: { session: id, sealed: 'AAAA' },
  },
  '/v1/maintenance': {
    epoch: 1,
    cells: 3,
    decoys: 3,
    designs: 1,
    periodMs: 120_000,
    reachedPeriodMs: 120_000,
    lastSweepMs: 7,
    progress: 1,
    heldBackBy: 'no',
    moneyPerMonth: 0.02,
    problems: 0,
  },
  '/v1/head': { epoch: 1, ledger: { size: 1, root: id + id } },
};
const cbor: Readonly<Record<string, unknown>> = {
  [`/v1/machines/${id}/call-home`]: { request: new Uint8Array(90) },
  [`/v1/machines/${id}/report`]: { report: new Uint8Array(90) },
  '/v1/boxes/mail': { document: new Uint8Array(90), floor: 1 },
};
const reads = [
  '/v1/designs',
  `/v1/designs/${id}`,
  `/v1/designs/${id}/private`,
  '/v1/licences',
  `/v1/licences/${id}`,
  '/v1/machines',
  '/v1/prints',
  `/v1/prints/${id}`,
  `/v1/vault/checks/${id}`,
  '/v1/status',
  '/v1/objects',
  `/v1/objects/${id}-1`,
  `/v1/objects/${id}-1/certificate`,
  '/v1/ledger/checkpoint',
  '/v1/ledger/tile/0/000.p/1',
  '/v1/ledger/tile/entries/000.p/1',
  '/v1/ledger/openings',
  '/v1/ledger/openings?cursor=1&limit=3',
  '/v1/ledger/map',
  '/v1/ledger/verify',
  '/v1/deletions',
  '/v1/directory',
  '/v1/boxes/keys-1/attachments',
];
const uploads = [`/v1/uploads/${id}/0`, `/v1/uploads/${id}?segments=4`, `/v1/uploads/${id}`];
const callers: readonly Caller[] = [
  'admin',
  'owner',
  'operator',
  'machine',
  'control',
  'segments',
  'keys',
  'distribution',
];
const pieces = [
  '%00',
  '%2e%2e%2f',
  '%',
  '..',
  '//',
  '?',
  '&',
  '=',
  'x'.repeat(2_000),
  '%F0%9F%98%80',
  '-1',
  '1e9',
  '99999999999999999999',
  '__proto__',
  '%c0%af',
];
const headers: readonly Readonly<Record<string, string>>[] = [
  {},
  { 'content-type': 'text/plain' },
  { 'content-type': 'application/json; charset=x' },
  { 'content-type': 'application/octet-stream' },
  { 'content-type': '\u00ff' },
  { expect: '100-continue' },
  { 'x-odd': 'y'.repeat(9_000) },
  { accept: '\u0080' },
  { 'accept-encoding': 'gzip;q=9, *', range: 'bytes=-1' },
  { 'content-encoding': 'gzip' },
];

/** A path, with an invalid part in half of the cases. */
function oddPath(path: string, random: Random): string {
  if (random.below(2) === 0) return path;
  const at = 1 + random.below(path.length);
  const cut = random.below(2) === 0 ? at : Math.min(path.length, at + random.below(8));
  return path.slice(0, at) + random.pick(pieces) + path.slice(cut);
}

function bodyOf(path: string, random: Random): Uint8Array | string | undefined {
  const kind = random.below(4);
  if (path in json && kind > 0) {
    const text = JSON.stringify(mutateValue(json[path], random), (_, part: unknown) =>
      typeof part === 'bigint' ? Number(part) : part instanceof Uint8Array ? toHex(part) : part,
    );
    return kind === 1 ? (mutate([utf8(text ?? 'null')], random) as Bytes) : (text ?? 'null');
  }
  if (path in cbor && kind > 0)
    return kind === 1
      ? mutate([encodeCbor(cbor[path] as never)], random)
      : encodeLoosely(mutateValue(cbor[path], random));
  return random.pick([
    undefined,
    '',
    '{',
    '[]',
    'null',
    random.bytes(random.below(20_000)),
    new Uint8Array(random.pick([16_385, 16_386, 16_387])),
  ]);
}

/** Usually a caller of the route's role, because other callers are refused before the request is parsed. */
function callerFor(path: string, random: Random): Caller {
  if (random.below(4) === 0) return random.pick(callers);
  if (/^\/v1\/machines\/./.test(path)) return 'distribution';
  if (/^\/v1\/(mailbox|head|deletions|maintenance|progress|boxes)/.test(path)) return random.pick(['keys', 'segments']);
  if (path.startsWith('/v1/uploads')) return random.pick(['owner', 'segments']);
  return random.pick(['admin', 'owner', 'operator']);
}

export function oddRequest(random: Random): OddRequest {
  const node = random.below(4) === 0 ? 'distribution' : 'control';
  const known =
    node === 'distribution'
      ? uploads
      : [...reads, ...Object.keys(json), ...Object.keys(cbor), '/v1/mailbox/keys-1?id=x', '/v1/mailbox?wait=0'];
  const path = random.pick(known);
  const writes = path in json || path in cbor || node === 'distribution' || path.startsWith('/v1/mailbox/');
  const method = random.pick(
    writes ? ['POST', 'POST', 'PUT', 'DELETE', 'GET'] : ['GET', 'GET', 'GET', 'POST', 'DELETE', 'PATCH', 'OPTIONS'],
  );
  const body = method === 'GET' ? undefined : bodyOf(path, random);
  const type = typeof body === 'string' ? { 'content-type': 'application/json' } : {};
  return {
    node,
    caller: callerFor(path, random),
    method,
    path: oddPath(path, random).replace(/[^\x21-\x7e]/g, ''),
    headers: { ...type, ...(random.below(4) === 0 ? random.pick(headers) : {}) },
    ...(body === undefined ? {} : { body }),
  };
}
