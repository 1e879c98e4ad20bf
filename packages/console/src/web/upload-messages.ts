import type { DesignView } from '@millrace/api';
import type { ErrorCode } from '@millrace/base';
import type { Identity } from './identity-shape.ts';
import type { Unlock } from './wrap.ts';

// What the page and the worker of one upload say to each other.

export interface UploadTerms {
  readonly name: string;
  readonly material?: string | undefined;
  /** For designs that are not G-code: bytes a second that the machine takes. */
  readonly bytesPerSecond?: number | undefined;
}

/** A file to be sealed, or a design that is sealed already and whose upload was interrupted. */
export type UploadSource =
  | { readonly file: File; readonly terms: UploadTerms }
  | { readonly design: string; readonly name: string };

export type ToUploadWorker =
  | {
      readonly type: 'start';
      readonly identity: Identity;
      /** Origin of distribution's listener for browsers. */
      readonly uploads: string;
      readonly source: UploadSource;
    }
  | { readonly type: 'unlock'; readonly unlock: Unlock };

export interface Refused {
  readonly code: ErrorCode;
  readonly message: string;
}

export type FromUploadWorker =
  | { readonly type: 'progress'; readonly step: 'sealing' | 'uploading'; readonly done: number; readonly total: number }
  | { readonly type: 'storing' }
  /** The person has to open the key. */
  | { readonly type: 'sign'; readonly failure?: Refused | undefined }
  | { readonly type: 'stored'; readonly design: DesignView }
  | { readonly type: 'failed'; readonly failure: Refused };
