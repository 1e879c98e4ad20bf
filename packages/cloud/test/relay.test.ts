import { type Bytes, silentLogger, systemRandom, toHex } from '@millrace/base';
import { decodeLink, encodeControl, encodeStream, type HttpClient, type LinkMessage } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Peer, Relay, type RelayNode } from '../src/distribution/relay.ts';

const control = { call: () => Promise.reject(new Error('nobody calls')) } as unknown as HttpClient;
const offer = (session: Bytes) => ({
  session,
  ephemeral: new Uint8Array(65),
  enc: new Uint8Array(65),
  sealed: new Uint8Array(40),
});

/** The messages that a party received, in order: their kinds, or the types of control messages. */
function party(addressed: boolean): Peer & { readonly got: LinkMessage[]; kinds(): string[] } {
  const got: LinkMessage[] = [];
  return {
    got,
    send: (bytes) => got.push(decodeLink(bytes, addressed)),
    close: () => undefined,
    kinds: () => got.map((message) => (message.kind === 'control' ? message.message.type : message.kind)),
  };
}

const segmentsNode = { id: 'segments-1', role: 'segments' } as const;
const keysNode = { id: 'keys-1', role: 'keys' } as const;
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
  relay.nodeOpened(segmentsNode, nodes.segments);
  relay.nodeOpened(keysNode, nodes.keys);
});

const got = (machine: string) => machines[machine]?.kinds();
const offerTo = (machine: string, of = session) =>
  relay.fromNode(keysNode, encodeControl({ type: 'offer', machine, permitId: toHex(of), offer: offer(of) }));
const admit = (machine: string, of = session) =>
  relay.fromNode(segmentsNode, encodeControl({ type: 'admit', machine, permitId: toHex(of) }));
const route = (machine: string, of = session) =>
  relay.fromNode(segmentsNode, encodeControl({ type: 'route', machine, session: of }));
/** The messages of an honest segments node for a session. Here the permit's id is the session's id. */
const name = (machine: string, of = session) => {
  admit(machine, of);
  route(machine, of);
};
const key = (of = session) => relay.fromNode(keysNode, encodeStream('key', new Uint8Array(84), of));
const frame = (of = session) => relay.fromNode(segmentsNode, encodeStream('frame', new Uint8Array(60), of));
const reverse = (machine: string) => relay.fromMachine(machine, encodeStream('reverse', new Uint8Array(60)));

describe('a session is relayed to the machine that both proactive nodes name', () => {
  it('whichever node is first, with the messages that the keys node sent meanwhile', () => {
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
    frame(); // of the previous session, which continues until the next one is offered
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
    relay.fromNode(keysNode, encodeControl({ type: 'mix', session, revision: 64, sealed: new Uint8Array(81) }));
    relay.fromNode(keysNode, encodeControl({ type: 'end', session, code: 'E_ALARM', reason: 'a lie' }));
    reverse(wrong);
    expect(got(wrong)).toEqual([]);
    expect(got(right)).toEqual([]);
    expect(nodes.segments.kinds()).toEqual([]);
  });

  it('a session offered under another machine’s permit brings that machine no frame', () => {
    const own = systemRandom(16);
    admit(wrong, own); // it has a permit and a session
    name(right);
    const point = new Uint8Array(65);
    const stolen = { session, ephemeral: point, enc: point, sealed: new Uint8Array(40) };
    relay.fromNode(keysNode, encodeControl({ type: 'offer', machine: wrong, permitId: toHex(own), offer: stolen }));
    frame();
    relay.fromNode(segmentsNode, encodeControl({ type: 'end', session, code: 'E_ALARM', reason: 'of the other' }));
    route(wrong, own);
    frame();
    expect(got(wrong)).toEqual(['offer']);
  });

  it('a segments node alone sends nothing either', () => {
    offerTo(right);
    name(wrong);
    frame();
    key();
    relay.fromNode(segmentsNode, encodeControl({ type: 'end', session, code: 'E_ALARM', reason: 'a lie' }));
    expect([got(right), got(wrong)]).toEqual([[], []]);
    admit(right);
    frame();
    expect([got(right), got(wrong)]).toEqual([['offer', 'key'], []]);
  });

  it('a running session is not moved to another machine', () => {
    offerTo(right);
    name(right);
    admit(wrong);
    offerTo(wrong);
    frame();
    key();
    expect(got(right)).toEqual(['offer', 'frame', 'key']);
    expect(got(wrong)).toEqual([]);
  });

  it('a running stream is not replaced by an offer that the segments node did not name', () => {
    offerTo(right);
    name(right);
    const next = systemRandom(16);
    offerTo(right, next);
    relay.fromNode(
      keysNode,
      encodeControl({ type: 'offer', machine: right, permitId: toHex(session), offer: offer(next) }),
    );
    frame();
    expect(got(right)).toEqual(['offer', 'frame']);
    reverse(right);
    expect(nodes.segments.kinds()).toEqual(['reverse']);
  });
});

it('rejects messages that only the other node may send', () => {
  for (const message of [
    { type: 'route' as const, machine: right, session },
    { type: 'admit' as const, machine: right, permitId: toHex(session) },
  ])
    expect(() => relay.fromNode(keysNode, encodeControl(message))).toThrow();
  const message = encodeControl({ type: 'offer', machine: right, permitId: toHex(session), offer: offer(session) });
  expect(() => relay.fromNode(segmentsNode, message)).toThrow();
  expect(() => relay.fromNode(segmentsNode, encodeStream('key', new Uint8Array(84), session))).toThrow();
});

it('limits the messages held for the other node', () => {
  offerTo(right);
  for (let i = 0; i < 1_000; i++) key();
  admit(right);
  expect(got(right)).toEqual([]); // the machine has to call home again
  offerTo(right);
  expect(got(right)).toEqual(['offer']);
});

it('a machine that reconnects has no session, and both nodes are told', () => {
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

describe('with two nodes of each role', () => {
  const second = { segments: { id: 'segments-2', role: 'segments' }, keys: { id: 'keys-2', role: 'keys' } } as const;
  let others: Record<'segments' | 'keys', ReturnType<typeof party>>;
  let other: Bytes;
  const from = (node: RelayNode, kind: 'key' | 'frame', of: Bytes) =>
    relay.fromNode(node, encodeStream(kind, new Uint8Array(84), of));
  const end = (of: Bytes) => encodeControl({ type: 'end', session: of, code: 'E_ALARM', reason: 'a lie' });

  /** `right` streams from the first node of each role, `wrong` from the second. */
  beforeEach(() => {
    others = { segments: party(true), keys: party(true) };
    for (const role of ['segments', 'keys'] as const) relay.nodeOpened(second[role], others[role]);
    other = systemRandom(16);
    offerTo(right);
    name(right);
    const permitId = toHex(other);
    relay.fromNode(second.keys, encodeControl({ type: 'offer', machine: wrong, permitId, offer: offer(other) }));
    relay.fromNode(second.segments, encodeControl({ type: 'admit', machine: wrong, permitId }));
    relay.fromNode(second.segments, encodeControl({ type: 'route', machine: wrong, session: other }));
  });

  it('relays each session between its machine and its nodes', () => {
    key();
    frame();
    from(second.keys, 'key', other);
    from(second.segments, 'frame', other);
    expect(got(right)).toEqual(['offer', 'key', 'frame']);
    expect(got(wrong)).toEqual(['offer', 'key', 'frame']);
    reverse(right);
    reverse(wrong);
    for (const { kinds } of [...Object.values(nodes), ...Object.values(others)]) expect(kinds()).toEqual(['reverse']);
  });

  it('rejects messages and ends in a session of another node of the role', () => {
    from(second.keys, 'key', session);
    relay.fromNode(second.keys, end(session));
    relay.fromNode(second.segments, encodeControl({ type: 'route', machine: right, session }));
    from(second.segments, 'frame', session);
    relay.fromNode(second.segments, end(session));
    expect(got(right)).toEqual(['offer']);
    frame();
    expect(got(right)).toEqual(['offer', 'frame']);
  });

  it('a stream goes on at another segments node; the former one, frozen until then, neither joins nor disturbs it', () => {
    const next = systemRandom(16);
    const permitId = toHex(next);
    relay.fromNode(second.segments, encodeControl({ type: 'admit', machine: right, permitId }));
    relay.fromNode(second.segments, encodeControl({ type: 'route', machine: right, session: next }));
    offerTo(right, next);
    from(second.segments, 'frame', next);
    expect(got(right)).toEqual(['offer', 'offer', 'frame']);
    frame(); // of the former session
    route(right);
    frame();
    frame(next);
    relay.fromNode(segmentsNode, end(session));
    relay.fromNode(segmentsNode, end(next));
    route(right, next);
    frame(next);
    expect(got(right)).toEqual(['offer', 'offer', 'frame']);
    from(second.segments, 'frame', next);
    expect(got(right)).toEqual(['offer', 'offer', 'frame', 'frame']);
    reverse(right);
    expect([nodes.segments.kinds(), others.segments.kinds()]).toEqual([[], ['reverse']]);
  });

  it('a node cannot take over another node’s offer', () => {
    const next = systemRandom(16);
    offerTo(right, next);
    const message = { type: 'offer' as const, machine: wrong, permitId: toHex(other), offer: offer(next) };
    relay.fromNode(second.keys, encodeControl(message));
    from(second.keys, 'key', next);
    name(right, next);
    expect(got(right)).toEqual(['offer', 'offer']);
    expect(got(wrong)).toEqual(['offer']);
  });

  it('a disconnected node ends only its own sessions', () => {
    relay.nodeClosed(second.segments, others.segments);
    expect(got(right)).toEqual(['offer']);
    expect(got(wrong)).toEqual(['offer', 'lost']);
    relay.machineClosed(right, machines[right] ?? others.keys);
    expect(nodes.keys.kinds()).toEqual(['lost']);
    expect(others.keys.kinds()).toEqual([]);
  });

  it('closes the link of a node that the directory no longer lists', () => {
    const closed: string[] = [];
    for (const [id, peer] of [
      ['segments-1', nodes.segments],
      ['segments-2', others.segments],
    ] as const)
      peer.close = () => void closed.push(id);
    relay.keepNodes((id) => id !== 'segments-2');
    expect(closed).toEqual(['segments-2']);
  });
});

it('tells nodes and machines of this cloud of a newer directory, and lets nobody else say so', () => {
  const visitor = party(false);
  relay.machineOpened('visitor', visitor, { machine: right, cloud: 'c'.repeat(32) });
  relay.announceDirectory(7);
  for (const peer of [machines[right], machines[wrong], nodes.segments, nodes.keys])
    expect(peer?.got).toEqual([{ kind: 'control', message: { type: 'directory', sequence: 7 } }]);
  expect(visitor.got).toEqual([]);
  const message = encodeControl({ type: 'directory', sequence: 8 });
  for (const node of [segmentsNode, keysNode]) expect(() => relay.fromNode(node, message)).toThrow();
  expect(() => relay.fromMachine(right, message)).toThrow();
});
