import { type Bytes, silentLogger, sleep, systemRandom, toHex } from '@millrace/base';
import {
  connectLink,
  decodeLink,
  encodeControl,
  encodeStream,
  type LinkMessage,
  type LinkSocket,
  nodeOf,
} from '@millrace/protocol';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// A hostile keys node, with its own certificate, offers a session to a machine that the permit does not name. The
// segments node knows the permit's machine independently: no key or frame of the session may reach another machine.

const WAIT = { timeout: 10_000 };

let system: TestInstallation;
const links: LinkSocket[] = [];

beforeAll(async () => {
  system = await createTestInstallation({ start: ['distribution'] });
});
afterAll(async () => {
  for (const link of links) link.close();
  await system?.close();
});

interface Party {
  readonly link: LinkSocket;
  readonly got: LinkMessage[];
}

async function connect(caller: 'keys' | 'segments' | 'machine'): Promise<Party> {
  const { directory } = system.installation;
  const got: LinkMessage[] = [];
  const addressed = caller !== 'machine';
  const link = connectLink(
    {
      addresses: () => [system.addresses.distribution],
      path: addressed ? '/v1/node' : '/v1/machine',
      tls: {
        authority: directory.authority,
        identity: await system.identity(caller),
        pin: nodeOf(directory, 'distribution').fingerprint,
      },
      logger: silentLogger,
    },
    { message: (bytes) => got.push(decodeLink(bytes, addressed)) },
  );
  links.push(link);
  await vi.waitFor(() => expect(link.connected).toBe(true), WAIT);
  return { link, got };
}

const kinds = ({ got }: Party) => got.map((one) => (one.kind === 'control' ? one.message.type : one.kind));

it('a session offered by the keys node to another machine than the permit’s delivers nothing to it', async () => {
  const [keys, segments, machine] = [await connect('keys'), await connect('segments'), await connect('machine')];
  const permitted = 'f'.repeat(32);
  const offerTo = (session: Bytes, permitId = toHex(session)) => {
    const point = new Uint8Array(65);
    const offer = { session, ephemeral: point, enc: point, sealed: new Uint8Array(60) };
    keys.link.send(encodeControl({ type: 'offer', machine: system.machine, permitId, offer }));
  };
  /** Acts as an honest segments node for a permit that it verified. Here the permit's id is the session's id. */
  const name = (session: Bytes, to: string) => {
    segments.link.send(encodeControl({ type: 'admit', permitId: toHex(session), machine: to }));
    segments.link.send(encodeControl({ type: 'route', session, machine: to }));
  };
  const stream = (session: Bytes) => {
    segments.link.send(encodeStream('frame', new Uint8Array(100), session));
    keys.link.send(encodeStream('key', new Uint8Array(84), session));
  };
  const stolen = systemRandom(16);
  name(stolen, permitted);
  offerTo(stolen);
  stream(stolen);
  await sleep(300);
  stream(stolen);
  await sleep(300);
  expect(kinds(machine)).toEqual([]);

  // The machine has its own permit. Under that permit it gets the offer, but no frame of the other session.
  const second = systemRandom(16);
  segments.link.send(encodeControl({ type: 'admit', permitId: toHex(second), machine: system.machine }));
  offerTo(stolen, toHex(second));
  await vi.waitFor(() => expect(kinds(machine)).toEqual(['offer']), WAIT);
  segments.link.send(encodeStream('frame', new Uint8Array(100), stolen));

  // Positive control: on the same links a session whose machine both nodes name is delivered completely.
  const own = systemRandom(16);
  offerTo(own);
  name(own, system.machine);
  await vi.waitFor(() => expect(kinds(machine)).toEqual(['offer', 'offer']), WAIT);
  stream(own);
  await vi.waitFor(() => expect(kinds(machine)).toEqual(expect.arrayContaining(['frame', 'key'])), WAIT);
  expect(kinds(machine).sort()).toEqual(['frame', 'key', 'offer', 'offer']);
});
