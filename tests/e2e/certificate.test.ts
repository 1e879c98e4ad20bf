import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeCbor, fromHex, systemClock, systemRandom, toHex } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { checkCertificate, trustOf } from '@millrace/client';
import { generateP256Key } from '@millrace/identity';
import { type MachineReport, readPermit, signMachineDocument, signTransaction } from '@millrace/protocol';
import { enrol, type Job } from '@millrace/testkit/enrol';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let system: TestInstallation;
let job: Job;

beforeAll(async () => {
  system = await createTestInstallation({ start: ['control'] });
  job = await enrol(system, { objects: 2, machines: 1 });
});
afterAll(() => system?.close());

/** Acts as the machine. */
async function report(object: string, run: Uint8Array, event: MachineReport['event']) {
  const [machine] = job.machines;
  if (machine === undefined) throw new Error('no machine');
  const issued = systemClock.now();
  const bytes = await signMachineDocument(machine.key, system.installation.directory.installation, {
    type: 'report',
    id: systemRandom(16),
    issued,
    expires: issued,
    object,
    run: new Uint8Array(run),
    event,
    facts: { serial: machine.serial, material: 'PLA', segments: 1 },
  });
  const path = `/v1/machines/${machine.machine}/report`;
  return system.call('control', 'distribution', { method: 'POST', path, body: encodeCbor({ report: bytes }) });
}

describe('control’s record of an object', () => {
  it('verifies for the owner and for the administrator, across a resumed stream', async () => {
    const print = await job.print(0);
    const run = systemRandom(16);
    const first = await job.callHome(print, 0, await job.request(print, 0, { run }));
    const { object } = readPermit(first.given?.permit ?? new Uint8Array());
    expect((await report(object, run, 'started')).status).toBe(200);
    expect((await job.callHome(print, 0, await job.request(print, 0, { run, from: 1 }))).status).toBe(200);
    // The report says completed, but with other bytes than the design's. Control and verifier both say failed.
    expect((await report(object, run, 'completed')).status).toBe(200);
    const bytes = await job.owner.api.certificate(object);
    const { logKey, authority } = trustOf(system.installation);
    for (const trust of [
      { logKey, owner: job.owner.signer.publicKey },
      { logKey, authority },
    ]) {
      const summary = await checkCertificate(bytes, trust);
      expect(summary).toMatchObject({ object, state: 'failed', number: 1, of: 2, licence: job.licence });
      expect(summary.events.map(({ type }) => type)).toEqual(['ordered', 'permitted', 'started', 'machine', 'failed']);
      expect(summary.owner.key).toBe(toHex(job.owner.signer.publicKey));
    }
    const stranger = { logKey, owner: job.operator.signer.publicKey };
    await expect(checkCertificate(bytes, stranger)).rejects.toMatchObject({ code: 'E_EVIDENCE' });
  });
});

describe('control without the administrator’s registration of its permit key', () => {
  it('does not start', async () => {
    const { directory } = system.installation;
    const file = join(folderOf(system.installation, 'control'), nodeFiles.permitKeyDocument);
    const genuine = await readFile(file);
    const admin = (await system.session('admin')).signer;
    const word = { type: 'permit-key.register' as const, id: systemRandom(16), issued: 0, expires: 0 };
    const ofOther = { ...word, publicKey: generateP256Key().publicKey };
    const ofOwn = { ...word, publicKey: fromHex(directory.permitKey) };
    const wrong = {
      'of another key': await signTransaction(admin, directory.installation, ofOther),
      'of another installation': await signTransaction(admin, toHex(systemRandom(16)), ofOwn),
      'by somebody else': await signTransaction(job.owner.signer, directory.installation, ofOwn),
    };
    await system.processes.control.stop();
    for (const [what, document] of Object.entries(wrong)) {
      await writeFile(file, document);
      await expect(system.processes.control.start(), what).rejects.toThrow();
    }
    await rm(file);
    await expect(system.processes.control.start()).rejects.toThrow();
    expect(await system.log('control')).toContain('E_CONFIG');
    await writeFile(file, genuine);
    await system.processes.control.start();
  });
});
