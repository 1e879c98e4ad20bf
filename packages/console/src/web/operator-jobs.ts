import {
  cancelPrint,
  commandPrint,
  loadSpool,
  movePrintFirst,
  reportFailure,
  requestRehearsal,
  type Session,
  verifyRehearsal,
  watchCamera,
  watchRehearsal,
} from '@millrace/client';
import { type CaseReason, parseMaterialText } from '@millrace/protocol';
import type { PrintCommand } from '@millrace/protocol/shapes';
import type { Identity } from './identity-shape.ts';
import { smallPhoto } from './small-photo.ts';

interface OfOperator {
  readonly identity: Identity;
}

/** What operators sign about prints, spools and failures. */
export type OperatorJob = OfOperator &
  (
    | { readonly type: 'command'; readonly print: string; readonly command: PrintCommand }
    | { readonly type: 'first'; readonly print: string }
    | { readonly type: 'clear'; readonly prints: readonly string[] }
    | { readonly type: 'watch-camera'; readonly machine: string }
    | { readonly type: 'rehearse'; readonly licence: string; readonly machine: string }
    /** @param code text of the label of a certified spool */
    | { readonly type: 'load-spool'; readonly machine: string; readonly code: string }
    | {
        readonly type: 'report-failure';
        readonly object: string;
        readonly licence: string;
        readonly reason: CaseReason;
        readonly text?: string;
        /** JPEG or PNG, as the camera made it. */
        readonly photo?: Blob;
      }
  );

/** What a machine has answered to a rehearsal, as its key has signed it. */
export interface Rehearsed {
  readonly outcome: 'fits' | 'does-not-fit' | undefined;
  readonly rules: readonly string[];
  /** Why nobody has judged. */
  readonly code: string | undefined;
}

/** @throws {MillraceError} */
export async function performForOperator(job: OperatorJob, session: Session): Promise<unknown> {
  switch (job.type) {
    case 'command':
      return commandPrint(session, job.print, job.command);
    case 'first':
      return movePrintFirst(session, job.print);
    case 'clear':
      for (const print of job.prints) await cancelPrint(session, print);
      return undefined;
    case 'watch-camera':
      return watchCamera(session, job.machine);
    case 'rehearse':
      return rehearse(session, job.licence, job.machine);
    case 'load-spool':
      return loadSpool(session, job.machine, { certificate: parseMaterialText(job.code.trim()) });
    case 'report-failure': {
      const { object, licence, reason, text, photo } = job;
      const shown = {
        ...(text === undefined ? {} : { text }),
        ...(photo === undefined ? {} : { photo: await smallPhoto(photo) }),
      };
      return reportFailure(session, { object, licence }, { reason, ...shown });
    }
  }
}

async function rehearse(session: Session, licence: string, machine: string): Promise<Rehearsed> {
  const view = await watchRehearsal(session, await requestRehearsal(session, licence, machine, 60_000));
  if (view.state !== 'answered' || view.result === undefined)
    return { outcome: undefined, rules: [], code: view.code ?? view.state };
  const { outcome, rules, code } = await verifyRehearsal(session, view);
  return { outcome: outcome === 'refused' ? undefined : outcome, rules, code };
}
