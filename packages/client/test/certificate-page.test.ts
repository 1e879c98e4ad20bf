import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Bytes, Closer, toBase64, toHex, utf8 } from '@millrace/base';
import { certify, type Keys, logKeyOf, makeKeys, makeStory, type Story } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { chromium } from '@millrace/testkit/live-matrix/page';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  certificatePage,
  checkCertificate,
  isCertificatePage,
  labelCode,
  labelSvg,
  labelText,
  readCertificatePage,
  requireLabel,
} from '../src/index.ts';
import { drawCertificateLabel, readPageScript } from '../src/node/index.ts';

let keys: Keys;
let story: Story;
let certificate: Bytes;
let script: string;
beforeAll(async () => {
  keys = makeKeys();
  story = await makeStory(keys);
  certificate = await certify(keys, story.events, story.object);
  script = await readPageScript();
});

const trust = () => ({ logKeys: [logKeyOf(keys)], authority: toHex(keys.admin.publicKey), witnesses: [] });
const pageOf = (bytes: Uint8Array = certificate, code = script) =>
  certificatePage({
    ...{ certificate: bytes, trust: trust(), script: code, title: 'A <part> & more' },
    code: labelSvg(labelText(story.object, bytes)),
  });

describe('a certificate page', () => {
  it('contains the certificate as it was exported', () => {
    const page = utf8(pageOf());
    expect([isCertificatePage(page), isCertificatePage(certificate)]).toEqual([true, false]);
    expect(readCertificatePage(page)).toEqual({ certificate, trust: trust() });
  });

  it('is rejected when it contains no certificate', async () => {
    const without = [
      '<!doctype html>',
      pageOf().replace('id="certificate"', 'id="other"'),
      pageOf().replace('"certificate":"', '"certificate":"*'),
      pageOf().replace('"witnesses":[]', '"witnesses":[],"more":1'),
      pageOf().replace('{"certificate"', '{certificate'),
    ];
    for (const page of without) expect(await codeOf(async () => readCertificatePage(utf8(page)))).toBe('E_CERTIFICATE');
  });

  it('allows only its own script and style', () => {
    const policy = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(pageOf())?.[1];
    expect(policy).toMatch(
      /^default-src 'none'; script-src 'sha256-[^']{44}'; style-src 'sha256-[^']{44}'; base-uri 'none'; form-action 'none'$/,
    );
    expect(pageOf()).not.toMatch(/(src|href)="/);
    expect(pageOf()).toContain('<title>A &#60;part&#62; &#38; more</title>');
  });
});

if (chromium === undefined) console.log('the certificate’s page in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('a page in a browser without a network', () => {
  const closer = new Closer();
  const pages = new Map<string, string>();
  const asked: string[] = [];
  let port: number;
  beforeAll(async () => {
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.setHeader('content-type', 'text/html').end(pages.get(request.url ?? ''));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    closer.add({ close: () => void server.close() });
  });
  afterAll(() => closer.close());

  /** The document after its script has run. */
  async function domOf(html: string): Promise<string> {
    const path = `/${pages.size}.html`;
    pages.set(path, html);
    const profile = await mkdtemp(join(tmpdir(), 'millrace-page-'));
    try {
      const flags = ['--headless', '--no-sandbox', '--disable-dev-shm-usage', `--user-data-dir=${profile}`];
      const more = ['--virtual-time-budget=60000', '--dump-dom', `http://127.0.0.1:${port}${path}`];
      const run = promisify(execFile)(chromium ?? '', [...flags, ...more], { maxBuffer: 1 << 26, timeout: 120_000 });
      return (await run).stdout;
    } finally {
      await rm(profile, { recursive: true, force: true, maxRetries: 10 });
    }
  }
  const verdictOf = (dom: string) => /data-verdict="(\w+)"/.exec(dom)?.[1];

  it('verifies its certificate without any request', async () => {
    const dom = await domOf(pageOf());
    expect(verdictOf(dom)).toBe('good');
    const { checked, unchecked } = await checkCertificate(certificate, {
      logKey: logKeyOf(keys),
      authority: keys.admin.publicKey,
    });
    const text = dom.replace(/<[^>]+>/g, '');
    for (const line of [...checked, ...unchecked]) expect(text).toContain(line);
    expect(text).toContain('1 of 2');
    expect(asked).toEqual(['/0.html']);
  });

  it('rejects a changed certificate, and one of another administrator', async () => {
    const changed = Uint8Array.from(certificate);
    changed[changed.length - 100] = (changed[changed.length - 100] ?? 0) ^ 1;
    const dom = await domOf(pageOf(changed));
    expect(verdictOf(dom)).toBe('bad');
    expect(dom).toContain('Not genuine');
    expect(dom).toMatch(/E_(LEDGER_PROOF|LEDGER_ENTRY|CERTIFICATE|LEDGER_CHECKPOINT)/);
    const other = { ...trust(), authority: toHex(makeKeys().admin.publicKey) };
    const page = pageOf().replace(JSON.stringify(trust()), JSON.stringify(other));
    expect(page).not.toBe(pageOf());
    expect(await domOf(page)).toContain('E_EVIDENCE');
    expect(await domOf(pageOf().replace('{"certificate"', '{certificate'))).toContain('E_CERTIFICATE');
  });

  it('runs no changed or added script', async () => {
    const swap = (from: string, to: string) => {
      const page = pageOf();
      expect(page).toContain(from);
      return page.replace(from, () => to);
    };
    expect(verdictOf(await domOf(swap(`<script>${script.slice(0, 40)}`, `<script>/**/${script.slice(0, 40)}`)))).toBe(
      undefined,
    );
    const added = await domOf(swap('</body>', '<script>document.title = "taken over"</script></body>'));
    expect([verdictOf(added), added.includes('<title>taken over')]).toEqual(['good', false]);
  });

  it('escapes the texts of a certificate', async () => {
    const hostile = await makeStory(keys, { machine: { serial: '<img src=x onerror=alert(1)>' } });
    const bytes = await certify(keys, hostile.events, hostile.object);
    const dom = await domOf(pageOf(bytes));
    expect(verdictOf(dom)).toBe('good');
    expect(dom).toContain('&lt;img src=x');
    expect(dom).not.toContain('<img');
  });
});

describe('a label', () => {
  it('identifies one file', async () => {
    const text = labelText(story.object, certificate);
    requireLabel(text, story.object, certificate);
    requireLabel(`${text}\n`, story.object, certificate);
    const other = Uint8Array.of(...certificate, 0);
    expect(await codeOf(async () => requireLabel(text, story.object, other))).toBe('E_CERTIFICATE');
    expect(await codeOf(async () => requireLabel(text, 'other', certificate))).toBe('E_CERTIFICATE');
    for (const none of ['', 'x', text.slice(0, -1), `${text}0`, text.replace(':1:', ':2:')])
      expect(await codeOf(async () => requireLabel(none, story.object, certificate))).toBe('E_INPUT');
  });

  it('is drawn with modules of whole pixels, and matches the code', async () => {
    const text = labelText(story.object, certificate);
    const code = labelCode(text);
    const summary = await checkCertificate(certificate, { logKey: logKeyOf(keys), owner: keys.owner.publicKey });
    const png = PNG.sync.read(Buffer.from(drawCertificateLabel(summary, certificate)));
    expect([png.width, png.height]).toEqual([1050, 460]);
    const module = Math.floor(420 / code.length);
    expect(module).toBeGreaterThanOrEqual(5);
    const dark = (x: number, y: number) => (png.data[4 * (y * png.width + x)] ?? 0) < 128;
    const middle = (at: number) => 20 + at * module + Math.floor(module / 2);
    expect(code.map((row, y) => row.map((_, x) => dark(middle(x), middle(y))))).toEqual(code);
    const pdf = Buffer.from(drawCertificateLabel(summary, certificate, 'pdf')).toString('latin1');
    expect(pdf).toContain('/MediaBox [0 0 252 110.4]');
    // Quiet zone.
    expect(code.slice(0, 4).flat().includes(true)).toBe(false);
    expect(toBase64(utf8(labelSvg(text))).length).toBeLessThan(100_000);
  });
});
