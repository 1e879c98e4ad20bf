import { writeFile } from 'node:fs/promises';
import { createHosts, freePort, type Host, type Hosts } from '@millrace/testkit/hosts';
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

async function runAdmitted(host: Host, { nodes }: Awaited<ReturnType<typeof admit>>, id: string) {
  const admission = nodes.find((node) => node.id === id)?.admission;
  if (admission === undefined) throw new Error(`no admission of ${id}`);
  return host.runNode('--admission', await host.carry(admission));
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

it('four hosts and a site make certified parts', async () => {
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
  await runAdmitted(host.distribution, first, 'distribution-1');
  await runAdmitted(host.segments, first, 'segments-1');
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
}, 300_000);
