import { encodeCbor, utf8 } from '@millrace/base';
import { grantLicence, requestVisit, signNew } from '@millrace/client';
import { exportCertificate } from '@millrace/ledger';
import { checkAsBuyer } from '@millrace/testkit/adversary/certificates';
import { answerOf, expectTaken, outcomeOf, until } from '@millrace/testkit/adversary/honest';
import { denialOnly, held, type Position } from '@millrace/testkit/adversary/position';
import {
  authorityOf,
  linkTo,
  machineTls,
  openTwoClouds,
  type TwoClouds,
  visitHome,
} from '@millrace/testkit/adversary/two-clouds';
import { randomDesign } from '@millrace/testkit/designs';
import { call } from '@millrace/testkit/http';
import { store, untilEnded } from '@millrace/testkit/job';
import { scan } from '@millrace/testkit/scan';
import { expect } from 'vitest';

interface Clouds extends TwoClouds {
  readonly design: string;
  readonly content: Uint8Array;
}

async function open(): Promise<Clouds> {
  const clouds = await openTwoClouds();
  const { here } = clouds;
  const content = randomDesign(90_000);
  const options = { name: 'part.bin', kind: 'binary', bytesPerSecond: 1e9 } as const;
  return { ...clouds, content, design: (await store(here, here.owner, content, options)).design };
}

const license = ({ here, there, design }: Clouds, objects = 3): Promise<string> =>
  grantLicence(here.owner, {
    ...{ design, objects, machines: [there.machine], materials: [], days: 1, holder: 'operator' },
  });

/** Everything that the machine's cloud has in its records and its ledger about visits. */
async function known({ there }: Clouds): Promise<Uint8Array> {
  const { records, ledger } = there.nodes.control.context;
  const all: unknown[] = [];
  for await (const [, visit] of records.visits.list()) all.push(visit);
  for (let index = 0; index < ledger.size; index++) all.push((await ledger.entry(index)).event);
  return encodeCbor(all as never);
}

/** A cloud that the design's cloud recognises, and whose machine the owner has licensed. */
export const otherCloud: Position<Clouds> = {
  name: 'other cloud',
  holds:
    'every key of a recognised cloud: its administrator’s, its authority’s and its nodes’; not those of its machine’s agent or of the user',
  open,
  close: (clouds) => clouds.close(),
  attacks: {
    read: [
      held(
        'reads all that it has of a visit',
        'the bytes go from the design’s cloud to the machine; a visit names neither design nor object',
        async (clouds) => {
          const { here, there, visitor, design, content } = clouds;
          const licence = await license(clouds);
          const agent = await there.agent();
          const { print, visit } = await requestVisit(here.operator, visitor, { licence, machine: there.machine });
          const view = await untilEnded(here.operator, print);
          expect(view).toMatchObject({ state: 'completed' });
          await until('the visit is reported', async () => (await visitor.api.visit(visit)).state === 'completed');
          await agent.close();
          expectTaken(agent, content);
          const all = await known(clouds);
          expect(scan([{ name: 'records', bytes: all }], content)).toEqual([]);
          expect(Buffer.from(all).includes(Buffer.from(utf8(visit)))).toBe(true);
          for (const secret of [design, view.object ?? ''])
            expect(Buffer.from(all).includes(Buffer.from(utf8(secret)))).toBe(false);
        },
      ),
    ],
    alter: [
      held(
        'takes the machine’s link at the design’s cloud with a certificate that it issues',
        'what comes on the link is sealed to the machine’s key, and without a permit request by that key nothing comes',
        async (clouds) => {
          const { here, there } = clouds;
          const licence = await license(clouds);
          const tls = await (await authorityOf(there)).issue({ role: 'machine', name: there.machine });
          const link = await linkTo(here, tls);
          const visit = await visitHome(clouds, { licence });
          const forged = new Uint8Array(visit.request);
          forged[forged.length - 1] = (forged[forged.length - 1] ?? 0) ^ 1;
          const body = encodeCbor({ request: forged, visit: visit.shown });
          const answer = link?.call('call-home', body, { timeoutMs: 10_000 }) as Promise<unknown>;
          expect(await outcomeOf(answer)).toBe('E_SIGNATURE');
          link?.close();
          expect((await here.owner.api.licence(licence)).permitted).toBe(0);
        },
      ),
    ],
    more: [
      held(
        'gives its machine more visas than the licence has objects',
        'the design’s cloud counts its own permits; a visa permits nothing by itself',
        async (clouds) => {
          const licence = await license(clouds, 1);
          const first = await visitHome(clouds, { licence });
          expect(await outcomeOf(first.answer())).toBe('accepted');
          const more = await visitHome(clouds, { licence, print: first.print });
          expect(await outcomeOf(more.answer())).toBe('E_VISA');
          const invented = await visitHome(clouds, { licence, print: 'ab'.repeat(16) });
          expect(await outcomeOf(invented.answer())).toBe('E_NOT_FOUND');
          expect((await clouds.here.owner.api.licence(licence)).permitted).toBe(1);
        },
      ),
    ],
    elsewhere: [
      held(
        'registers another key under the licensed machine’s name',
        'a machine is named after its key, and the licence has the hash of its registration',
        async ({ here, there }) => {
          const {
            machine: name,
            publicKey,
            ...rest
          } = (await there.nodes.control.context.records.machines.require(there.elsewhere)).registration;
          expect(name).toBe(there.elsewhere);
          const machine = { ...rest, machine: there.machine, publicKey };
          const { bytes } = await signNew(there.admin, { type: 'machine.register', machine });
          const cloud = there.installation.directory.installation;
          const body = { type: 'machine.introduce', cloud, registration: bytes } as const;
          const submitted = here.tenant.api.submit((await signNew(here.tenant, body)).bytes);
          expect(await outcomeOf(submitted)).toBe('E_MACHINE_UNKNOWN');
        },
      ),
    ],
    forge: [
      held(
        'passes the record of a visit in its ledger off as the object’s certificate',
        'the certificate counts under the log key of the design’s cloud, and begins with the owner’s licence',
        async (clouds) => {
          const { here, there, visitor } = clouds;
          const licence = await license(clouds);
          const agent = await there.agent();
          const { print, visit } = await requestVisit(here.operator, visitor, { licence, machine: there.machine });
          const { object = '' } = await untilEnded(here.operator, print);
          await until('the visit is reported', async () => (await visitor.api.visit(visit)).state === 'completed');
          await agent.close();
          const { ledger, publisher } = there.nodes.control.context;
          const options = { checkpoint: await publisher.newest(), witnesses: [] };
          const own = await exportCertificate(ledger, `visit:${visit}`, options);
          expect(await outcomeOf(checkAsBuyer(here, own))).toBe('E_LEDGER_CHECKPOINT');
          expect(await outcomeOf(checkAsBuyer(there, own))).not.toBe('accepted');
          expect(await outcomeOf(checkAsBuyer(here, await here.owner.api.certificate(object)))).toBe('accepted');
        },
      ),
    ],
    tenants: [
      held(
        'asks the design’s cloud for what it has, with the certificates of its machine and of its own users',
        'its authority identifies machines only, and those reach their link, the directory and the revocations',
        async ({ here, there, design }) => {
          const { directory } = here.installation;
          const identity = await machineTls(there);
          const get = (path: string) =>
            call(here.addresses.distribution, directory, 'distribution', identity, { method: 'GET', path });
          expect((await get('/v1/directory')).status).toBe(200);
          for (const path of [`/v1/uploads/${design}?segments=1`, `/v1/uploads/${design}/0`, '/v1/openapi.json'])
            expect(await answerOf(get(path)), path).toBe('E_AUTH');
          const user = await (await authorityOf(there)).issue({ role: 'user', name: 'ab'.repeat(16) });
          const asUser = call(here.addresses.distribution, directory, 'distribution', user, {
            method: 'GET',
            path: '/v1/directory',
          });
          expect(await answerOf(asUser)).toBe('E_AUTH');
          const control = call(here.addresses.control, directory, 'control', identity, {
            method: 'GET',
            path: '/v1/designs',
          });
          await expect(control).rejects.toThrow();
        },
      ),
    ],
    deny: [
      denialOnly(
        'gives its machine no visa',
        'it can always refuse the work of its machine; the print expires and uses no object',
        async (clouds) => {
          const { here, there, visitor } = clouds;
          const licence = await license(clouds);
          const { records } = there.nodes.control.context;
          const order = { licence, machine: there.machine, startWithinMs: 2_000 };
          const { print, visit } = await requestVisit(here.operator, visitor, order);
          await records.visits.update(visit, (record) => ({ ...record, state: 'refused' as const }));
          const agent = await there.agent();
          await until(
            'the print has expired',
            async () => (await here.operator.api.print(print)).state === 'refused',
            30_000,
          );
          await agent.close();
          expect(agent.runs).toEqual([]);
          expect((await here.owner.api.licence(licence)).permitted).toBe(0);
        },
      ),
    ],
  },
};
