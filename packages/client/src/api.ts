import { type Bytes, type Clock, MillraceError, parse, retry, toBase64 } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import { z } from 'zod';
import {
  type CheckView,
  checkAnswer,
  checkStarted,
  type DesignView,
  designAnswer,
  type LicenceView,
  ledgerCheckAnswer,
  licenceAnswer,
  type MachineView,
  machineAnswer,
  type ObjectView,
  objectAnswer,
  type PrintView,
  printAnswer,
  repairAnswer,
  type StatusView,
  statusAnswer,
  ticketAnswer,
  transactionAnswer,
  uploadAnswer,
} from './answers.ts';

export interface Attachments {
  readonly manifest?: Uint8Array;
  readonly keys?: Uint8Array;
  readonly secret?: Uint8Array;
}

/** The two passive nodes as one user sees them. Every method throws the coded error that the node answered. */
export interface Api {
  /** Submits a signed transaction; safe when the answer to a first attempt was lost. */
  submit(transaction: Uint8Array, attachments?: Attachments): Promise<void>;
  designs(): Promise<DesignView[]>;
  design(id: string): Promise<DesignView>;
  designUploaded(id: string): Promise<void>;
  /** What the owner sealed to itself when it added the design. @throws {MillraceError} E_NOT_FOUND */
  privatePart(design: string): Promise<Bytes>;
  /** Asks for uploaded segments to be stored again. Returns the repair's identifier. */
  repair(id: string, segments: readonly number[]): Promise<string>;
  upload(design: string, segment: number, sealed: Uint8Array): Promise<void>;
  /** Segments that the distribution node lacks, the first thousand. */
  missing(design: string, segments: number): Promise<{ have: number; missing: number[] }>;
  /** The newest directory that control has, when it is newer than `after`; as the administrator signed it: to be verified. */
  newerDirectory(after: number): Promise<unknown>;
  /** The keys node's newest box key for what owners attach, as it signed it: to be verified. */
  attachmentBox(node: string): Promise<Bytes>;
  licences(): Promise<LicenceView[]>;
  licence(id: string): Promise<LicenceView>;
  machines(): Promise<MachineView[]>;
  prints(): Promise<PrintView[]>;
  print(id: string): Promise<PrintView>;
  objects(): Promise<ObjectView[]>;
  object(id: string): Promise<ObjectView>;
  certificate(object: string): Promise<Bytes>;
  checkpoint(): Promise<Bytes>;
  /** A tile by its C2SP path ("tile/0/000"). */
  tile(path: string): Promise<Bytes>;
  ledgerCheck(): Promise<z.output<typeof ledgerCheckAnswer>>;
  status(): Promise<StatusView>;
  beginVaultCheck(deep: boolean): Promise<string>;
  vaultCheck(id: string): Promise<CheckView>;
  close(): void;
}

/** How calls travel to each node that clients call. */
export interface Transports {
  readonly control: HttpClient;
  readonly distribution: HttpClient;
}

export interface ApiOptions {
  readonly transports: Transports;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** How long reads and uploads go on asking while a node is away. */
  readonly patienceMs?: number;
}

/** Longest wait for a newer directory: the one at hand serves. */
const DIRECTORY_MS = 3_000;

/** The node did not answer: it is restarted within seconds. An error that it answered with is the caller's to handle. */
function isUnanswered(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_UNAVAILABLE' || error.code === 'E_TIMEOUT');
}

export function createApi({ transports, clock, signal, patienceMs = 30_000 }: ApiOptions): Api {
  const { control, distribution } = transports;
  const again = { now: () => clock.monotonic(), signal, forMs: patienceMs, mostMs: 2_000, when: isUnanswered };

  const read = <S extends z.ZodType>(
    client: HttpClient,
    path: string,
    schema: S,
    headers: Record<string, string> = {},
  ): Promise<z.output<S>> =>
    retry(async () => understand(schema, (await client.call('GET', path, { signal, headers })).json(), path), again);

  /** A whole list, page by page. */
  const readAll = async <S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>[]> => {
    const items: z.output<S>[] = [];
    let cursor: string | undefined;
    do {
      const query = new URLSearchParams({ limit: '200', ...(cursor !== undefined && { cursor }) });
      const page: { items: z.output<S>[]; next?: string | undefined } = await read(
        control,
        `${path}?${query}`,
        z.object({ items: z.array(schema), next: z.string().optional() }),
      );
      items.push(...page.items);
      cursor = page.next;
    } while (cursor !== undefined);
    return items;
  };

  /** Control's word for the distribution node, by design; another one when it has expired, or its key was replaced. */
  const tickets = new Map<string, Promise<string>>();
  const withTicket = async <T>(design: string, call: (headers: Record<string, string>) => Promise<T>): Promise<T> => {
    for (let renewed = false; ; renewed = true) {
      const asked =
        tickets.get(design) ??
        read(control, `/v1/designs/${part(design)}/ticket`, ticketAnswer).then(({ ticket }) => ticket);
      tickets.set(design, asked);
      try {
        return await call({ 'millrace-ticket': await asked });
      } catch (error) {
        if (tickets.get(design) === asked) tickets.delete(design);
        const old = error instanceof MillraceError && (error.code === 'E_EXPIRED' || error.code === 'E_AUTH');
        if (renewed || !old) throw error;
      }
    }
  };
  const bytes = (path: string): Promise<Bytes> =>
    retry(async () => (await control.call('GET', path, { signal })).body, again);

  const submit = async (transaction: Uint8Array, attachments: Attachments = {}) => {
    const json = { transaction: toBase64(transaction), attachments: encode(attachments) };
    let uncertain = false;
    await retry(async () => {
      try {
        const reply = await control.call('POST', '/v1/transactions', { json, signal, timeoutMs: 60_000 });
        understand(transactionAnswer, reply.json(), 'transaction');
      } catch (error) {
        // The answer to an earlier attempt was lost, and the transaction had been acted on.
        const acted = error instanceof MillraceError && (error.code === 'E_REPLAY' || error.code === 'E_CONFLICT');
        if (uncertain && acted) return;
        uncertain ||= isUnanswered(error);
        throw error;
      }
    }, again);
  };

  return {
    submit,
    designs: () => readAll('/v1/designs', designAnswer),
    design: (id) => read(control, `/v1/designs/${part(id)}`, designAnswer),
    designUploaded: async (id) => {
      await retry(() => control.call('POST', `/v1/designs/${part(id)}/uploaded`, { signal }), again);
    },
    privatePart: (design) => bytes(`/v1/designs/${part(design)}/private`),
    repair: async (id, segments) => {
      const path = `/v1/designs/${part(id)}/repair`;
      const reply = await retry(() => control.call('POST', path, { json: { segments }, signal }), again);
      return understand(repairAnswer, reply.json(), path).repair;
    },
    upload: async (design, segment, sealed) => {
      const path = `/v1/uploads/${part(design)}/${segment}`;
      await withTicket(design, (headers) =>
        retry(() => distribution.call('PUT', path, { body: sealed, signal, headers }), again),
      );
    },
    missing: async (design, segments) => {
      const path = `/v1/uploads/${part(design)}?segments=${segments}`;
      const { have, missing = [] } = await withTicket(design, (headers) =>
        read(distribution, path, uploadAnswer, headers),
      );
      return { have, missing };
    },
    newerDirectory: async (after) => {
      const reply = await control.call('GET', `/v1/directory?after=${after}`, { signal, timeoutMs: DIRECTORY_MS });
      return reply.status === 204 ? undefined : reply.json();
    },
    attachmentBox: (node) => bytes(`/v1/boxes/${part(node)}/attachments`),
    licences: () => readAll('/v1/licences', licenceAnswer),
    licence: (id) => read(control, `/v1/licences/${part(id)}`, licenceAnswer),
    machines: () => readAll('/v1/machines', machineAnswer),
    prints: () => readAll('/v1/prints', printAnswer),
    print: (id) => read(control, `/v1/prints/${part(id)}`, printAnswer),
    objects: () => readAll('/v1/objects', objectAnswer),
    object: (id) => read(control, `/v1/objects/${part(id)}`, objectAnswer),
    certificate: (object) => bytes(`/v1/objects/${part(object)}/certificate`),
    checkpoint: () => bytes('/v1/ledger/checkpoint'),
    tile: (path) => bytes(`/v1/ledger/${path}`),
    ledgerCheck: () => read(control, '/v1/ledger/verify', ledgerCheckAnswer),
    status: () => read(control, '/v1/status', statusAnswer),
    beginVaultCheck: async (deep) => {
      const reply = await control.call('POST', '/v1/vault/checks', { json: { deep }, signal });
      return understand(checkStarted, reply.json(), 'check').check;
    },
    vaultCheck: (id) => read(control, `/v1/vault/checks/${part(id)}`, checkAnswer),
    close: () => {
      control.close();
      distribution.close();
    },
  };
}

/** One segment of a path: identifiers come from users. */
function part(id: string): string {
  return encodeURIComponent(id);
}

function encode(attachments: Attachments): Record<string, string> {
  return Object.fromEntries(
    Object.entries(attachments).flatMap(([name, value]) => (value === undefined ? [] : [[name, toBase64(value)]])),
  );
}

/** An answer that is not what was agreed is the server's fault, not the user's input. */
function understand<S extends z.ZodType>(schema: S, json: unknown, what: string): z.output<S> {
  return parse(schema, json, `answer of the node (${what})`, 'E_UNAVAILABLE');
}
