import { type Bytes, silentLogger, systemRandom, toHex } from '@millrace/base';
import { decodeLink, encodeControl, encodeStream, type HttpClient, type LinkMessage } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Peer, Relay } from '../src/distribution/relay.ts';

const control = { call: () => Promise.reject(new Error('nobody calls')) } as unknown as HttpClient;
const offer = (session: Bytes) => ({
  session,
  ephemeral: new Uint8Array(65),
  enc: new Uint8Array(65),
  sealed: new Uint8Array(40),
});

/** What reached a party, in order: kinds, or types of control messages. */
function party(addressed: boolean): Peer & { readonly got: LinkMessage[]; kinds(): string[] } {
  const got: LinkMessage[] = [];
  return {
    got,
    send: (bytes) => got.push(decodeLink(bytes, addressed)),
    close: () => undefined,
    kinds: () => got.map((message) => (message.kind === 'control' ? message.message.type : message.kind)),
  };
}

const [right, wrong] = ['a'.repeat(32), 'b'.repeat(32)];
let relay: Relay;
let session: Bytes;
let machines: Record<string, ReturnType<typeof party>>;
let nodes: Record<'segments' | 'keys', ReturnType<typeof party>>;

beforeEach(() => {
  relay = new Relay(control, silentLogger);
  session = systemRandom(16);
  machines = { [right]: party(false), [wrong]: party(false) };
  nodes = { segments: party(true), keys: party(true) };
  for (const [name, peer] of Object.entries(machines)) relay.machineOpened(name, peer);
  for (const name of ['segments', 'keys'] as const) relay.nodeOpened(name, nodes[name]);
});

const got = (machine: string) => machines[machine]?.kinds();
const offerTo = (machine: string, of = session) =>
  relay.fromNode('keys', encodeControl({ type: 'offer', machine, jti: toHex(of), offer: offer(of) }));
const admit = (machine: string, of = session) =>
  relay.fromNode('segments', encodeControl({ type: 'admit', machine, jti: toHex(of) }));
const route = (machine: string, of = session) =>
  relay.fromNode('segments', encodeControl({ type: 'route', machine, session: of }));
/** What an honest segments node says of a session; permits have the name of their session here. */
const name = (machine: string, of = session) => {
  admit(machine, of);
  route(machine, of);
};
const key = (of = session) => relay.fromNode('keys', encodeStream('key', new Uint8Array(84), of));
const frame = (of = session) => relay.fromNode('segments', encodeStream('frame', new Uint8Array(60), of));
const reverse = (machine: string) => relay.fromMachine(machine, encodeStream('reverse', new Uint8Array(60)));

describe('a session goes to the machine that both proactive nodes name', () => {
  it('whichever of them is first, and with what the keys node sent meanwhile', () => {
    offerTo(right);
    key();
    key();
    expect(got(right)).toEqual([]);
    name(right);
    frame();
    key();
    expect(got(right)).toEqual(['offer', 'key', 'key', 'frame', 'key']);
    const next = systemRandom(16);
    admit(right, next);
    frame(); // of the session before, which goes on until the next is offered
    offerTo(right, next);
    frame();
    route(right, next);
    frame();
    frame(next);
    expect(got(right)?.slice(5)).toEqual(['frame', 'offer', 'frame']);
  });

  it('a keys node alone sends nothing to a machine that the segments node did not name', () => {
    name(right);
    offerTo(wrong);
    key();
    frame();
    relay.fromNode('keys', encodeControl({ type: 'mix', session, revision: 64, sealed: new Uint8Array(81) }));
    relay.fromNode('keys', encodeControl({ type: 'end', session, code: 'E_ALARM', reason: 'a lie' }));
    reverse(wrong);
    expect(got(wrong)).toEqual([]);
    expect(got(right)).toEqual([]);
    expect(nodes.segments.kinds()).toEqual([]);
  });

  it('a session offered under the permit of another machine brings that machine no frame', () => {
    const own = systemRandom(16);
    admit(wrong, own); // it has a permit, and a session of its own
    name(right);
    const point = new Uint8Array(65);
    const stolen = { session, ephemeral: point, enc: point, sealed: new Uint8Array(40) };
    relay.fromNode('keys', encodeControl({ type: 'offer', machine: wrong, jti: toHex(own), offer: stolen }));
    frame();
    relay.fromNode('segments', encodeControl({ type: 'end', session, code: 'E_ALARM', reason: 'of the other' }));
    route(wrong, own);
    frame();
    expect(got(wrong)).toEqual(['offer']);
  });

  it('a segments node alone sends nothing either', () => {
    offerTo(right);
    name(wrong);
    frame();
    key();
    relay.fromNode('segments', encodeControl({ type: 'end', session, code: 'E_ALARM', reason: 'a lie' }));
    expect([got(right), got(wrong)]).toEqual([[], []]);
    admit(right);
    frame();
    expect([got(right), got(wrong)]).toEqual([['offer', 'key'], []]);
  });

  it('a session that is under way is not taken to another machine', () => {
    offerTo(right);
    name(right);
    admit(wrong);
    offerTo(wrong);
    frame();
    key();
    expect(got(right)).toEqual(['offer', 'frame', 'key']);
    expect(got(wrong)).toEqual([]);
  });

  it('a machine that runs a stream does not lose it to an offer that the segments node did not name', () => {
    offerTo(right);
    name(right);
    const next = systemRandom(16);
    offerTo(right, next);
    relay.fromNode('keys', encodeControl({ type: 'offer', machine: right, jti: toHex(session), offer: offer(next) }));
    frame();
    expect(got(right)).toEqual(['offer', 'frame']);
    reverse(right);
    expect(nodes.segments.kinds()).toEqual(['reverse']);
  });
});

it('neither node says what is the other’s to say', () => {
  for (const message of [
    { type: 'route' as const, machine: right, session },
    { type: 'admit' as const, machine: right, jti: toHex(session) },
  ])
    expect(() => relay.fromNode('keys', encodeControl(message))).toThrow();
  const message = encodeControl({ type: 'offer', machine: right, jti: toHex(session), offer: offer(session) });
  expect(() => relay.fromNode('segments', message)).toThrow();
  expect(() => relay.fromNode('segments', encodeStream('key', new Uint8Array(84), session))).toThrow();
});

it('what waits for the other node is bounded', () => {
  offerTo(right);
  for (let i = 0; i < 1_000; i++) key();
  admit(right);
  expect(got(right)).toEqual([]); // the machine calls home again
  offerTo(right);
  expect(got(right)).toEqual(['offer']);
});

it('a machine that connects anew has no session, and both nodes learn of it', () => {
  offerTo(right);
  name(right);
  const again = party(false);
  relay.machineOpened(right, again);
  frame();
  expect(again.kinds()).toEqual([]);
  expect(nodes.segments.kinds()).toEqual(['lost']);
  expect(nodes.keys.kinds()).toEqual(['lost']);
  name(right);
  offerTo(right);
  expect(again.kinds()).toEqual(['offer']);
});
