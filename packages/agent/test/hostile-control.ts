import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type Bytes, fromBase64, systemClock, toBase64, toHex } from '@millrace/base';
import { type Authority, createAuthority, fingerprint, generateP256Key, type MemorySigner } from '@millrace/identity';
import { type Address, type Directory, firstDocument, type SignedDirectory, signDirectory } from '@millrace/protocol';

/** What a control node knows of a pairing. */
export interface Carried {
  id: string;
  offer: Bytes;
  answer?: Bytes | undefined;
  certificate?: string | undefined;
}

/**
 * A control node that carries pairings as its test wants. The agent reaches it without knowing its certificate, as it
 * reaches any cloud at its first start.
 */
export class CarryingControl {
  readonly #server: Server;
  readonly carried = new Map<string, Carried>();
  /** Newest id that an agent offered. */
  newest = '';
  directory: unknown;
  /** Resolves with every call of an agent. */
  #called: (() => void)[] = [];

  static async start(authority: Authority): Promise<CarryingControl> {
    const { certificate, key } = await authority.issue({ role: 'control', id: 'control-1' }, ['127.0.0.1']);
    const control = new CarryingControl({ cert: certificate, key: Buffer.from(key) });
    await new Promise<void>((resolve) => control.#server.listen(0, '127.0.0.1', resolve));
    return control;
  }

  private constructor(tls: { cert: string; key: Buffer }) {
    this.#server = createServer(tls, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const answer = this.#answer(request.url ?? '', Buffer.concat(chunks).toString());
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
        for (const resolve of this.#called.splice(0)) resolve();
      });
    });
  }

  get address(): Address {
    return { host: '127.0.0.1', port: (this.#server.address() as AddressInfo).port };
  }

  /** Waits for a call after which `reached` holds. */
  async until<T>(reached: () => T | undefined): Promise<T> {
    for (;;) {
      const value = reached();
      if (value !== undefined) return value;
      await new Promise<void>((resolve) => this.#called.push(resolve));
    }
  }

  #answer(path: string, body: string): unknown {
    if (path.startsWith('/v1/directory')) return this.directory;
    const id = path.split('/').at(-1) ?? '';
    const { offer, answer } = JSON.parse(body) as { offer: string; answer?: string };
    const known = this.carried.get(id) ?? { id, offer: fromBase64(offer) };
    this.carried.set(id, known);
    this.newest = id;
    if (answer !== undefined) known.answer = fromBase64(answer);
    return {
      ...(known.answer && { answer: toBase64(known.answer) }),
      ...(known.certificate && { certificate: known.certificate }),
    };
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** The administrator's part of an installation: a signed directory and its authority. */
export async function createCloud(admin: MemorySigner, installation: string) {
  const authority = await createAuthority('Millrace test', systemClock.now());
  const node = async (role: 'control' | 'distribution' | 'segments' | 'keys') => {
    const { certificate } = await authority.issue({ role, id: `${role}-1` });
    const identity = toHex(generateP256Key().publicKey);
    return { id: `${role}-1`, role, addresses: [], fingerprint: fingerprint(certificate), identity };
  };
  const nodes = await Promise.all((['control', 'distribution', 'segments', 'keys'] as const).map(node));
  const names: Directory = {
    ...{ version: 2, installation, name: 'Test', authority: authority.identity.certificate, nodes },
    permitKey: toHex(generateP256Key().publicKey),
    logKey: 'millrace.test+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    adminKey: toHex(admin.publicKey),
  };
  const signed: SignedDirectory = await signDirectory(admin, firstDocument(names, systemClock.now()));
  return { authority, signed, directory: names };
}
