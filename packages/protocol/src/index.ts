export * from './browser.ts';
export * from './directory-fetch.ts';
export * from './directory-file.ts';
export * from './http.ts';
export * from './link-messages.ts';
export * from './socket.ts';
export * from './tls-files.ts';
