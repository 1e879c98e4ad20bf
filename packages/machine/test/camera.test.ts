import { readdir, readFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { concatBytes, systemRandom, utf8 } from '@millrace/base';
import { openPhoto, sha256 } from '@millrace/protocol';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, it } from 'vitest';
import { capture } from '../src/camera/capture.ts';
import { type CameraSettings, cameraSchema } from '../src/camera/settings.ts';

const segment = (marker: number, length: number) =>
  Uint8Array.of(0xff, marker, 0, length + 2, ...new Uint8Array(length));
const [start, end] = [Uint8Array.of(0xff, 0xd8), Uint8Array.of(0xff, 0xd9)];
const image = concatBytes(segment(0xdb, 65), segment(0xc0, 15), segment(0xda, 10), Uint8Array.of(1, 2, 3));
const jpeg = concatBytes(start, image, end);
const EXIF = utf8('GPS 52.5200 N 13.4050 E');
/** As a camera makes it: with metadata. */
const raw = concatBytes(start, Uint8Array.of(0xff, 0xe1, 0, EXIF.length + 2), EXIF, image, end);

let server: Server | undefined;
let bench: Bench | undefined;
afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
  await bench?.close();
  bench = undefined;
});

const signal = new AbortController().signal;
const camera = (source: CameraSettings['source'], timeoutMs = 30_000) => cameraSchema.parse({ source, timeoutMs });

async function served(listener: RequestListener, timeoutMs?: number): Promise<CameraSettings> {
  const listening = createServer(listener);
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(listening.address() as AddressInfo).port}/stream`;
  return camera({ kind: 'http', url }, timeoutMs);
}

const program = (code: string, timeoutMs?: number) =>
  camera({ kind: 'command', command: [process.execPath, '-e', code] }, timeoutMs);
const printing = (bytes: Uint8Array) =>
  `process.stdout.write(Buffer.from('${Buffer.from(bytes).toString('base64')}', 'base64'))`;
const codeOf = (settings: CameraSettings) =>
  capture(settings, signal).then(
    () => 'a photo',
    (error: { code?: string }) => error.code,
  );

const streaming = { 'content-type': 'multipart/x-mixed-replace; boundary=frame' };

describe('a camera over HTTP', () => {
  it('gives one photo, without its metadata', async () => {
    const settings = await served((_, response) => response.writeHead(200, { 'content-type': 'image/jpeg' }).end(raw));
    expect(await capture(settings, signal)).toEqual(jpeg);
  });

  it.each([
    ['with lengths', `Content-Type: image/jpeg\r\nContent-Length: ${raw.length}\r\n\r\n`],
    ['without lengths', 'Content-Type: image/jpeg\r\n\r\n'],
  ])('gives the first photo of a stream %s, and is left then', async (_, headers) => {
    let closed: () => void = () => undefined;
    const left = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const settings = await served((_request, response) => {
      response.writeHead(200, streaming);
      const part = Buffer.concat([utf8(`--frame\r\n${headers}`), raw, utf8('\r\n')]);
      // In small pieces, and for ever.
      const timer = setInterval(() => response.write(part.subarray(0, 30)) && response.write(part.subarray(30)), 5);
      response.on('close', () => {
        clearInterval(timer);
        closed();
      });
    });
    expect(await capture(settings, signal)).toEqual(jpeg);
    await left;
  });

  it.each<[string, RequestListener, string]>([
    ['is missing', (_, response) => response.writeHead(404).end(), 'E_UNAVAILABLE'],
    ['sends a page', (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('x'), 'E_INPUT'],
    ['sends no JPEG', (_, response) => response.writeHead(200, { 'content-type': 'image/jpeg' }).end('x'), 'E_INPUT'],
    [
      'sends elsewhere',
      (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:9/' }).end(),
      'E_UNAVAILABLE',
    ],
    [
      'ends in mid-photo',
      (_, response) =>
        response.writeHead(200, streaming).end(concatBytes(utf8('--frame\r\n\r\n'), raw.subarray(0, 50))),
      'E_UNAVAILABLE',
    ],
    [
      'announces a huge photo',
      (_, response) => response.writeHead(200, streaming).write('--frame\r\nContent-Length: 900000000\r\n\r\n'),
      'E_TOO_LARGE',
    ],
    [
      'sends without an end',
      (_, response) => {
        response.writeHead(200, { 'content-type': 'image/jpeg' });
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536, 0xff)));
        };
        response.on('drain', more);
        more();
      },
      'E_TOO_LARGE',
    ],
  ])('is refused if it %s', async (_, listener, code) => {
    expect(await codeOf(await served(listener))).toBe(code);
  });

  it('is given up if it does not answer, or begins and stops', async () => {
    expect(await codeOf(await served(() => undefined, 300))).toBe('E_TIMEOUT');
    server?.closeAllConnections();
    expect(await codeOf(await served((_, response) => response.writeHead(200, streaming).write('--frame'), 300))).toBe(
      'E_TIMEOUT',
    );
  });

  it('has an address without a password', () => {
    for (const url of ['http://user:secret@cam/', 'file:///etc/passwd', 'ftp://cam/'])
      expect(cameraSchema.safeParse({ source: { kind: 'http', url } }).success, url).toBe(false);
  });
});

describe('a camera by a program', () => {
  it('gives the JPEG that the program writes, and runs no shell', async () => {
    expect(await capture(program(printing(raw)), signal)).toEqual(jpeg);
    const args = ['-e', `process.exitCode = process.argv[1] === '$(id); x' ? 0 : 1; ${printing(raw)}`, '$(id); x'];
    expect(await codeOf(camera({ kind: 'command', command: [process.execPath, ...args] }))).toBe('a photo');
  });

  it('is refused if it fails, is missing, writes too much or something else', async () => {
    expect(await codeOf(program('process.exit(3)'))).toBe('E_UNAVAILABLE');
    expect(await codeOf(camera({ kind: 'command', command: ['/no/such/program'] }))).toBe('E_UNAVAILABLE');
    expect(await codeOf(program('process.stdout.write(Buffer.alloc(4e6))'))).toBe('E_TOO_LARGE');
    expect(await codeOf(program("process.stdout.write('x')"))).toBe('E_INPUT');
  });

  it('is killed after its time, with what it has started', async () => {
    const code = "require('child_process').spawn('sleep', ['600'], { stdio: 'inherit' }); setInterval(() => {}, 1000)";
    expect(await codeOf(program(code, 1_000))).toBe('E_TIMEOUT');
  });
});

describe('a print that a camera watches', () => {
  const design = storeDesign(systemRandom(8 * 16_370));
  const source = (code: string) => ({ source: { kind: 'command', command: [process.execPath, '-e', code] } });

  it('is shown to its owner: the reports commit to the sealed photos', async () => {
    bench = await startBench({ design, camera: source(printing(raw)) });
    const { cloud, folder, log } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
    const last = cloud.reports.find(({ event }) => event === 'completed');
    const hashes = cloud.reports.flatMap(({ facts }) => facts.photos ?? []);
    expect(last?.facts.photos, log.join('')).toHaveLength(1);
    const [object = ''] = await readdir(join(folder, 'data/photos'));
    const names = (await readdir(join(folder, 'data/photos', object))).sort();
    expect(names.length).toBe(hashes.length);
    const files = await Promise.all(names.map((name) => readFile(join(folder, 'data/photos', object, name))));
    expect(files.map((bytes) => sha256(new Uint8Array(bytes)))).toEqual(hashes);
    expect(files.some((bytes) => bytes.includes(Buffer.from(jpeg)))).toBe(false);
    const binding = { installation: cloud.directory.installation, object, run: last?.run ?? new Uint8Array() };
    const sealed = new Uint8Array(files.at(-1) ?? []);
    expect(await openPhoto(cloud.sealingKey, binding, sealed)).toMatchObject({ moment: 'end', jpeg });
    // Not for another object or run.
    for (const other of [{ object: `${object}0` }, { run: systemRandom(16) }])
      await expect(openPhoto(cloud.sealingKey, { ...binding, ...other }, sealed)).rejects.toMatchObject({
        code: 'E_SEAL',
      });
    expect(log.join('')).not.toContain('gave no photo');
  });

  it('is not disturbed by a camera that fails', async () => {
    bench = await startBench({ design, camera: source('process.exit(1)') });
    const { cloud, log } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
    expect(bench.executed().equals(design.bytes)).toBe(true);
    expect(cloud.reports.flatMap(({ facts }) => facts.photos ?? [])).toEqual([]);
    expect(log.join('')).toContain('the camera gave no photo');
  });
});
