import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { concatBytes } from '@millrace/base';
import type { Session } from '@millrace/client';
import { createHttpClient, decodeLink, type LinkMessage, nodeOf } from '@millrace/protocol';
import { noisyGcode } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { haystacksOf, Recorder } from '@millrace/testkit/recorder';
import type { Recording } from '@millrace/testkit/recording';
import { scan } from '@millrace/testkit/scan';
import { httpMessages, uploadedSegments, webSocketPayloads } from '@millrace/testkit/streams';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { CONTENT_BYTES } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 15: an interceptor like Fiddler, trusted by both ends, sits in the machine's TLS link and reads the plaintext.

const design = noisyGcode(200_000);
const SEGMENTS = Math.ceil(design.length / CONTENT_BYTES);

let system: TestInstallation;
let owner: Session;
let operator: Session;

beforeAll(async () => {
  system = await createTestInstallation({ record: true, machine: { factor: await factorFor(design, 2) } });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

describe('baseline: a print server that sends the design over TLS', () => {
  it('the interceptor gets the file, despite TLS 1.3 and certificates pinned at both ends', async () => {
    const { directory } = system.installation;
    const [own, caller] = [await system.identity('distribution'), await system.identity('machine')];
    const authority = directory.authority;
    const pin = nodeOf(directory, 'distribution').fingerprint;
    const tls = { ca: authority, minVersion: 'TLSv1.3' as const, requestCert: true, rejectUnauthorized: true };
    const server = createServer({ ...tls, cert: own.certificate, key: Buffer.from(own.key) }, (_, response) => {
      response.setHeader('content-length', design.length);
      response.end(design);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
    const between = await Recorder.open({
      node: 'distribution',
      target,
      authority,
      identity: own,
      pin,
      callers: [caller],
    });
    const client = createHttpClient({ addresses: () => [between.address], tls: { authority, identity: caller, pin } });
    try {
      const { body } = await client.call('GET', '/part.gcode');
      expect(hashOf(body)).toBe(hashOf(design));
      const [recorded] = between.recordings();
      const stolen = httpMessages(recorded?.down ?? new Uint8Array()).messages[0]?.body;
      expect(hashOf(stolen ?? new Uint8Array())).toBe(hashOf(design));
    } finally {
      client.close();
      await between.close();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe('ours', () => {
  let intercepted: Recording[];
  let messages: LinkMessage[];

  it('the machine makes the object while its link is intercepted', async () => {
    const stored = await store(system, owner, design);
    const view = await untilEnded(
      operator,
      await order(system, operator, await license(system, owner, stored.design, 1)),
    );
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
    intercepted = system.recordings().filter(({ role }) => role === 'machine');
    messages = intercepted
      .flatMap(({ up, down }) => [...webSocketPayloads(up), ...webSocketPayloads(down)])
      .map((message) => decodeLink(message, false));
  });

  it('the link has only frames, sealed keys, hashes of sealed segments, reverse frames and small messages', () => {
    const count = (kind: LinkMessage['kind']) => messages.filter((message) => message.kind === kind).length;
    expect(count('frame')).toBe(SEGMENTS);
    expect(count('key')).toBe(SEGMENTS);
    expect(count('reverse')).toBeGreaterThan(0);
    const types = new Set(messages.flatMap((message) => (message.kind === 'control' ? [message.message.type] : [])));
    const known = ['call', 'answer', 'error', 'offer', 'hashes', 'mix', 'end', 'lost'];
    expect([...types].filter((type) => !known.includes(type))).toEqual([]);
  });

  it('the recording has no run of 16 bytes of the design or of sealed segments', () => {
    expect(scan(haystacksOf(intercepted), design)).toEqual([]);
    const uploads = system.recordings().filter(({ node, role }) => node === 'distribution' && role === 'user');
    const sealed = uploads.flatMap(({ up }) => uploadedSegments(up));
    expect(sealed).toHaveLength(SEGMENTS);
    expect(scan(haystacksOf(intercepted), concatBytes(...sealed))).toEqual([]);
    // Positive control: the same search finds them on the links that carried them.
    expect(scan(haystacksOf(uploads), concatBytes(...sealed))).not.toEqual([]);
  });
});
