import { systemClock } from '@millrace/base';
import { checkCertificate, trustOf } from '@millrace/client';
import { type EventRequest, type Ledger, type NoteSigner, openLedger } from '@millrace/ledger';
import { MemoryLog } from '@millrace/stores';
import type { HostileInstallation } from './hostile-installation.ts';

/** Verifies a certificate as a buyer does: offline, with the installation's published keys. */
export function checkAsBuyer({ installation }: Pick<HostileInstallation, 'installation'>, certificate: Uint8Array) {
  return checkCertificate(certificate, trustOf(installation));
}

/** A log with altered events of another log, under an attacker's key. */
export async function rewritten(
  genuine: Ledger,
  signer: NoteSigner,
  change: (event: EventRequest) => EventRequest | undefined = (event) => event,
): Promise<Ledger> {
  const log = await openLedger({
    store: new MemoryLog(),
    signer,
    origin: genuine.origin,
    clock: systemClock,
    map: { changes: Number.MAX_SAFE_INTEGER },
  });
  for (let index = 0; index < genuine.size; index++) {
    const { event } = await genuine.entry(index);
    const { account, type, actor, body, evidence, id } = event;
    const request = change({
      account,
      type,
      actor,
      body,
      // The ids of logged roots are those of their places. This log may log a root of its own there.
      eventId: type === 'mapped' ? `rewritten/${id}` : id,
      ...(evidence === undefined ? {} : { evidence }),
    } as EventRequest);
    if (request !== undefined) await log.append(request);
  }
  return log;
}
