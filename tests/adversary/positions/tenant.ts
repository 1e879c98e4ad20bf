import { fromBase64, systemRandom, toBase64 } from '@millrace/base';
import { type Session, signNew } from '@millrace/client';
import { decodeBundle, decodeOpening, ENTRY_LENGTH, type LoggedEvent } from '@millrace/ledger';
import { sha256 } from '@millrace/protocol';
import { checkAsBuyer } from '@millrace/testkit/adversary/certificates';
import { answerOf, type Licensed, licensed, made, outcomeOf, permitted } from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
} from '@millrace/testkit/adversary/hostile-installation';
import { ownLicence } from '@millrace/testkit/adversary/licences';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import { held, limit, type Position } from '@millrace/testkit/adversary/position';
import { order, untilEnded } from '@millrace/testkit/job';
import { scan } from '@millrace/testkit/scan';
import { expect } from 'vitest';

interface TestInstallation extends HostileInstallation {
  readonly job: Licensed;
  /** One completed object of the job, and its print. */
  readonly object: string;
  readonly print: string;
}

/** All events that control opens for a user. */
async function openedFor({ api }: Session): Promise<LoggedEvent[]> {
  const opened: LoggedEvent[] = [];
  let cursor: string | undefined;
  do {
    const page = await api.openings(cursor);
    opened.push(...page.items.map(({ index, opening }) => decodeOpening(fromBase64(opening), index)));
    cursor = page.next;
  } while (cursor !== undefined);
  return opened;
}

async function open(): Promise<TestInstallation> {
  const system = await openHostileInstallation();
  const job = await licensed(system, 5);
  return { ...system, job, ...(await made(system, job.licence)) };
}

const get = (system: TestInstallation, path: string) =>
  answerOf(system.call('control', 'tenant', { method: 'GET', path }));
const post = (system: TestInstallation, path: string, json: unknown) =>
  answerOf(system.call('control', 'tenant', { method: 'POST', path, json }));

/** Signs and submits as the tenant. */
const submit = async (system: TestInstallation, body: Parameters<typeof signNew>[1], attachments = {}) =>
  outcomeOf(system.tenant.api.submit((await signNew(system.tenant, body)).bytes, attachments));

export const tenant: Position<TestInstallation> = {
  name: 'another tenant',
  holds: 'a user’s key and certificate, and a registered machine’s, of the same installation',
  open,
  close: (system) => system.close(),
  attacks: {
    read: [
      held(
        'asks for the design, its private part and its sealed segments',
        'what is an owner’s is answered to the owner',
        async (system) => {
          const { design } = system.job;
          expect(await get(system, `/v1/designs/${design}`)).toBe('E_FORBIDDEN');
          expect(await get(system, `/v1/designs/${design}/private`)).toBe('E_FORBIDDEN');
          const segment = { method: 'GET', path: `/v1/uploads/${design}/0` };
          expect(await answerOf(system.call('distribution', 'tenant', segment))).toBe('E_AUTH');
          expect((await system.owner.api.privatePart(design)).length).toBeGreaterThan(0);
        },
      ),
      held('licenses the design to its own machine', 'a licence is the owner’s signature', async (system) => {
        const { transaction, secret } = await ownLicence(system, system.tenant, system.job.design, ELSEWHERE);
        const grant = system.tenant.api.submit(transaction, { secret });
        expect(await outcomeOf(grant)).toBe('E_FORBIDDEN');
      }),
      held('adds the design once more as its own', 'a design has one owner, from the first day', async (system) => {
        const { design } = system.job;
        const manifest = await system.nodes.keys.parts.playbook.manifest(design);
        const keys = systemRandom(32 * 6 + 97);
        const body = { type: 'design.add', design, manifestHash: sha256(manifest), keysHash: sha256(keys) } as const;
        expect(await submit(system, body, { manifest, keys })).toMatch(/^E_(CONFLICT|FORBIDDEN|INPUT|AUTH)$/);
        expect(await system.tenant.api.designs()).toEqual([]);
        expect(await system.owner.api.design(design)).toMatchObject({ state: 'stored' });
      }),
    ],
    alter: [
      held(
        'has segments of the stored design “repaired” with its own',
        'only the owner begins a repair; the vault compares with the owner’s manifest',
        async (system) => {
          const path = `/v1/designs/${system.job.design}/repair`;
          expect(await post(system, path, { segments: [0] })).toBe('E_FORBIDDEN');
        },
      ),
    ],
    more: [
      held(
        'presses print on the owner’s licence',
        'a print is the holder’s signature, from the holder’s connection',
        async (system) => {
          const before = await permitted(system, system.job);
          const body = { type: 'print.request', licence: system.job.licence, machine: system.machine } as const;
          expect(await submit(system, body)).toBe('E_FORBIDDEN');
          const taken = { transaction: toBase64((await signNew(system.operator, body)).bytes) };
          expect(await post(system, '/v1/transactions', taken)).toBe('E_FORBIDDEN');
          expect(await permitted(system, system.job)).toBe(before);
        },
      ),
    ],
    elsewhere: [
      held(
        'calls home from its own machine for somebody else’s print',
        'a print names its machine, and a request is that machine’s signature',
        async (system) => {
          const before = await permitted(system, system.job);
          const print = await order(system, system.operator, system.job.licence);
          const machine = await callAsMachine(system, ELSEWHERE);
          try {
            const { serial } = (await system.agent()).config;
            for (const changes of [{}, { serial }]) {
              const { bytes } = await machine.request(print, changes);
              const call = machine.calls.callHome(bytes, machine.signal);
              expect(await outcomeOf(call)).toBe('E_FORBIDDEN');
            }
          } finally {
            machine.close();
          }
          // The licensed machine makes the object.
          expect(await untilEnded(system.operator, print)).toMatchObject({ state: 'completed' });
          expect(await permitted(system, system.job)).toBe(before + 1);
        },
      ),
    ],
    forge: [
      held(
        'has its own machine report the owner’s object',
        'a report counts from the machine and the run that the object was permitted to',
        async (system) => {
          const machine = await callAsMachine(system, ELSEWHERE);
          try {
            for (const event of ['started', 'completed', 'failed'] as const) {
              const report = machine.calls.report(await machine.report(system.object, event), machine.signal);
              expect(await outcomeOf(report)).toBe('E_FORBIDDEN');
            }
          } finally {
            machine.close();
          }
        },
      ),
      held(
        'changes a genuine certificate, byte by byte',
        'every entry is proven against the signed checkpoint',
        async (system) => {
          const genuine = await system.owner.api.certificate(system.object);
          await checkAsBuyer(system, genuine);
          const accepted: number[] = [];
          for (let at = 0; at < genuine.length; at += 7) {
            const changed = new Uint8Array(genuine);
            changed[at] = (changed[at] ?? 0) ^ 1;
            if ((await outcomeOf(checkAsBuyer(system, changed))) === 'accepted') accepted.push(at);
          }
          expect(accepted).toEqual([]);
        },
      ),
    ],
    tenants: [
      held(
        'reads every list and every single thing',
        'lists hold what is the caller’s; the rest is refused',
        async (system) => {
          expect(await system.tenant.api.designs()).toEqual([]);
          expect(await system.tenant.api.licences()).toEqual([]);
          expect(await system.tenant.api.prints()).toEqual([]);
          expect(await system.tenant.api.objects()).toEqual([]);
          const { licence } = system.job;
          for (const path of [
            `/v1/licences/${licence}`,
            `/v1/prints/${system.print}`,
            `/v1/objects/${system.object}`,
            `/v1/objects/${system.object}/certificate`,
          ])
            expect(await get(system, path)).toBe('E_FORBIDDEN');
        },
      ),
      held(
        'reads in the ledger what others do',
        'entries are salted commitments; control opens those of the accounts that the caller may read',
        async (system) => {
          const size = system.nodes.control.context.ledger.size;
          const bundle = await system.tenant.api.tile(`tile/entries/000${size < 256 ? `.p/${size}` : ''}`);
          const entries = decodeBundle(bundle);
          expect(entries.map(({ length }) => length)).toEqual(entries.map(() => ENTRY_LENGTH));
          const opened = await openedFor(system.tenant);
          const others = [system.job.licence, system.job.design, system.object];
          const theirs = await openedFor(system.owner);
          for (const name of others) {
            expect(Buffer.from(bundle).includes(name)).toBe(false);
            expect(theirs.some(({ event }) => event.account.endsWith(name))).toBe(true);
            expect(opened.filter(({ opening }) => Buffer.from(opening).includes(name))).toEqual([]);
          }
          const seen = [bundle, ...opened.map(({ opening }) => opening)].map((bytes) => ({ name: 'ledger', bytes }));
          expect(scan(seen, system.job.content)).toEqual([]);
          // Machines are visible to every user, and so are the roots of the map of accounts.
          const types = new Set<string>(opened.map(({ event }) => event.type));
          expect([...types].filter((type) => type !== 'mapped')).toEqual(['machine']);
          expect(JSON.stringify(await system.tenant.api.ledgerCheck())).not.toMatch(/accounts|message/);
        },
      ),
      limit(
        'counts what others do',
        'everybody sees how long the log is and when it grows; not for whom',
        async (system) => {
          const sizeSeen = async () =>
            Number(
              Buffer.from(await system.tenant.api.checkpoint())
                .toString()
                .split('\n')[1],
            );
          const before = await sizeSeen();
          await licensed(system, 1);
          expect(await sizeSeen()).toBeGreaterThan(before);
        },
      ),
    ],
    deny: [
      held(
        'uploads segments of the owner’s design, and has the vault checked again and again',
        'uploads need a ticket for this design and user; checks are the administrator’s',
        async (system) => {
          const put = { method: 'PUT', path: `/v1/uploads/${system.job.design}/0`, body: systemRandom(16_386) };
          expect(await answerOf(system.call('distribution', 'tenant', put))).toMatch(/^E_(FORBIDDEN|AUTH)$/);
          expect(await post(system, '/v1/vault/checks', { deep: true })).toBe('E_FORBIDDEN');
        },
      ),
      held(
        'deletes the owner’s design, changes its maintenance, clears an alarm',
        'each is the owner’s signature',
        async (system) => {
          const { design } = system.job;
          expect(await submit(system, { type: 'design.delete', design })).toBe('E_FORBIDDEN');
          expect(await submit(system, { type: 'design.maintenance', design, mode: 'delta' })).toBe('E_FORBIDDEN');
          expect(await submit(system, { type: 'alarm.clear', object: system.object })).toMatch(/^E_(FORBIDDEN|STATE)$/);
          expect(await post(system, `/v1/designs/${design}/uploaded`, {})).toBe('E_FORBIDDEN');
          expect(await system.owner.api.design(design)).toMatchObject({ state: 'stored' });
        },
      ),
    ],
  },
};
