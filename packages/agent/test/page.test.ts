import { request } from 'node:http';
import { MillraceError, silentLogger, systemClock } from '@millrace/base';
import type { AgentStatus } from '@millrace/machine/agent';
import { afterEach, describe, expect, it } from 'vitest';
import { contentPolicy, pageOf } from '../src/page/html.ts';
import { isNameOf, type LocalPage, servePage } from '../src/page/server.ts';
import { viewOf } from '../src/page/view.ts';
import type { SiteMachine } from '../src/site.ts';

const now = 1_800_000_000_000;

const ready: AgentStatus = {
  step: 'work',
  connected: true,
  machine: { state: 'idle', starved: false, temperatures: {} },
};
const print = {
  object: 'ab-1',
  startedAt: now - 90_000,
  segments: 100,
  got: 50,
  taken: 40,
  bufferMs: 12_300,
  sessions: 1,
};
const running = { ...ready, step: 'print' as const, machine: { ...ready.machine, state: 'running' as const }, print };

const machine = (status: AgentStatus): SiteMachine => ({
  slot: '1',
  state: {
    step: 'running',
    name: 'mk3',
    kind: 'marlin',
    serial: 'S-1',
    agent: { changed: new AbortController().signal, status: () => status, close: async () => undefined },
  },
});
const machineView = (key: SiteMachine['key']) => viewOf({ ...machine(ready), key }, now);
const seen = (status: AgentStatus) => {
  const { tone, headline, waitsFor, next = '' } = viewOf(machine(status), now);
  return { tone, headline, waitsFor, next };
};

describe('the local page says which step waits for whom', () => {
  it('for a machine that is not paired, not admitted, or not reached by the cloud', () => {
    const code = { step: 'code', code: '7Q2M-VX4C-9T1K-HZ8D', expires: now + 600_000 } as const;
    expect(viewOf({ slot: '1', state: code }, now)).toMatchObject({
      waitsFor: 'operator',
      code: { text: '7Q2M-VX4C-9T1K-HZ8D', expires: 'New code in 10 min.' },
    });
    const cloud = new MillraceError('E_UNAVAILABLE', 'control does not answer');
    expect(viewOf({ slot: '1', state: code, cloud }, now)).toMatchObject({ waitsFor: 'cloud', tone: 'bad' });
    const admission = { step: 'admission', name: 'mk3', by: 'Otto (Bureau)' } as const;
    expect(viewOf({ slot: '1', state: admission }, now)).toMatchObject({
      title: 'mk3',
      about: 'paired by Otto (Bureau)',
      waitsFor: 'administrator',
      next: 'The administrator runs: millrace machine admit mk3',
    });
  });

  it('for a machine without a print', () => {
    expect(seen(ready)).toMatchObject({ tone: 'good', headline: 'Ready.', waitsFor: 'holder' });
    expect(seen({ ...ready, connected: false })).toMatchObject({ tone: 'bad', waitsFor: 'cloud' });
    expect(seen({ ...ready, held: 'a cable hangs loose' })).toMatchObject({
      ...{ tone: 'bad', waitsFor: 'person' },
      headline: 'Held: a cable hangs loose. No print begins.',
    });
    expect(seen({ ...ready, step: 'reports' })).toMatchObject({ tone: 'waits', waitsFor: 'cloud' });
    const problem = new MillraceError('E_MACHINE', 'the serial port is gone');
    expect(seen({ ...ready, step: 'machine', problem })).toEqual({
      ...{ tone: 'bad', headline: 'The machine is not ready.', waitsFor: 'machine' },
      next: 'the serial port is gone (E_MACHINE). Check power and cable.',
    });
    const error = new MillraceError('E_MATERIAL', 'the licence wants another material');
    const last = { at: now - 5_000, error, starvedSeconds: 0 };
    expect(seen({ ...ready, last })).toMatchObject({ waitsFor: 'material' });
  });

  it('for a print that goes on, is paused, has lost the cloud, or is starved', () => {
    expect(seen(running)).toMatchObject({ tone: 'good', headline: 'Printing, 40 %.', waitsFor: undefined });
    const pause = { actor: 'controller', cause: 'filament run-out', nextStep: 'Load filament.' } as const;
    expect(seen({ ...running, machine: { ...running.machine, state: 'paused', pause } })).toEqual({
      tone: 'bad',
      headline: 'Paused at 40 % by the controller: filament run-out.',
      waitsFor: 'person',
      next: 'Load filament.',
    });
    expect(seen({ ...running, connected: false })).toMatchObject({
      headline: 'Printing, 40 %. The cloud is not reached. It works from its buffer for 12 s.',
      waitsFor: 'cloud',
    });
    // With the whole design in the buffer, the machine needs no cloud.
    expect(seen({ ...running, connected: false, print: { ...print, got: 100 } })).toMatchObject({ tone: 'good' });
    expect(seen({ ...running, machine: { ...running.machine, starved: true } })).toMatchObject({ waitsFor: 'cloud' });
  });

  it('with buffer, object and the end of the last print as rows, and nothing of the design', () => {
    const last = { object: 'ab-0', at: now - 300_000, starvedSeconds: 4.2 };
    const { rows } = viewOf(machine({ ...running, last }), now);
    expect(Object.fromEntries(rows)).toEqual({
      ...{ cloud: 'connected', machine: 'running', object: 'ab-1', buffer: '12 s', since: '90 s' },
      ...{ 'last print': 'completed, 5 min ago', 'it waited for data': '4.2 s' },
    });
  });

  it('with the grade of the machine’s key', () => {
    const { rows } = machineView({});
    expect(rows).toContainEqual(['key', 'in a file: whoever copies it can act as the machine']);
    const token = { manufacturer: 'ACME', model: 'HSM 2', serial: 'T-9', hardware: true };
    expect(machineView({ token }).rows).toContainEqual(['key', 'in the hardware token ACME HSM 2, T-9']);
  });

  it('as text: nothing that a machine or a cloud is called becomes part of the page', () => {
    const evil = `"><script>alert(1)</script>&'`;
    const view = viewOf({ slot: '1', state: { step: 'admission', name: evil, by: evil } }, now);
    const page = pageOf([view], '12:00');
    expect(page).not.toContain('<script');
    expect(page).toContain('&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;');
  });
});

describe('the server of the local page', () => {
  let page: LocalPage | undefined;
  afterEach(() => page?.close());

  const ask = (host: string, { method = 'GET', path = '/' } = {}) => {
    const { port } = page?.address ?? { port: 0 };
    return new Promise<{ status: number; headers: Record<string, unknown>; body: string }>((resolve, reject) => {
      const outgoing = request({ host: '127.0.0.1', port, path, method, headers: { host } }, (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  };
  const serve = async (machines: SiteMachine[] = [machine(ready)]) => {
    page = await servePage({ host: '127.0.0.1', port: 0 }, () => machines, {
      clock: systemClock,
      logger: silentLogger,
    });
    return page.address.port;
  };

  it('answers on this computer’s names only, with one path and no input', async () => {
    const port = await serve();
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`])
      expect((await ask(host)).status, host).toBe(200);
    // A name of an attacker that resolves to 127.0.0.1, and other ports.
    for (const host of [`evil.example:${port}`, `127.0.0.1.evil.example:${port}`, '127.0.0.1', `127.0.0.1:${port + 1}`])
      expect((await ask(host)).status, host).toBe(421);
    expect((await ask(`localhost:${port}`, { path: '/?x' })).status).toBe(404);
    expect((await ask(`localhost:${port}`, { path: '/../etc/passwd' })).status).toBe(404);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
      expect((await ask(`localhost:${port}`, { method })).status, method).toBe(405);
  });

  it('may be named without a port on port 80 only', () => {
    const [local, open] = [
      { host: '127.0.0.1', port: 80 },
      { host: '0.0.0.0', port: 80 },
    ];
    for (const host of ['localhost', '127.0.0.1', '[::1]', 'localhost:80'])
      expect(isNameOf(local, host), host).toBe(true);
    for (const host of ['evil.example', '192.168.1.5', 'localhost:7680', '', '[::1]evil', '::1'])
      expect(isNameOf(local, host), host).toBe(false);
    for (const host of ['192.168.1.5', '[fd00::7]', '192.168.1.5:80']) expect(isNameOf(open, host), host).toBe(true);
    for (const host of ['evil.example', '192.168.1.5:81', '192.168.1.5.evil.example'])
      expect(isNameOf(open, host), host).toBe(false);
  });

  it('forbids scripts, frames and other origins, and loads nothing', async () => {
    const port = await serve();
    const { headers, body } = await ask(`localhost:${port}`);
    expect(headers).toMatchObject({
      'content-security-policy': contentPolicy,
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
    });
    expect(headers).not.toHaveProperty('access-control-allow-origin');
    expect(contentPolicy).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; /);
    expect(contentPolicy).not.toContain('unsafe');
    expect(body).not.toMatch(/<script|\bsrc=|\bhref=|\bstyle=|url\(/);
  });

  it('shows an error without details if a machine’s state cannot be read', async () => {
    const broken = machine(ready);
    Object.assign(broken.state, {
      agent: {
        status: () => {
          throw new Error('secret detail');
        },
      },
    });
    const port = await serve([broken]);
    const { status, body } = await ask(`localhost:${port}`);
    expect(status).toBe(500);
    expect(body).not.toContain('secret');
  });
});
