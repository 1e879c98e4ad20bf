import { copyBytes, fromHex, systemClock, toBase64 } from '@millrace/base';
import { signNew } from '@millrace/client';
import { loadNodeConfig } from '@millrace/cloud/parts';
import { generateP256Key } from '@millrace/identity';
import {
  encodeMail,
  openMessage,
  sealMail,
  verifyMachineDocument,
  verifyPermit,
  verifyTransaction,
} from '@millrace/protocol';
import { checkAsBuyer } from '@millrace/testkit/adversary/certificates';
import { answerOf, type Licensed, licensed, outcomeOf, printed } from '@millrace/testkit/adversary/honest';
import {
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import { asMachine, forgeOpening } from '@millrace/testkit/adversary/opening';
import { call } from '@millrace/testkit/http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 6: documents valid in one cloud, or for one printer, are used at another. Positive control: they are valid at
// their own.

let here: HostileInstallation;
let there: HostileInstallation;
let job: Licensed;
beforeAll(async () => {
  [here, there] = await Promise.all([openHostileInstallation(), openHostileInstallation()]);
  job = await licensed(here, 3);
});
afterAll(async () => {
  await here?.close();
  await there?.close();
});

describe('of another cloud', () => {
  it('a TLS certificate opens no connection', async () => {
    const identity = await here.identity('owner');
    const at = (system: HostileInstallation) =>
      call(system.addresses.control, system.installation.directory, 'control', identity, {
        method: 'GET',
        path: '/v1/designs',
      });
    expect((await at(here)).status).toBe(200);
    await expect(at(there)).rejects.toThrow();
  });

  it('a transaction is rejected, even if its signer is known', async () => {
    const signed = await signNew(here.operator, {
      type: 'print.request',
      licence: job.licence,
      machine: here.machine,
    });
    const lookup = () => copyBytes(here.operator.signer.publicKey);
    const at = (system: HostileInstallation) =>
      outcomeOf(verifyTransaction(signed.bytes, system.installation.directory.installation, lookup, systemClock.now()));
    expect(await at(here)).toBe('accepted');
    expect(await at(there)).toBe('E_SIGNATURE');
    const json = { transaction: toBase64(signed.bytes) };
    const answer = there.call('control', 'operator', { method: 'POST', path: '/v1/transactions', json });
    expect(await answerOf(answer)).toMatch(/^E_(AUTH|SIGNATURE)$/);
  });

  it('permits and machine documents are rejected, even under known keys', async () => {
    const { opening, config } = await forgeOpening(here, job);
    const permitKey = fromHex(here.installation.directory.permitKey);
    const permit = (system: HostileInstallation) =>
      outcomeOf(
        verifyPermit(opening.permit, system.installation.directory.installation, () => permitKey, systemClock.now()),
      );
    const machineKey = () => copyBytes(config.machineKey.publicKey);
    const request = (system: HostileInstallation) =>
      outcomeOf(
        verifyMachineDocument(
          opening.request,
          system.installation.directory.installation,
          machineKey,
          systemClock.now(),
        ),
      );
    expect([await permit(here), await request(here)]).toEqual(['accepted', 'accepted']);
    expect([await permit(there), await request(there)]).toEqual(['E_SIGNATURE', 'E_SIGNATURE']);
    for (const role of ['keys', 'segments'] as const)
      expect(await outcomeOf(there.nodes[role].parts.streams.open(opening))).toMatch(/^E_(AUTH|SIGNATURE)$/);
  });

  it('a certificate of an object does not verify under the other log’s key', async () => {
    const agent = await here.agent();
    const { object = '' } = await printed(here, job.licence);
    await agent.close();
    const certificate = await here.owner.api.certificate(object);
    expect(await outcomeOf(checkAsBuyer(here, certificate))).toBe('accepted');
    expect(await outcomeOf(checkAsBuyer(there, certificate))).toMatch(/^E_(LEDGER_CHECKPOINT|CERTIFICATE)$/);
  });
});

describe('for another printer', () => {
  it('a permit is rejected by every machine except its own', async () => {
    const forged = await forgeOpening(here, job);
    expect(await outcomeOf(asMachine(forged))).toBe('accepted');
    const other = await callAsMachine(here, 'elsewhere-1');
    const same = await callAsMachine(there, SITE);
    for (const { config } of [other, same])
      expect(await outcomeOf(asMachine({ ...forged, config }))).toMatch(/^E_(PERMIT|SIGNATURE|AUTH)$/);
    other.close();
    same.close();
  });
});

describe('between nodes', () => {
  it('mail cannot be opened in another cloud or by another node', async () => {
    const key = generateP256Key();
    const now = systemClock.now();
    const box = {
      type: 'box' as const,
      issued: now,
      expires: now + 60_000,
      node: 'segments-1',
      use: 'mail' as const,
      number: 1,
      point: key.publicKey,
    };
    const sender = { id: 'keys-1', identity: (await config(here, 'keys')).identity };
    const plain = encodeMail({ type: 'stream.close', session: '00'.repeat(16) });
    const sealed = await sealMail(here.installation.directory, sender, box, plain);
    // This holds even with the box's key.
    const open = (system: HostileInstallation, role: 'segments' | 'control') =>
      outcomeOf(
        openMessage(system.installation.directory, { id: `${role}-1`, boxes: { keyOf: () => key } }, 'keys-1', sealed),
      );
    expect(await open(here, 'segments')).toBe('accepted');
    expect(await open(here, 'control')).toBe('E_SEAL');
    expect(await open(there, 'segments')).toBe('E_SEAL');
  });
});

const config = (system: HostileInstallation, role: 'keys') => loadNodeConfig(system.installation.layout.node(role));
