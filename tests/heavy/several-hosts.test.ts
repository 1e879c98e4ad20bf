import { readFile, writeFile } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import type { TlsIdentity } from '@millrace/identity';
import { directoryAt, parseHostPort, verifyDirectory } from '@millrace/protocol';
import { createHosts, freePort, type Host, type Hosts } from '@millrace/testkit/hosts';
import { call } from '@millrace/testkit/http';
import { shareOf } from '@millrace/testkit/share';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// docs/several-hosts.md: four hosts and a site with nothing in common but the files that people carry between them.

let hosts: Hosts;
beforeAll(async () => {
  hosts = await createHosts();
});
afterAll(() => hosts?.close());

interface Created {
  readonly request: string;
  readonly fingerprint: string;
}

let installation: string;
let adminKey: string;

function create(host: Host, role: string, id: string, ...options: string[]): Promise<Created> {
  const anchor = ['--installation', installation, '--admin-key', adminKey];
  const out = host.path(`${id}.request`);
  return host.millrace('node', 'create', '--role', role, '--id', id, ...anchor, '--out', out, ...options);
}

async function admit(admin: Host, created: readonly Created[], ...options: string[]) {
  const files = await Promise.all(created.map(({ request }) => admin.carry(request)));
  const fingerprints = created.map(({ fingerprint }) => fingerprint);
  return admin.millrace<{ directory: number; published: boolean; nodes: { id: string; admission: string }[] }>(
    ...['node', 'admit', ...files, '--fingerprint', ...fingerprints, ...options],
  );
}

type Admitted = Awaited<ReturnType<typeof admit>>;

async function admissionAt(host: Host, { nodes }: Admitted, id: string): Promise<string> {
  const admission = nodes.find((node) => node.id === id)?.admission;
  if (admission === undefined) throw new Error(`no admission of ${id}`);
  return host.carry(admission);
}

async function runAdmitted(host: Host, admitted: Admitted, id: string) {
  return host.runNode('--admission', await admissionAt(host, admitted, id));
}

/** A node's own certificate and key, as a thief has them. */
async function keysOf({ home }: Host): Promise<TlsIdentity> {
  const certificate = await readFile(joinPath(home, 'tls.crt.pem'), 'utf8');
  return { certificate, key: new Uint8Array(await readFile(joinPath(home, 'tls.key.pem'))) };
}

/** Status of control's answer to these keys. */
async function statusWith(admin: Host, control: string, keys: TlsIdentity): Promise<number> {
  const signed = JSON.parse(await readFile(joinPath(admin.home, 'directory.json'), 'utf8'));
  const directory = directoryAt(verifyDirectory(signed, { installation, adminKey }), Date.now());
  const address = parseHostPort(control);
  if (address === undefined) throw new Error(control);
  return (await call(address, directory, 'control', keys, { method: 'GET', path: '/v1/directory' })).status;
}

/** The first group of what a host logs. */
const logged = (host: Host, pattern: RegExp, count = 1) =>
  vi.waitFor(
    async () => {
      const found = [...(await host.log()).matchAll(new RegExp(pattern, 'g'))];
      if (found.length < count) throw new Error(`${host.name} has not logged ${pattern}`);
      return found.at(-1)?.[1] ?? '';
    },
    { timeout: 60_000, interval: 200 },
  );

async function join(admin: Host, person: Host, organisation: string, role: string): Promise<void> {
  const invite = ['user', 'invite', person.name, '--org', organisation, '--role', role];
  const { text } = await admin.millrace<{ text: string }>(...invite);
  await writeFile(admin.path(`${person.name}.invitation`), text);
  const file = await person.carry(admin.path(`${person.name}.invitation`));
  await person.millrace('login', '--invitation-file', file);
}

it('four hosts and a site make certified parts, also after distribution and segments were replaced', async () => {
  const names = ['admin', 'control', 'keys', 'segments', 'distribution', 'site', 'ada', 'otto'] as const;
  const made = await Promise.all(names.map(async (name) => [name, await hosts.add(name)] as const));
  const host = Object.fromEntries(made) as Record<(typeof names)[number], Host>;
  const { admin, ada, otto, site } = host;
  ({ installation, adminKey } = await admin.millrace<{ installation: string; adminKey: string }>(
    ...['init', '--without-nodes', '--name', 'Four hosts'],
  ));
  const [control, distribution] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const created = [
    await create(host.control, 'control', 'control-1', '--address', control),
    await create(host.keys, 'keys', 'keys-1'),
    await create(host.segments, 'segments', 'segments-1'),
    await create(host.distribution, 'distribution', 'distribution-1', '--address', distribution),
  ];
  const first = await admit(admin, created);
  expect(first).toMatchObject({ directory: 1, published: false });
  await runAdmitted(host.control, first, 'control-1');
  const before = await runAdmitted(host.distribution, first, 'distribution-1');
  const cells = await runAdmitted(host.segments, first, 'segments-1');
  await runAdmitted(host.keys, first, 'keys-1');

  const brand = await admin.millrace<{ organisation: string }>('org', 'create', 'Brand', '--kind', 'brand');
  const bureau = await admin.millrace<{ organisation: string }>('org', 'create', 'Bureau', '--kind', 'bureau');
  await join(admin, ada, brand.organisation, 'designer');
  await join(admin, otto, bureau.organisation, 'operator');
  await site.runAgent('--cloud', control, '--page', 'off');
  const code = await logged(site, /"code":"([0-9A-Z-]{19})"/);
  const terms = ['--name', 'mini', '--kind', 'virtual', '--serial', 'SITE-1', '--factor', '240'];
  const { machine } = await otto.millrace<{ machine: string }>('machine', 'pair', code, ...terms);
  await admin.millrace('machine', 'admit', 'mini');

  await writeFile(admin.path('part.gcode'), 'G28\nG1 X10 Y10 F3000\nM84\n');
  const { design } = await ada.millrace<{ design: string }>('design', 'add', await ada.carry(admin.path('part.gcode')));
  const { licence } = await ada.millrace<{ licence: string }>(
    ...[
      'licence',
      'grant',
      '--design',
      design,
      '--objects',
      '3',
      '--machine',
      machine,
      '--holder',
      bureau.organisation,
    ],
  );
  const makePart = async () => {
    const printed = await otto.millrace<{ state: string; object: string }>(
      'print',
      '--licence',
      licence,
      '--machine',
      machine,
      '--watch',
    );
    expect(printed).toMatchObject({ state: 'completed' });
    await ada.millrace('certificate', 'export', printed.object, '--out', ada.path('part.certificate'));
    return ada.millrace('certificate', 'verify', ada.path('part.certificate'));
  };
  await makePart();

  // Another distribution node takes over while everything runs.
  const second = await hosts.add('distribution-2');
  const moved = `127.0.0.1:${await freePort()}`;
  const asked = await create(second, 'distribution', 'distribution-2', '--address', moved);
  const admitted = await admit(admin, [asked]);
  expect(admitted).toMatchObject({ directory: 2, published: true });
  await runAdmitted(second, admitted, 'distribution-2');
  const stolen = await keysOf(host.distribution);
  expect(await statusWith(admin, control, stolen)).toBe(200);
  await admin.millrace('node', 'retire', 'distribution-1');
  await logged(site, /(connected to the distribution node)/, 2);
  expect(await statusWith(admin, control, stolen)).toBe(401);
  await before.stop();
  expect(await host.distribution.refusal('node', 'run')).toContain('E_DIRECTORY');
  await makePart();

  // Another segments node gets the cells, and takes over.
  const third = await hosts.add('segments-2');
  const next = await create(third, 'segments', 'segments-2');
  await cells.stop();
  await third.take(joinPath(host.segments.home, 'data'), 'home/data', (file) => !file.endsWith('.boxes'));
  const replaced = await admit(admin, [next], '--replaces', 'segments-1');
  await runAdmitted(third, replaced, 'segments-2');
  expect(await statusWith(admin, control, await keysOf(host.segments))).toBe(401);
  await makePart();
}, 600_000);

it('admitting a node can be killed before every durable write, and repeated', async () => {
  const own = await createHosts();
  try {
    const admin = await own.add('admin');
    ({ installation, adminKey } = await admin.millrace<{ installation: string; adminKey: string }>(
      ...['init', '--without-nodes'],
    ));
    const anchor = ['--installation', installation, '--admin-key', adminKey];
    const roles = ['control', 'distribution', 'segments', 'keys'] as const;
    const created: Created[] = [];
    for (const role of roles) {
      const host = await own.add(role);
      const address =
        role === 'control' || role === 'distribution' ? ['--address', `127.0.0.1:${await freePort()}`] : [];
      const out = host.path(`${role}.request`);
      const command = ['node', 'create', '--role', role, '--id', `${role}-1`, ...anchor, '--out', out, ...address];
      // Of the control node only: it has the most keys.
      if (role === 'control') for (let at = 1; await host.killed(at, ...command); at++) expect(at).toBeLessThan(20);
      created.push(await host.millrace(...command));
    }
    const files = await Promise.all(created.map(({ request }) => admin.carry(request)));
    const command = ['node', 'admit', ...files, '--fingerprint', ...created.map(({ fingerprint }) => fingerprint)];
    // Each point in a copy of the administrator's folder, which then admits the nodes as if nothing had happened.
    const points = shareOf(Array.from({ length: 10 }, (_, n) => n + 1));
    for (const at of points) {
      const copy = await own.add(`admin-${at}`);
      await copy.take(admin.home, 'home', () => true);
      const carried = await Promise.all(files.map((file) => copy.carry(file)));
      const again = ['node', 'admit', ...carried, ...command.slice(command.indexOf('--fingerprint'))];
      expect(await copy.killed(at, ...again)).toBe(true);
      const { nodes } = await copy.millrace<Admitted>(...again);
      expect(await copy.millrace('node', 'list')).toMatchObject({ directory: 1 });
      expect(nodes).toHaveLength(4);
    }
    await admin.millrace(...command);
    const control = await own.add('copy');
    await control.take(joinPath(admin.path('..'), 'control', 'home'), 'home', () => true);
    const admission = await control.carry(joinPath(admin.home, 'admissions', 'control-1.admission'));
    // The node is killed before each file that it installs, then it serves.
    for (const at of [1, 2, 3]) expect(await control.killed(at, 'node', 'run', '--admission', admission)).toBe(true);
    expect(await control.refusal('node', 'run')).toContain('E_CONFIG');
    const node = await control.runNode('--admission', admission);
    expect(await node.stop()).toBe(0);
  } finally {
    await own.close();
  }
}, 300_000);
