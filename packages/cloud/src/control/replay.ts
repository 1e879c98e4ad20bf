import { MillraceError } from '@millrace/base';

export function replay(id: string): MillraceError {
  return new MillraceError('E_REPLAY', 'this transaction was already used', { data: { id } });
}
