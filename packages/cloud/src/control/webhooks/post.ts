import { createHmac } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { rootCertificates } from 'node:tls';
import { hostOf } from '@millrace/protocol';
import type { WebhookAddresses } from './addresses.ts';

/** For name, connection and answer together, ms. */
const TIMEOUT_MS = 15_000;
/** The receiver may ask for a longer pause, up to this, ms. */
const LONGEST_PAUSE_MS = 6 * 3_600_000;

/** What the receiver answered, or why there is no answer. */
export type Posted =
  | { readonly status: number; readonly pauseMs: number }
  | { readonly code: 'E_FORBIDDEN' | 'E_UNAVAILABLE' | 'E_TIMEOUT' };

export interface WebhookRequest {
  readonly url: string;
  readonly id: string;
  readonly body: string;
  /** Each signs: the present secret, and the former one for some time. */
  readonly secrets: readonly Uint8Array[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Headers of Standard Webhooks 1.0.0. The signed content is "id.seconds.body".
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function webhookHeaders({ id, body, secrets, now }: Omit<WebhookRequest, 'url'>): Record<string, string> {
  const seconds = String(Math.floor(now / 1_000));
  const signatureBy = (secret: Uint8Array) =>
    `v1,${createHmac('sha256', secret).update(`${id}.${seconds}.${body}`).digest('base64')}`;
  return {
    'content-type': 'application/json',
    'user-agent': 'Millrace-Webhooks/1',
    'webhook-id': id,
    'webhook-timestamp': seconds,
    'webhook-signature': secrets.map(signatureBy).join(' '),
  };
}

/**
 * Sends one message to an allowed address of its host: to the one that was checked, whatever the name means a moment
 * later. Redirects are not followed. The body of the answer is not read.
 * @param authority further authorities of receivers' certificates, PEM
 */
export async function postWebhook(
  request: WebhookRequest,
  addresses: WebhookAddresses,
  { authority, signal }: { readonly authority?: string | undefined; readonly signal: AbortSignal },
): Promise<Posted> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const url = new URL(request.url);
  const [address] = await addresses.resolve(url, TIMEOUT_MS / 3);
  if (address === undefined) return { code: 'E_FORBIDDEN' };
  const host = hostOf(url);
  const secure = url.protocol === 'https:';
  const send = secure ? httpsRequest : httpRequest;
  return new Promise((resolve) => {
    const outgoing = send(
      {
        ...{ method: 'POST', host: address, path: `${url.pathname}${url.search}`, agent: false },
        ...(url.port !== '' && { port: url.port }),
        // The certificate has to name the host, not the address.
        ...(secure && isIP(host) === 0 && { servername: host }),
        ...(authority !== undefined && { ca: [...rootCertificates, authority] }),
        headers: {
          host: url.host,
          ...webhookHeaders(request),
          'content-length': String(Buffer.byteLength(request.body)),
        },
        signal: AbortSignal.any([timeout, signal]),
      },
      (answer) => {
        resolve({ status: answer.statusCode ?? 0, pauseMs: pauseOf(answer) });
        answer.destroy();
      },
    );
    // Also after the answer, when the connection is cut: a promise settles once.
    outgoing.on('error', () => resolve({ code: timeout.aborted ? 'E_TIMEOUT' : 'E_UNAVAILABLE' }));
    outgoing.end(request.body);
  });
}

/** `Retry-After` in seconds; dates are ignored. */
function pauseOf({ headers }: IncomingMessage): number {
  const seconds = /^\d{1,9}$/.exec(headers['retry-after'] ?? '')?.[0];
  return seconds === undefined ? 0 : Math.min(1_000 * Number(seconds), LONGEST_PAUSE_MS);
}
