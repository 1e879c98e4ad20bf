import { type Bytes, encodeCbor, MillraceError, silentLogger, toHex, utf8 } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import {
  type CallOptions,
  type Directory,
  encodeMail,
  type HttpClient,
  type Message,
  sealMail,
} from '@millrace/protocol';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { controlClient } from '../src/node/api-clients.ts';
import { createMailClient, type Handler, type MailClient } from '../src/node/mail-client.ts';

/** Waits up to a minute: the computer may be busy. */
const eventually = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 60_000 });

const identities = { keys: generateP256Key(), segments: generateP256Key() };
const nodeOf = (role: 'keys' | 'segments') => ({
  id: `${role}-1`,
  role,
  addresses: [],
  fingerprint: '00'.repeat(32),
  identity: toHex(identities[role].publicKey),
});
const directory = {
  installation: '11'.repeat(16),
  nodes: [nodeOf('keys'), nodeOf('segments')],
} as unknown as Directory;

const secret = generateP256Key();
const times = { issued: 0, expires: 1 };
const box = { type: 'box' as const, node: 'segments-1', use: 'mail' as const, number: 7, ...times };
const boxKey = { ...box, point: secret.publicKey };
const boxes = {
  mail: { keyOf: (number: number) => (number === 7 ? secret : undefined), drained: async () => undefined },
};
const known = { of: async () => boxKey, renew: async () => boxKey };

interface Mail {
  readonly id: string;
  readonly from: 'keys-1';
  readonly sealed: Bytes;
  readonly attempts: number;
}

async function mail(session: string): Promise<Mail> {
  const message: Message = { type: 'stream.close', session: session.repeat(32) };
  const sealed = await sealMail(directory, { id: 'keys-1', identity: identities.keys }, boxKey, encodeMail(message));
  return { id: session, from: 'keys-1', sealed, attempts: 1 };
}

/** A mailbox that gives batch after batch and answers acknowledgements when the test says so. */
function mailbox(batches: readonly (readonly Mail[])[]) {
  const left = [...batches];
  let deliver: (batch: readonly Mail[]) => void = () => undefined;
  const posts: { readonly path: string; readonly ids: readonly string[]; end(error?: Error): void }[] = [];
  const http: HttpClient = {
    call: (method, path, { json, signal }: CallOptions = {}) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
        const answer = (body: Bytes) => resolve({ status: 200, body, json: () => ({}) });
        if (method === 'GET') {
          const next = left.shift();
          if (next !== undefined) answer(encodeCbor(next as never));
          else deliver = (batch) => answer(encodeCbor(batch as never));
          return;
        }
        const { ids } = json as { ids: string[] };
        posts.push({ path, ids, end: (error) => (error === undefined ? answer(utf8('{}')) : reject(error)) });
      }),
    close: () => undefined,
  };
  return { http, posts, deliver: (batch: readonly Mail[]) => deliver(batch) };
}

let client: MailClient | undefined;
afterEach(() => client?.close());

function start(http: HttpClient, handle: (session: string, goOn: Parameters<Handler>[2]) => Promise<void>): void {
  const identity = identities.segments;
  client = createMailClient({
    control: controlClient(http),
    directory,
    id: 'segments-1',
    identity,
    boxes,
    known,
    logger: silentLogger,
  });
  client.start((message, _, goOn) => handle(message.type === 'stream.close' ? message.session.slice(0, 1) : '', goOn));
}

describe('acknowledgements', () => {
  it('do not delay the next message, are batched, and keep their order when one is lost', async () => {
    const { http, posts } = mailbox([[await mail('a'), await mail('b'), await mail('c')], [await mail('d')]]);
    const handled: string[] = [];
    start(http, async (session) => void handled.push(session));
    await eventually(() => expect(handled).toEqual(['a', 'b', 'c', 'd']));
    expect(posts.map(({ ids }) => ids)).toEqual([['a']]);
    posts[0]?.end(new MillraceError('E_UNAVAILABLE', 'lost'));
    await eventually(() => expect(posts.length).toBe(2));
    expect(posts[1]?.ids).toEqual(['a']);
    posts[1]?.end();
    await eventually(() => expect(posts.length).toBe(3));
    expect(posts[2]).toMatchObject({ path: '/v1/mailbox/acknowledge', ids: ['b', 'c', 'd'] });
  });

  it('in flight: a redelivered message is not handled again', async () => {
    const [a, b] = [await mail('a'), await mail('b')];
    const { http, posts } = mailbox([[a], [a, b]]);
    const handled: string[] = [];
    start(http, async (session) => void handled.push(session));
    await eventually(() => expect(handled).toEqual(['a', 'b']));
    expect(posts.map(({ ids }) => ids)).toEqual([['a']]);
  });

  it('are not sent for a message rejected with a transient error', async () => {
    const { http, posts } = mailbox([[await mail('a'), await mail('b')]]);
    start(http, (session) =>
      session === 'a' ? Promise.reject(new MillraceError('E_UNAVAILABLE', 'not now')) : Promise.resolve(),
    );
    await eventually(() => expect(posts.length).toBe(1));
    expect(posts[0]).toMatchObject({ path: '/v1/mailbox/release', ids: ['a'] });
    posts[0]?.end();
    await eventually(() => expect(posts.length).toBe(2));
    expect(posts[1]).toMatchObject({ path: '/v1/mailbox/acknowledge', ids: ['b'] });
  });

  it('of work that goes on: a message that it released is handled again, even before the release is answered', async () => {
    const [a] = [await mail('a')];
    const { http, posts, deliver } = mailbox([[a]]);
    let handled = 0;
    start(http, async (_, goOn) => {
      if (handled++ === 0) goOn(Promise.reject(new MillraceError('E_UNAVAILABLE', 'not now')));
    });
    await eventually(() => expect(posts).toMatchObject([{ path: '/v1/mailbox/release', ids: ['a'] }]));
    deliver([a]); // the release is not answered yet
    await eventually(() => expect(handled).toBe(2));
    posts[0]?.end();
    await eventually(() => expect(posts[1]).toMatchObject({ path: '/v1/mailbox/acknowledge', ids: ['a'] }));
  });
});
