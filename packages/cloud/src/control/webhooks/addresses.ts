import { promises as dns } from 'node:dns';
import { isIP } from 'node:net';
import { MillraceError } from '@millrace/base';
import { addressClass, addressRanges, hostOf } from '@millrace/protocol';
import type { WebhookSettings } from '../../settings.ts';

/** Which addresses webhooks may reach. Receivers are chosen by tenants, and control is in the operator's network. */
export class WebhookAddresses {
  readonly #settings: Pick<WebhookSettings, 'http'>;
  readonly #networks: ReturnType<typeof addressRanges>;

  constructor(settings: Pick<WebhookSettings, 'http' | 'networks'>) {
    this.#settings = settings;
    this.#networks = addressRanges(settings.networks);
  }

  /** Requires https, and, if the host is an address, an allowed one. @throws {MillraceError} E_INPUT */
  requireUrl(text: string): void {
    const url = new URL(text);
    if (url.protocol !== 'https:' && !this.#settings.http)
      throw new MillraceError('E_INPUT', 'the webhook’s address has to begin with https://');
    const host = hostOf(url);
    if (isIP(host) !== 0 && !this.#allows(host))
      throw new MillraceError(
        'E_INPUT',
        'the webhook’s address is not public, and the administrator does not allow it',
      );
  }

  /**
   * The allowed addresses of a host, IPv4 first. Names are asked at the name server, not in the system's table of hosts:
   * a slow answer must not occupy a thread that files need.
   * @returns none if the host has none that is allowed
   */
  async resolve(url: URL, timeoutMs: number): Promise<string[]> {
    const host = hostOf(url);
    return (await addressesOf(host, timeoutMs)).filter((address) => this.#allows(address));
  }

  #allows(address: string): boolean {
    return addressClass(address) === 'public' || this.#networks.has(address);
  }
}

async function addressesOf(host: string, timeout: number): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  if (host === 'localhost') return ['127.0.0.1', '::1']; // RFC 6761
  const resolver = new dns.Resolver({ timeout, tries: 1 });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
}
