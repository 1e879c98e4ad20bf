import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, Closer, silentLogger, systemClock, systemRandom } from '@millrace/base';
import { introduceMachine, type Session, signNew } from '@millrace/client';
import { type Authority, type generateP256Key, openAuthority, type TlsIdentity } from '@millrace/identity';
import {
  type CloudLink,
  connectCloud,
  createVisitorCalls,
  defaultTiming,
  loadMachineConfig,
  type MachineConfig,
} from '@millrace/machine/parts';
import { sha256, signMachineDocument, signVisa, type Visa } from '@millrace/protocol';
import { recognise, shareUser } from '../federation.ts';
import { permitRequest } from '../permit-request.mjs';
import { type HostileInstallation, openHostileInstallation, SITE } from './hostile-installation.ts';

/** Two clouds that recognise each other: the design is `here`, the machine is `there`. */
export interface TwoClouds {
  readonly here: HostileInstallation;
  readonly there: HostileInstallation;
  /** The operator of `here`, with the same key, at `there`. */
  readonly visitor: Session;
  /** The machine's configuration at `there`. */
  readonly config: MachineConfig;
  close(): Promise<void>;
}

export const nodeFolders = ({ installation }: HostileInstallation): string[] =>
  (['control', 'distribution', 'segments', 'keys'] as const).map((role) => installation.layout.node(role));

export async function openTwoClouds(): Promise<TwoClouds> {
  const closer = new Closer();
  try {
    const here = closer.add(await openHostileInstallation());
    const there = closer.add(await openHostileInstallation());
    await recognise(here, there, nodeFolders(here));
    await recognise(there, here, nodeFolders(there));
    const visitor = closer.add(await shareUser(here, 'operator', there, there.admin));
    await introduceMachine(here.owner, visitor, there.machine);
    const config = await loadMachineConfig(there.installation.layout.machine(SITE));
    return { here, there, visitor, config, close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** The authority of a cloud, which can certify any name. */
export async function authorityOf({ installation }: HostileInstallation): Promise<Authority> {
  const { authority } = installation.layout;
  const key: Bytes = new Uint8Array(await readFile(authority.key));
  return openAuthority({ certificate: await readFile(authority.certificate, 'utf8'), key }, systemClock.now);
}

export const machineTls = async ({ installation }: HostileInstallation, name = SITE): Promise<TlsIdentity> => ({
  certificate: await readFile(join(installation.layout.machine(name), 'tls.crt.pem'), 'utf8'),
  key: new Uint8Array(await readFile(join(installation.layout.machine(name), 'tls.key.pem'))),
});

/**
 * A machine's link to a cloud, with any certificate. Undefined if the cloud has not accepted it in time.
 * @param refused whether the cloud is expected to refuse it
 */
export async function linkTo(
  { addresses, installation }: HostileInstallation,
  tls: TlsIdentity,
  { refused = false } = {},
): Promise<CloudLink | undefined> {
  const { directory } = installation;
  const link = connectCloud(
    { addresses: () => [addresses.distribution], directory, tls: () => tls, logger: silentLogger },
    { stream: () => undefined, lost: () => undefined },
  );
  try {
    await link.whenConnected(AbortSignal.timeout(refused ? 2_000 : 20_000));
    return link;
  } catch {
    link.close();
    return undefined;
  }
}

/** The documents of a visit, with the changes of dishonest parties. */
export interface VisitLies {
  readonly print?: string;
  readonly licence: string;
  /** The signer of `visit.request`, at the machine's cloud. */
  readonly visitor?: Session;
  readonly visa?: Partial<Visa>;
  readonly signVisa?: ReturnType<typeof generateP256Key>;
  /** Run in the permit request. */
  readonly run?: Bytes;
  /** `spool.load` in the permit request. */
  readonly load?: Bytes | undefined;
}

/** Calls home at `here` with the machine's real keys. @returns the request's id of the print, and the call */
export async function visitHome(clouds: TwoClouds, { print, licence, ...lies }: VisitLies) {
  const { here, there, visitor, config } = clouds;
  const machine = there.machine;
  const cloud = here.installation.directory.installation;
  const [at, home] = [cloud, there.installation.directory.installation];
  const id = print ?? (await orderOnly(clouds, licence));
  const run = lies.run ?? systemRandom(16);
  const now = systemClock.now();
  const common = { issued: now, expires: now + 600_000 };
  const body = { type: 'visit.request', cloud, print: id, licence, machine } as const;
  const visit = await signNew(lies.visitor ?? visitor, body);
  const { permitKey, permitKeyDocument } = there.nodes.control.context;
  const visa = await signVisa(lies.signVisa ?? permitKey, home, {
    ...{ type: 'visa', id: systemRandom(16), ...common, cloud, print: id, licence, machine, run, visit: visit.id },
    request: sha256(visit.bytes),
    ...lies.visa,
  });
  const { serial, material, machineKey } = config;
  const request = await signMachineDocument(
    machineKey,
    at,
    permitRequest({ print: id, serial, material, run, ...(lies.load && { load: lies.load }) }),
  );
  const shown = { visa, request: visit.bytes, key: permitKeyDocument };
  return {
    print: id,
    shown,
    request,
    answer: async () => {
      const link = await linkTo(here, await machineTls(there));
      if (link === undefined) throw new Error('the visiting machine is not connected');
      const { callHome } = createVisitorCalls(link, defaultTiming, shown);
      return callHome(request, AbortSignal.timeout(10_000)).finally(() => link.close());
    },
  };
}

/** The holder orders at `here` without a visit. @returns the print */
export async function orderOnly({ here, there }: TwoClouds, licence: string): Promise<string> {
  const body = { type: 'print.request', licence, machine: there.machine } as const;
  const { id, bytes } = await signNew(here.operator, body);
  await here.operator.api.submit(bytes);
  return id;
}
