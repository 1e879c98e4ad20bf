import type { PermitRequest } from '@millrace/protocol';

/** A machine's request for the permit of a print, unsigned. Fields that are not stated have usual values. */
export function permitRequest(stated: Pick<PermitRequest, 'print' | 'serial'> & Partial<PermitRequest>): PermitRequest;
