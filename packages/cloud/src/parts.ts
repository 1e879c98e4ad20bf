// Parts of the nodes, for benches that put a fleet together without owners, permits and ledger. Not an interface of the product.
export { BoxRegistry } from './control/boxes.ts';
export type { ControlContext } from './control/context.ts';
export { type Delivery, Mailbox } from './control/mailbox.ts';
export { openRecords, type PrintRecord, type Records } from './control/records.ts';
export { addMailRoutes } from './control/routes.ts';
export { printsPage } from './control/views.ts';
export { runDistributionNode } from './distribution/run.ts';
export { sliceMail } from './keys/slice-mail.ts';
export { type KeyedCell, KeysStream } from './keys/stream.ts';
export { answersInMemory, IdempotentAnswers } from './node/idempotency.ts';
export type { MailClient } from './node/mail-client.ts';
export { connectOutbound, type Outbound } from './node/proactive.ts';
export { createTlsServer, listen } from './node/server.ts';
export { SegmentsStream } from './segments/stream.ts';
export { PaceGuard, windowFor } from './streaming/pace.ts';
