import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { MillraceError } from '@millrace/base';

const MAX_ANSWER = 1 << 20;

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** The REST API of OctoPrint. */
export class OctoprintApi {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #ms: number;

  constructor(url: string, headers: Readonly<Record<string, string>>, ms: number) {
    this.#url = url;
    this.#headers = headers;
    this.#ms = ms;
  }

  get(path: string): Promise<ApiAnswer> {
    return this.#send('GET', path, undefined);
  }

  /** @param body JSON; wiped when it was sent */
  post(path: string, body: Uint8Array): Promise<ApiAnswer> {
    return this.#send('POST', path, body);
  }

  /** @throws {MillraceError} E_MACHINE if there is no answer, or no permission */
  #send(method: string, path: string, body: Uint8Array | undefined): Promise<ApiAnswer> {
    const request = this.#url.startsWith('https:') ? httpsRequest : httpRequest;
    const json = body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': body.length };
    return new Promise<ApiAnswer>((resolve, reject) => {
      const options = { method, headers: { ...this.#headers, ...json }, signal: AbortSignal.timeout(this.#ms) };
      const sent = request(`${this.#url}${path}`, options, (response) => {
        const parts: Buffer[] = [];
        let length = 0;
        response.on('data', (part: Buffer) => {
          length += part.length;
          if (length > MAX_ANSWER)
            response.destroy(new MillraceError('E_MACHINE', 'an answer of OctoPrint is too long'));
          else parts.push(part);
        });
        response.on('error', reject);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          if (status === 401 || status === 403)
            reject(new MillraceError('E_MACHINE', 'OctoPrint refuses the API key: check the setting `apiKeyFile`'));
          else resolve({ status, body: parsed(Buffer.concat(parts).toString()) });
        });
      });
      sent.on('error', reject);
      sent.end(body);
    })
      .catch((cause: unknown) => {
        if (cause instanceof MillraceError) throw cause;
        throw new MillraceError('E_MACHINE', 'OctoPrint does not answer', { cause });
      })
      .finally(() => body?.fill(0));
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
