import type { ErrorCode } from '@millrace/base';
import type { Disclosure } from '@millrace/protocol';
import type { CompanyJob } from './company-jobs.ts';
import type { Identity } from './identity-shape.ts';
import type { OperatorJob } from './operator-jobs.ts';
import type { PeopleJob } from './people-jobs.ts';
import type { WebhookJob } from './webhook-jobs.ts';
import type { Unlock } from './wrap.ts';

// What a page asks the worker that has the person's key. Every job opens the key once, after a gesture, and wipes it.

export type Job =
  | {
      readonly type: 'enrol';
      /** Text of an invitation. */
      readonly invitation: string;
      readonly device: string;
      readonly salt: Uint8Array<ArrayBuffer>;
      /** Identifier of the passkey, base64. */
      readonly passkey?: string | undefined;
    }
  | { readonly type: 'sign-in'; readonly identity: Identity }
  | { readonly type: 'print'; readonly identity: Identity; readonly licence: string; readonly machine: string }
  | { readonly type: 'cancel'; readonly identity: Identity; readonly print: string }
  | {
      readonly type: 'grant';
      readonly identity: Identity;
      readonly design: string;
      readonly objects: number;
      readonly machines: readonly string[];
      readonly materials: readonly string[];
      readonly days: number;
      readonly disclose: readonly Disclosure[];
      /** Name or identifier of an organisation. */
      readonly holder: string;
    }
  | CompanyJob
  | OperatorJob
  | PeopleJob
  | WebhookJob;

export interface JobRequest {
  readonly origin: string;
  readonly unlock: Unlock;
  readonly job: Job;
}

export type JobAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };
