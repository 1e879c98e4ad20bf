import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readPermit } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { enrol, type Job } from '@millrace/testkit/enrol';
import { EVM_KEYS, findAnvil, startEvmChain } from '@millrace/testkit/evm-chain';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const anvil = findAnvil();
if (anvil === undefined)
  console.warn('skipped: @foundry-rs/anvil is not installed, so no ledger is anchored on a chain');

describe.skipIf(anvil === undefined)('millrace anchor', () => {
  let system: TestInstallation;
  let job: Job;
  let chain: Awaited<ReturnType<typeof startEvmChain>>;
  const file = (name: string) => join(system.scratch, name);

  beforeAll(async () => {
    system = await createTestInstallation({ start: ['control'] });
    job = await enrol(system, { objects: 2, machines: 1 });
    chain = await startEvmChain(anvil ?? '');
    await writeFile(file('payer.key'), `${EVM_KEYS[0]}\n`);
  });
  afterAll(async () => {
    chain?.stop();
    await system?.close();
  });

  it('anchors the ledger on a chain, and a certificate is verified with it on another computer', async () => {
    const { given } = await job.callHome(await job.print(0), 0);
    const { object } = readPermit(given?.permit ?? new Uint8Array());
    const certificate = file('object.certificate');
    const exported = await millrace(system.home, 'certificate', 'export', object, '--out', certificate, '--json');
    expect(exported.exit).toBe(0);
    await job.callHome(await job.print(0), 0); // the ledger grows

    const deployed = await millrace(
      system.home,
      ...['anchor', 'deploy', '--rpc', chain.rpc.href, '--key', file('payer.key'), '--json'],
    );
    const contract = deployed.json?.contract;
    const evm = { rpc: chain.rpc.href, contract, confirmations: 0 };
    await writeFile(file('paying.json'), JSON.stringify({ evm: { ...evm, keyFile: file('payer.key') } }));
    const out = file('ledger.anchor');
    const submitted = await millrace(
      system.home,
      ...['anchor', 'submit', '--anchors', file('paying.json'), '--out', out, '--json'],
    );
    expect(submitted).toMatchObject({ exit: 0, json: { anchors: ['evm'] } });
    const upgraded = await millrace(system.home, 'anchor', 'upgrade', out, '--anchors', file('paying.json'), '--json');
    expect(upgraded.json?.anchors).toMatchObject([{ kind: 'evm', place: expect.stringContaining('chain 31337') }]);
    const again = await millrace(system.home, 'anchor', 'submit', '--anchors', file('paying.json'), '--json');
    expect(again).toMatchObject({ exit: 6, code: 'E_ANCHOR' }); // this size is already anchored

    const bundle = file('object.anchored');
    const joined = await millrace(
      system.home,
      ...['anchor', 'certificate', certificate, '--anchor', out, '--out', bundle, '--json'],
    );
    expect(joined.exit).toBe(0);

    // A third party without installation or keys. It knows the chain, the log's key, the administrator's key and the
    // payer's address.
    const sender = '0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266';
    await writeFile(file('reading.json'), JSON.stringify({ evm: { ...evm, sender } }));
    const { logKey, authority } = exported.json as { logKey: string; authority: string };
    const known = ['--log-key', logKey, '--authority', authority, '--anchors', file('reading.json'), '--json'];
    const verified = await millrace(file('nowhere'), 'anchor', 'verify', bundle, ...known);
    expect(verified).toMatchObject({ exit: 0, json: { object, anchored: [{ kind: 'evm' }] } });

    const stranger = '0x70997970c51812dc3a010c7d01b50e0d17dc79c8';
    await writeFile(file('reading.json'), JSON.stringify({ evm: { ...evm, sender: stranger } }));
    const refused = await millrace(file('nowhere'), 'anchor', 'verify', bundle, ...known);
    expect(refused).toMatchObject({ exit: 6, code: 'E_ANCHOR' });
  });

  it('names faults in its configuration', async () => {
    await writeFile(file('empty.json'), '{}');
    const empty = await millrace(system.home, 'anchor', 'submit', '--anchors', file('empty.json'));
    expect(empty).toMatchObject({ exit: 2, code: 'E_CONFIG' });
    await writeFile(file('bad.key'), 'secret');
    const key = ['--rpc', chain.rpc.href, '--key', file('bad.key')];
    const bad = await millrace(system.home, 'anchor', 'deploy', ...key);
    expect(bad).toMatchObject({ exit: 2, code: 'E_CONFIG' });
    expect(bad.stderr).not.toContain('secret');
  });
});
