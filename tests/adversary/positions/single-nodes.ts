import { nodes } from './nodes.ts';

export const control = nodes(
  'control',
  'the permit key and the ledger’s key, all documents, the mailbox; code of its own',
  ['control'],
);
export const segments = nodes('segments', 'all cells, the sessions’ seeds, its links; code of its own', ['segments']);
export const keys = nodes('keys', 'all content keys and playbooks, the sessions’ seeds, its links; code of its own', [
  'keys',
]);
