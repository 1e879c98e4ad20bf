// The part of this package that runs in browsers: documents and sealing, without files, sockets and TLS.
export * from './box.ts';
export * from './directory.ts';
export * from './directory-document.ts';
export * from './documents.ts';
export * from './ledger-facts.ts';
export * from './licence-status.ts';
export * from './mail.ts';
export * from './opening.ts';
export * from './owner-state.ts';
export * from './permit-keys.ts';
export * from './placement.ts';
export * from './registrations.ts';
export * from './sealed-keys.ts';
export * from './session.ts';
export * from './shapes.ts';
export * from './telemetry.ts';
