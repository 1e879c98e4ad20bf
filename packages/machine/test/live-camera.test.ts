import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemRandom, toHex, utf8 } from '@millrace/base';
import { generateP256Key, generateUserKey, type P256Key } from '@millrace/identity';
import {
  MAX_PICTURE_BYTES,
  openPicture,
  registrationHash,
  signTransaction,
  type TransactionOf,
} from '@millrace/protocol';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { createPeople, type TestOrganisation, type TestPerson } from '@millrace/testkit/protocol/people';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { plainJpeg } from './jpeg.ts';

// Whom the agent shows what its camera sees.

let bench: Bench;
let server: Server;
let people: ReturnType<typeof createPeople>;
let bureau: TestOrganisation;
let otto: TestPerson;
let viewer: P256Key;
/** What the camera answers, and how often it was asked. */
let shown: Uint8Array;
let asked: number;

beforeEach(async () => {
  [shown, asked] = [plainJpeg(), 0];
  server = createServer((_, response) => {
    asked += 1;
    response.writeHead(200, { 'content-type': 'image/jpeg' }).end(shown);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/?action=snapshot`;
  bench = await startBench({ design: storeDesign(utf8('M105\n')), camera: { source: { kind: 'http', url } } });
  people = createPeople({ admin: bench.cloud.admin, installation: bench.cloud.directory.installation });
  bureau = await people.organisation('Bureau', 'bureau');
  otto = await people.person(bureau, 'Otto', ['operator']);
  viewer = generateP256Key();
});
afterEach(async () => {
  await bench.close();
  server.closeAllConnections();
  server.close();
});

type Watch = TransactionOf<'camera.watch'>;

async function assigned(to = bureau.organisation, by = bench.cloud.admin) {
  const { registration } = bench.cloud;
  return people.sign(by, {
    type: 'machine.assign',
    ...{ machine: registration.machine, registration: registrationHash(registration), organisation: to, number: 5 },
  });
}

async function watched(changes: Partial<Watch> = {}, { key, credential }: TestPerson = otto) {
  const { machine } = bench.cloud.registration;
  const issued = Date.now();
  const times = { id: systemRandom(16), issued, expires: issued + 60_000 };
  const about = { organisation: bureau.organisation, machine, key: viewer.publicKey };
  const watch: Watch = { type: 'camera.watch', ...times, ...about, ...changes };
  return { watch, transaction: await signTransaction(key, bench.cloud.directory.installation, watch), credential };
}

/** Gives the agent a request, as control does. */
async function look({ transaction, credential }: Awaited<ReturnType<typeof watched>>, assignment?: Uint8Array) {
  const { cloud } = bench;
  const [id, nonce] = [systemRandom(16), systemRandom(16)];
  cloud.looks.push({
    ...{ look: toHex(id), nonce: toHex(nonce), watch: { transaction, credential } },
    ...{ assignment: assignment ?? (await assigned()), machine: cloud.registration },
  });
  const of = () => cloud.looked.find((answer) => answer.look === toHex(id));
  await cloud.until(() => of() !== undefined);
  return { nonce, picture: of()?.picture, code: of()?.refusal?.code };
}

it('shows an operator of its organisation what it sees, and the cloud nothing', async () => {
  const request = await watched();
  const { nonce, picture = new Uint8Array() } = await look(request);
  const { installation } = bench.cloud.directory;
  const { publicKey } = bench.cloud.registration;
  const binding = { installation, watch: request.watch, nonce };
  expect(await openPicture(viewer, publicKey, binding, picture)).toEqual(plainJpeg());
  const refused = (key: P256Key, change: object, machineKey = publicKey) =>
    openPicture(key, machineKey, { ...binding, ...change }, picture).catch(({ code }) => code);
  // Whoever has all bytes of the link, an earlier picture for a new request, and a picture of a false machine.
  expect(await refused(generateP256Key(), {})).toBe('E_SEAL');
  expect(await refused(viewer, { nonce: systemRandom(16) })).toBe('E_CONFLICT');
  expect(await refused(viewer, {}, generateP256Key().publicKey)).toBe('E_AUTH');
  const wire = Buffer.concat(bench.cloud.wire);
  expect(wire.includes(Buffer.from(plainJpeg().subarray(2, 40)))).toBe(false);
  // Asked again at once, for another viewer: the camera is not.
  expect((await look(await watched({ key: generateP256Key().publicKey }))).picture).toBeDefined();
  expect(asked).toBe(1);
});

it('shows nobody else anything', async () => {
  const rival = await people.organisation('Rival', 'bureau');
  const rita = await people.person(rival, 'Rita', ['operator', 'owner-admin']);
  const codes = [
    // Another tenant: for itself, in the bureau's name, and with an assignment that the administrator has not signed.
    await look(await watched({ organisation: rival.organisation }, rita)),
    await look(await watched({}, rita)),
    await look(
      await watched({ organisation: rival.organisation }, rita),
      await assigned(rival.organisation, generateUserKey()),
    ),
    // The bureau's people without the role, for another machine, too late, and with another's signature.
    await look(await watched({}, await people.person(bureau, 'Dora', ['designer', 'owner-admin']))),
    await look(await watched({ machine: '00'.repeat(16) })),
    await look(await watched({ issued: Date.now() - 9e6, expires: Date.now() - 8e6 })),
    await look({ ...(await watched({}, rita)), credential: otto.credential }),
    // The machine went to somebody else.
    await look(await watched(), await assigned(rival.organisation)),
  ].map(({ code }) => code);
  const expected = ['E_FORBIDDEN', 'E_AUTH', 'E_SIGNATURE', 'E_FORBIDDEN', 'E_FORBIDDEN', 'E_EXPIRED', 'E_AUTH'];
  expect(codes.slice(0, 2)).toEqual(expected.slice(0, 2));
  expect(codes[2]).toMatch(/E_AUTH|E_SIGNATURE/);
  expect(codes.slice(3)).toEqual([...expected.slice(3), 'E_FORBIDDEN']);
  expect(asked).toBe(0);
});

it.each<[string, () => Uint8Array, string]>([
  ['a picture that is too large', () => plainJpeg(MAX_PICTURE_BYTES + 1), 'E_TOO_LARGE'],
  ['a picture that fills a browser’s memory', () => plainJpeg(3, 65_535), 'E_TOO_LARGE'],
  ['50 MB', () => new Uint8Array(50_000_000).fill(0xff), 'E_TOO_LARGE'],
  ['a page', () => utf8('<html><script>alert(1)</script></html>'), 'E_INPUT'],
  ['a drawing', () => utf8('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'), 'E_INPUT'],
])('passes on no bytes of a camera that gives %s', async (_, bytes, code) => {
  shown = bytes();
  expect((await look(await watched())).code).toBe(code);
  // The next request is answered again.
  shown = plainJpeg();
  expect((await look(await watched())).picture).toBeDefined();
});
