import { systemRandom, toBase64 } from '@millrace/base';
import { signNew } from '@millrace/client';
import { decodeBundle, decodeEvent } from '@millrace/ledger';
import { sha256 } from '@millrace/protocol';
import { expect } from 'vitest';
import { order, untilEnded } from '../../support/job.ts';
import { scan } from '../../support/scan.ts';
import { checkAsBuyer } from '../support/certificates.ts';
import { answerOf, type Licensed, licensed, made, outcomeOf, permitted } from '../support/honest.ts';
import { ELSEWHERE, type HostileWorld, openHostileWorld } from '../support/hostile-world.ts';
import { ownLicence } from '../support/licences.ts';
import { callAsMachine } from '../support/machine-calls.ts';
import { held, limit, type Position } from '../support/position.ts';

interface World extends HostileWorld {
  readonly job: Licensed;
  /** One completed object of the job, and its print. */
  readonly object: string;
  readonly print: string;
}

async function open(): Promise<World> {
  const world = await openHostileWorld();
  const job = await licensed(world, 5);
  return { ...world, job, ...(await made(world, job.licence)) };
}

const get = (world: World, path: string) => answerOf(world.call('control', 'tenant', { method: 'GET', path }));
const post = (world: World, path: string, json: unknown) =>
  answerOf(world.call('control', 'tenant', { method: 'POST', path, json }));

/** Signed and submitted by the tenant. */
const submit = async (world: World, body: Parameters<typeof signNew>[1], attachments = {}) =>
  outcomeOf(world.tenant.api.submit((await signNew(world.tenant, body)).bytes, attachments));

export const tenant: Position<World> = {
  name: 'another tenant',
  holds: 'a user’s key and certificate, and a registered machine’s, of the same installation',
  open,
  close: (world) => world.close(),
  attacks: {
    read: [
      held(
        'asks for the design, its private part and its sealed segments',
        'what is an owner’s is answered to the owner',
        async (world) => {
          const { design } = world.job;
          expect(await get(world, `/v1/designs/${design}`)).toBe('E_FORBIDDEN');
          expect(await get(world, `/v1/designs/${design}/private`)).toBe('E_FORBIDDEN');
          const segment = { method: 'GET', path: `/v1/uploads/${design}/0` };
          expect(await answerOf(world.call('distribution', 'tenant', segment))).toBe('E_AUTH');
          expect((await world.owner.api.privatePart(design)).length).toBeGreaterThan(0);
        },
      ),
      held('licenses the design to its own machine', 'a licence is the owner’s signature', async (world) => {
        const { transaction, secret } = await ownLicence(world, world.tenant, world.job.design, ELSEWHERE);
        const grant = world.tenant.api.submit(transaction, { secret });
        expect(await outcomeOf(grant)).toBe('E_FORBIDDEN');
      }),
      held('adds the design once more as its own', 'a design has one owner, from the first day', async (world) => {
        const { design } = world.job;
        const manifest = await world.nodes.keys.parts.playbook.manifest(design);
        const keys = systemRandom(32 * 6 + 97);
        const body = { type: 'design.add', design, manifestHash: sha256(manifest), keysHash: sha256(keys) } as const;
        expect(await submit(world, body, { manifest, keys })).toMatch(/^E_(CONFLICT|FORBIDDEN|INPUT|AUTH)$/);
        expect(await world.tenant.api.designs()).toEqual([]);
        expect(await world.owner.api.design(design)).toMatchObject({ state: 'stored' });
      }),
    ],
    alter: [
      held(
        'has segments of the stored design “repaired” with its own',
        'only the owner begins a repair; the vault compares with the owner’s manifest',
        async (world) => {
          const path = `/v1/designs/${world.job.design}/repair`;
          expect(await post(world, path, { segments: [0] })).toBe('E_FORBIDDEN');
        },
      ),
    ],
    more: [
      held(
        'presses print on the owner’s licence',
        'a print is the holder’s signature, from the holder’s connection',
        async (world) => {
          const before = await permitted(world, world.job);
          const body = { type: 'print.request', licence: world.job.licence, machine: world.machine } as const;
          expect(await submit(world, body)).toBe('E_FORBIDDEN');
          const taken = { transaction: toBase64((await signNew(world.operator, body)).bytes) };
          expect(await post(world, '/v1/transactions', taken)).toBe('E_FORBIDDEN');
          expect(await permitted(world, world.job)).toBe(before);
        },
      ),
    ],
    elsewhere: [
      held(
        'calls home from its own machine for somebody else’s print',
        'a print names its machine, and a request is that machine’s signature',
        async (world) => {
          const before = await permitted(world, world.job);
          const print = await order(world, world.operator, world.job.licence);
          const machine = await callAsMachine(world, ELSEWHERE);
          try {
            const { serial } = (await world.agent()).config;
            for (const changes of [{}, { serial }]) {
              const { bytes } = await machine.request(print, changes);
              const call = machine.calls.callHome(bytes, machine.signal);
              expect(await outcomeOf(call)).toBe('E_FORBIDDEN');
            }
          } finally {
            machine.close();
          }
          // The licensed machine makes it.
          expect(await untilEnded(world.operator, print)).toMatchObject({ state: 'completed' });
          expect(await permitted(world, world.job)).toBe(before + 1);
        },
      ),
    ],
    forge: [
      held(
        'has its own machine report the owner’s object',
        'a report counts from the machine and the run that the object was permitted to',
        async (world) => {
          const machine = await callAsMachine(world, ELSEWHERE);
          try {
            for (const event of ['started', 'completed', 'failed'] as const) {
              const report = machine.calls.report(await machine.report(world.object, event), machine.signal);
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
        async (world) => {
          const genuine = await world.owner.api.certificate(world.object);
          await checkAsBuyer(world, genuine);
          const accepted: number[] = [];
          for (let at = 0; at < genuine.length; at += 7) {
            const changed = new Uint8Array(genuine);
            changed[at] = (changed[at] ?? 0) ^ 1;
            if ((await outcomeOf(checkAsBuyer(world, changed))) === 'accepted') accepted.push(at);
          }
          expect(accepted).toEqual([]);
        },
      ),
    ],
    tenants: [
      held(
        'reads every list and every single thing',
        'lists hold what is the caller’s; the rest is refused',
        async (world) => {
          expect(await world.tenant.api.designs()).toEqual([]);
          expect(await world.tenant.api.licences()).toEqual([]);
          expect(await world.tenant.api.prints()).toEqual([]);
          expect(await world.tenant.api.objects()).toEqual([]);
          const { licence } = world.job;
          for (const path of [
            `/v1/licences/${licence}`,
            `/v1/prints/${world.print}`,
            `/v1/objects/${world.object}`,
            `/v1/objects/${world.object}/certificate`,
          ])
            expect(await get(world, path)).toBe('E_FORBIDDEN');
        },
      ),
      limit(
        'reads the ledger',
        'the log is open to every user, so that anybody can audit it: licences, counts, machines and times of others are seen, designs are not',
        async (world) => {
          const size = world.nodes.control.context.ledger.size;
          const bundle = await world.tenant.api.tile(`tile/entries/000${size < 256 ? `.p/${size}` : ''}`);
          const entries = decodeBundle(bundle).map((entry, index) => decodeEvent(entry, index).event);
          expect(entries.some(({ account }) => account === world.object)).toBe(true);
          expect(entries.find(({ type }) => type === 'licensed')?.body).toMatchObject({ objects: world.job.objects });
          expect(scan([{ name: 'ledger', bytes: bundle }], world.job.content)).toEqual([]);
        },
      ),
    ],
    deny: [
      held(
        'uploads segments of the owner’s design, and has the vault checked again and again',
        'uploads need a ticket for this design and user; checks are the administrator’s',
        async (world) => {
          const put = { method: 'PUT', path: `/v1/uploads/${world.job.design}/0`, body: systemRandom(16_386) };
          expect(await answerOf(world.call('distribution', 'tenant', put))).toMatch(/^E_(FORBIDDEN|AUTH)$/);
          expect(await post(world, '/v1/vault/checks', { deep: true })).toBe('E_FORBIDDEN');
        },
      ),
      held(
        'deletes the owner’s design, changes its maintenance, clears an alarm',
        'each is the owner’s signature',
        async (world) => {
          const { design } = world.job;
          expect(await submit(world, { type: 'design.delete', design })).toBe('E_FORBIDDEN');
          expect(await submit(world, { type: 'design.maintenance', design, mode: 'delta' })).toBe('E_FORBIDDEN');
          expect(await submit(world, { type: 'alarm.clear', object: world.object })).toMatch(/^E_(FORBIDDEN|STATE)$/);
          expect(await post(world, `/v1/designs/${design}/uploaded`, {})).toBe('E_FORBIDDEN');
          expect(await world.owner.api.design(design)).toMatchObject({ state: 'stored' });
        },
      ),
    ],
  },
};
