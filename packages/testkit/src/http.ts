import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { errorOfProblem, type MillraceError } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import { type Address, clientTls, type Directory, nodeOf, protocolHeaders } from '@millrace/protocol';

export interface CallOptions {
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
  readonly body?: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer of any status. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Media type, without parameters. */
  readonly type: string;
  readonly text: string;
  readonly body: Uint8Array;
  /** The coded error, if the answer is a problem document. */
  readonly error: ReturnType<MillraceError['toJSON']> | undefined;
}

/** Sends one HTTPS request exactly as given, including requests that no genuine client sends. */
export function call(
  address: Address,
  directory: Directory,
  node: 'control' | 'distribution',
  identity: TlsIdentity,
  options: CallOptions,
): Promise<Answer> {
  const payload = options.json === undefined ? options.body : JSON.stringify(options.json);
  const type = options.json === undefined ? 'application/octet-stream' : 'application/json';
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        ...address,
        ...clientTls({ authority: directory.authority, identity, pin: nodeOf(directory, node).fingerprint }),
        agent: false,
        method: options.method,
        path: options.path,
        timeout: 120_000,
        headers: {
          ...protocolHeaders,
          ...(payload === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(payload) }),
          ...options.headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => resolve(answerOf(response, Buffer.concat(chunks))));
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')));
    outgoing.on('error', reject);
    outgoing.end(payload);
  });
}

function answerOf({ statusCode: status = 0, headers }: IncomingMessage, body: Buffer): Answer {
  const text = body.toString('utf8');
  let error: Answer['error'];
  try {
    const problem = errorOfProblem(JSON.parse(text));
    if (problem !== undefined) error = problem.toJSON();
  } catch {
    // not JSON
  }
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  return { status, headers, type, text, body, error };
}
