import { connect } from 'node:net';
import { createServer } from 'node:tls';
import { sleep, systemRandom, toBase64 } from '@millrace/base';
import { signNew } from '@millrace/client';
import { createAuthority, keyName, type TlsIdentity } from '@millrace/identity';
import { ed25519NoteSigner, exportCertificate } from '@millrace/ledger';
import { checkAsBuyer, rewritten } from '@millrace/testkit/adversary/certificates';
import {
  expectBeginning,
  expectTaken,
  type Licensed,
  licensed,
  permitted,
  printed,
  until,
} from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { denialOnly, held, type Position } from '@millrace/testkit/adversary/position';
import { tapWire } from '@millrace/testkit/adversary/wire-tap';
import { call } from '@millrace/testkit/http';
import { order, untilEnded } from '@millrace/testkit/job';
import { scan } from '@millrace/testkit/scan';
import { expect } from 'vitest';

interface TestInstallation extends HostileInstallation {
  readonly job: Licensed;
  /** Certificates of the outsider's own authority, in the names of others. */
  readonly forged: readonly TlsIdentity[];
}

async function open(): Promise<TestInstallation> {
  const system = await openHostileInstallation();
  const stranger = await createAuthority('Millrace stranger', Date.now());
  const forged = await Promise.all([
    stranger.issue({ role: 'user', name: keyName(system.owner.signer.publicKey) }),
    stranger.issue({ role: 'machine', name: system.machine }),
    stranger.issue({ role: 'keys', id: 'keys-1' }),
  ]);
  return { ...system, job: await licensed(system, 8), forged };
}

/** Whether a request gets any answer from a node. */
async function reaches(
  { addresses, installation }: TestInstallation,
  node: 'control' | 'distribution',
  identity: TlsIdentity,
  path: string,
  json?: unknown,
): Promise<boolean> {
  const method = json === undefined ? 'GET' : 'POST';
  try {
    await call(addresses[node], installation.directory, node, identity, { method, path, json });
    return true;
  } catch {
    return false;
  }
}

const nobody: TlsIdentity = { certificate: '', key: new Uint8Array() };
const everybody = ({ forged }: TestInstallation) => [nobody, ...forged];

export const outsider: Position<TestInstallation> = {
  name: 'outsider',
  holds: 'the network, a certificate authority of its own; no certificate of the installation',
  open,
  close: (system) => system.close(),
  attacks: {
    read: [
      held(
        'asks both servers for the design, with no certificate and with forged ones',
        'TLS 1.3 with certificates of both sides; the connection ends before any request is read',
        async (system) => {
          const paths = {
            control: `/v1/designs/${system.job.design}/private`,
            distribution: `/v1/uploads/${system.job.design}?segments=6`,
          };
          for (const node of ['control', 'distribution'] as const) {
            expect(await reaches(system, node, await system.identity('owner'), paths[node])).toBe(true);
            for (const identity of everybody(system))
              expect(await reaches(system, node, identity, paths[node])).toBe(false);
          }
        },
      ),
      held(
        'records the machine’s cable during a print',
        'nothing on it is in clear (row 15 of the attacks shows the same with TLS broken)',
        async (system) => {
          const tap = await tapWire(system.addresses.distribution);
          const agent = await system.agent(undefined, { distribution: () => tap.address });
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          await agent.close();
          await tap.close();
          const wire = tap.seen.map((bytes, i) => ({ name: `piece ${i}`, bytes }));
          expect(tap.seen.reduce((sum, { length }) => sum + length, 0)).toBeGreaterThan(system.job.content.length);
          expect(scan(wire, system.job.content)).toEqual([]);
          // Positive control: the same search finds the design where it is.
          expect(scan([{ name: 'machine', bytes: agent.executed() }], system.job.content)).not.toEqual([]);
        },
      ),
    ],
    alter: [
      held(
        'flips bits on the machine’s cable',
        'a changed record ends the connection; the print goes on in another session, or fails, with the owner’s bytes only',
        async (system) => {
          const tap = await tapWire(system.addresses.distribution);
          let flips = 0;
          let passed = 0;
          tap.meddle = (piece, towards) => {
            passed += towards === 'client' ? piece.length : 0;
            if (flips === 3 || passed < 20_000 || towards === 'node') return piece;
            flips++;
            passed = 0;
            piece[piece.length >> 1] = (piece[piece.length >> 1] ?? 0) ^ 1;
            return piece;
          };
          const agent = await system.agent(undefined, { distribution: () => tap.address });
          const view = await printed(system, system.job.licence);
          await agent.close();
          await tap.close();
          expect(flips).toBe(3);
          expect(view).toMatchObject({ state: 'completed' });
          expectTaken(agent, system.job.content);
        },
      ),
      held(
        'answers the machine in the distribution node’s place',
        'the agent accepts the one certificate that its directory pins',
        async (system) => {
          const [identity] = system.forged;
          if (identity === undefined) throw new Error('no identity');
          let established = 0;
          let tried = 0;
          const server = createServer({ cert: identity.certificate, key: Buffer.from(identity.key) }, () => {
            established++;
          });
          server.on('connection', () => {
            tried++;
          });
          server.on('tlsClientError', () => undefined);
          server.on('secureConnection', (socket) => socket.on('error', () => undefined));
          await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
          const bound = server.address();
          const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
          const agent = await system.agent(undefined, { distribution: () => ({ host: '127.0.0.1', port }) });
          await until('the agent tries', () => tried >= 3);
          await agent.close();
          server.close();
          expect(agent.runs).toEqual([]);
          // The server’s side of TLS may finish before the rejection arrives. The agent never sends anything.
          expect(established).toBeLessThanOrEqual(tried);
        },
      ),
    ],
    more: [
      held(
        'submits a print that it signs, and one that the operator has signed',
        'no request is read from a connection without a certificate of the installation',
        async (system) => {
          const before = await permitted(system, system.job);
          const body = { type: 'print.request', licence: system.job.licence, machine: system.machine } as const;
          for (const signer of [system.tenant, system.operator]) {
            const json = { transaction: toBase64((await signNew(signer, body)).bytes) };
            for (const identity of everybody(system))
              expect(await reaches(system, 'control', identity, '/v1/transactions', json)).toBe(false);
          }
          expect(await system.operator.api.prints()).toHaveLength(before);
          expect(await permitted(system, system.job)).toBe(before);
        },
      ),
    ],
    elsewhere: [
      held(
        'runs the whole agent of the licensed machine with forged keys and certificates',
        'the link needs a certificate of the installation',
        async (system) => {
          const before = await permitted(system, system.job);
          for (const tls of system.forged) {
            const agent = await system.agent(undefined, { config: { tls } });
            await sleep(300);
            await agent.close();
            expect(agent.runs).toEqual([]);
          }
          expect(await permitted(system, system.job)).toBe(before);
          expect(system.nodes.control.context.machinesSeen.has(system.elsewhere)).toBe(false);
        },
      ),
    ],
    forge: [
      held(
        'writes the events of a genuine certificate into a log of its own',
        'a certificate counts with a checkpoint that the installation’s log key has signed',
        async (system) => {
          const { ledger } = system.nodes.control.context;
          const [object] = (await system.owner.api.objects()).map((view) => view.object);
          if (object === undefined) throw new Error('nothing was printed yet');
          const genuine = await exportCertificate(ledger, object);
          await checkAsBuyer(system, genuine);
          const signer = ed25519NoteSigner(ledger.origin, systemRandom(32));
          const own = await rewritten(ledger, signer);
          const forged = await exportCertificate(own, object);
          await expect(checkAsBuyer(system, forged)).rejects.toMatchObject({ code: 'E_LEDGER_CHECKPOINT' });
          await own.close();
        },
      ),
    ],
    tenants: [
      held('asks for every list', 'the same as the design: no request is read', async (system) => {
        for (const list of ['designs', 'licences', 'machines', 'prints', 'objects', 'status', 'ledger/checkpoint']) {
          expect(await reaches(system, 'control', await system.identity('owner'), `/v1/${list}`)).toBe(true);
          for (const identity of everybody(system))
            expect(await reaches(system, 'control', identity, `/v1/${list}`)).toBe(false);
        }
      }),
    ],
    deny: [
      held(
        'holds hundreds of connections open, half of them in the middle of TLS',
        'a connection without a certificate holds a socket and nothing else',
        async (system) => {
          const idle = (['control', 'distribution'] as const).flatMap((node) =>
            Array.from({ length: 200 }, (_, i) => {
              const { host, port } = system.addresses[node];
              const socket = connect(port, host);
              socket.on('error', () => undefined);
              // The head of a handshake of 512 bytes, without the rest.
              if (i % 2 === 0) socket.write(Uint8Array.of(22, 3, 1, 2, 0));
              return socket;
            }),
          );
          const agent = await system.agent();
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          await agent.close();
          for (const socket of idle) socket.destroy();
        },
      ),
      denialOnly(
        'cuts the machine’s cable in the middle of a print, for good',
        'whoever holds the cable can cut it; the print ends as failed, with one object used and no other byte than the owner’s',
        async (system) => {
          const tap = await tapWire(system.addresses.distribution);
          let passed = 0;
          tap.meddle = (piece, towards) => {
            passed += towards === 'client' ? piece.length : 0;
            return passed > 40_000 ? undefined : piece;
          };
          const before = await permitted(system, system.job);
          const agent = await system.agent(undefined, {
            distribution: () => tap.address,
            settings: { giveUpMs: 1_000 },
          });
          const earlier = (await agent.objects()).length;
          const print = await order(system, system.operator, system.job.licence);
          await until('the agent gives up', async () => (await agent.objects()).length > earlier);
          // The cable is repaired: the agent reports the failure.
          tap.meddle = (piece) => piece;
          expect(await untilEnded(system.operator, print, 20_000)).toMatchObject({
            state: 'failed',
            code: 'E_STARVED',
          });
          await agent.close();
          await tap.close();
          expect(await permitted(system, system.job)).toBe(before + 1);
          expect(expectBeginning(agent, system.job.content)).toBeLessThan(system.job.content.length);
        },
      ),
    ],
  },
};
