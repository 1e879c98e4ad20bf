import {
  type CaseView,
  type CborCodec,
  type CheckView,
  controlRoutes,
  createApiClient,
  type DesignView,
  distributionRoutes,
  everyPage,
  type GroupView,
  type InvitationView,
  type KeyView,
  type LedgerCheckView,
  type LicenceView,
  MAX_LIMIT,
  type MachineView,
  type MapAnswer,
  type MapQuery,
  type MaterialView,
  type ObjectView,
  type OdometerView,
  type OpeningView,
  type OrganisationView,
  type Page,
  type PairingView,
  type PrintView,
  type RehearsalView,
  type RequestOptions,
  type SettingsView,
  type SignedDocumentView,
  type SpoolStatementView,
  type SpoolView,
  type StatusView,
  TICKET_HEADER,
  type TokenView,
  type UsageQuery,
  type UsageSpan,
  type UsageTotalView,
  type VisitView,
  type WebhookMessageView,
  type WebhookView,
} from '@millrace/api';
import {
  type Bytes,
  type Clock,
  decodeCbor,
  encodeCbor,
  fromBase64,
  MillraceError,
  retry,
  systemRandom,
  toBase64,
  toHex,
} from '@millrace/base';
import type { Attested, HttpClient, PrintCommand, SignedDirectory, UsageRecord } from '@millrace/protocol';

export interface Attachments {
  readonly manifest?: Uint8Array;
  readonly keys?: Uint8Array;
  readonly secret?: Uint8Array;
  readonly evidence?: Uint8Array;
}

/** Documents behind a licence, as control provides them. */
export interface LicenceDocuments {
  readonly grant: Attested;
  /** Approvals, extensions and transfers, in order. */
  readonly amendments: readonly Attested[];
  /** The design's core. */
  readonly core: Bytes;
}

/** The two passive nodes as seen by one user. Every method throws the coded error that the node answered. */
export interface Api {
  /** Submits a signed transaction. Safe to retry if the answer was lost. */
  submit(transaction: Uint8Array, attachments?: Attachments): Promise<void>;
  designs(): Promise<DesignView[]>;
  design(id: string): Promise<DesignView>;
  designUploaded(id: string): Promise<void>;
  /** The part that the owner sealed to itself when adding the design. @throws {MillraceError} E_NOT_FOUND */
  privatePart(design: string): Promise<Bytes>;
  /** What a colleague sealed to the user's key. The caller must verify it. @throws {MillraceError} E_NOT_FOUND */
  designShare(design: string): Promise<Attested>;
  /** Requests that uploaded segments are stored again. @returns the repair's identifier */
  repair(id: string, segments: readonly number[]): Promise<string>;
  /** @param sealed one segment, or several in a row that begin with this number */
  upload(design: string, segment: number, sealed: Uint8Array): Promise<void>;
  /** Segments that the distribution node lacks; at most the first thousand. */
  missing(design: string, segments: number): Promise<{ have: number; missing: number[] }>;
  /** Has further calls about uploads of the design go to another distribution node, if there are several. */
  uploadElsewhere(design: string): void;
  /** Control's newest directory, if newer than `after`. Signed by the administrator; the caller must verify it. */
  newerDirectory(after: number): Promise<unknown>;
  /** The keys node's newest box key for attachments of owners. Signed by the keys node; the caller must verify it. */
  attachmentBox(node: string): Promise<Bytes>;
  organisations(): Promise<OrganisationView[]>;
  /** Keys of the people in an organisation. */
  organisationKeys(organisation: string): Promise<KeyView[]>;
  organisationInvitations(organisation: string): Promise<InvitationView[]>;
  /** @throws {MillraceError} E_NOT_FOUND */
  key(id: string): Promise<KeyView>;
  /** Documents signed by the key that are valid until it is revoked. */
  keyDocuments(key: string): Promise<SignedDocumentView[]>;
  /** Control's lists of revoked keys. The caller must verify them. */
  revocations(): Promise<Uint8Array[]>;
  /**
   * Gives a newer directory to control.
   * @throws {MillraceError} E_DIRECTORY, E_FORBIDDEN unless the user is the administrator
   */
  publishDirectory(signed: SignedDirectory): Promise<void>;
  /**
   * Publishes a list of revoked keys to control and to distribution, so that neither can withhold it from the others.
   */
  publishRevocations(list: Uint8Array): Promise<void>;
  /** Issues a TLS certificate, PEM, for a signed `certificate.request`. */
  certificateFor(request: Uint8Array): Promise<string>;
  /** API tokens of the user's key. */
  tokens(): Promise<TokenView[]>;
  organisationTokens(organisation: string): Promise<TokenView[]>;
  /** Webhooks of the user's key. */
  webhooks(): Promise<WebhookView[]>;
  organisationWebhooks(organisation: string): Promise<WebhookView[]>;
  /** The newest first. */
  webhookMessages(webhook: string): Promise<WebhookMessageView[]>;
  licences(): Promise<LicenceView[]>;
  /** The signed documents of a licence. The caller must verify them. */
  licenceDocuments(id: string): Promise<LicenceDocuments>;
  licence(id: string): Promise<LicenceView>;
  /** All usage records of the user's licences, as control computes them from the first `size` entries of the ledger. */
  usage(
    query: Omit<Partial<UsageQuery>, 'cursor'>,
  ): Promise<{ readonly records: UsageRecord[]; readonly size: number; readonly at: number }>;
  /** Totals of all owners. Only for the administrator. */
  usageTotals(query: UsageSpan): Promise<UsageTotalView[]>;
  machines(): Promise<MachineView[]>;
  /** Groups of machines and sites, of all organisations. The caller must verify them. */
  groups(): Promise<GroupView[]>;
  /** What an agent offers for pairing. The caller must verify it with the code. @throws {MillraceError} E_NOT_FOUND */
  pairing(id: string): Promise<{ readonly offer: Bytes; readonly certified: boolean }>;
  answerPairing(id: string, answer: Bytes): Promise<void>;
  /** Paired agents that wait for the administrator. The caller must verify what their operators signed. */
  pairings(): Promise<PairingView[]>;
  admitPairing(id: string, certificate: string): Promise<void>;
  /** @throws {MillraceError} E_NOT_FOUND until the machine has asked for a permit */
  odometer(machine: string): Promise<OdometerView>;
  /** Material certificates of the user’s organisation. The caller must verify them. */
  materials(): Promise<MaterialView[]>;
  /** Spools that the user's organisation has loaded. */
  spools(): Promise<SpoolView[]>;
  /** Statements on the spools of a machine, the oldest first. The caller must verify them. */
  spoolStatements(machine: string): Promise<SpoolStatementView[]>;
  prints(): Promise<PrintView[]>;
  print(id: string): Promise<PrintView>;
  /** Submits a signed `print.command`. It is sent once: whether a lost one was obeyed, the print shows. */
  commandPrint(print: string, command: PrintCommand, transaction: Uint8Array): Promise<void>;
  /** The newest settings of a machine from elsewhere. The caller must verify them. @throws {MillraceError} E_NOT_FOUND */
  settings(machine: string): Promise<SettingsView>;
  /** Rehearsals of the user's designs and licences. The caller must verify their answers. */
  rehearsals(): Promise<RehearsalView[]>;
  rehearsal(id: string): Promise<RehearsalView>;
  /** Visits of machines of this cloud to other clouds that the user has requested. */
  visits(): Promise<VisitView[]>;
  visit(id: string): Promise<VisitView>;
  cases(): Promise<CaseView[]>;
  /** Text and photo of an object's case, sealed to the owner. */
  caseEvidence(object: string): Promise<Bytes>;
  objects(): Promise<ObjectView[]>;
  object(id: string): Promise<ObjectView>;
  certificate(object: string): Promise<Bytes>;
  checkpoint(): Promise<Bytes>;
  /** A tile by its C2SP path ("tile/0/000"). */
  tile(path: string): Promise<Bytes>;
  /** One page of the openings that the user may read, in the order of the log. */
  openings(cursor?: string): Promise<Page<OpeningView>>;
  /** What the map of accounts has of at most `MAX_LIMIT` accounts. The caller must verify it. */
  mapProofs(query: MapQuery): Promise<MapAnswer>;
  ledgerCheck(): Promise<LedgerCheckView>;
  status(): Promise<StatusView>;
  /** Metrics of all nodes in the Prometheus text format. */
  metrics(): Promise<Bytes>;
  beginVaultCheck(deep: boolean): Promise<string>;
  vaultCheck(id: string): Promise<CheckView>;
  close(): void;
}

/** The transport for each node that clients call. */
export interface Transports {
  readonly control: HttpClient;
  readonly distribution: HttpClient;
  /** Turns from the distribution node in use for a design to the next one. Absent if there is never another one. */
  readonly turn?: (design: string) => void;
}

export interface ApiOptions {
  readonly transports: Transports;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** How long reads and uploads are retried while a node is unavailable, ms. */
  readonly patienceMs?: number;
}

const cbor: CborCodec = {
  encode: (value) => encodeCbor(value as never),
  decode: (bytes) => decodeCbor(bytes, 'answer', 'E_UNAVAILABLE'),
};

/** Control answers a command when the machine has obeyed, or says that it does not: within this time, ms. */
const COMMAND_MS = 40_000;

/** Maximum wait for a newer directory, ms. After that the known one is used. */
const DIRECTORY_MS = 3_000;

/** Whether the node did not answer; it is restarted within seconds. Errors that it answered are left to the caller. */
function isUnanswered(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_UNAVAILABLE' || error.code === 'E_TIMEOUT');
}

export function createApi({ transports, clock, signal, patienceMs = 30_000 }: ApiOptions): Api {
  const { control, distribution } = transports;
  const again = { now: () => clock.monotonic(), signal, forMs: patienceMs, mostMs: 2_000, when: isUnanswered };

  const nodes = {
    control: createApiClient(controlRoutes, { transport: control, cbor }),
    distribution: createApiClient(distributionRoutes, { transport: distribution, cbor }),
  };
  const read = <T>(call: () => Promise<T>): Promise<T> => retry(call, again);
  const list = <T>(page: (query: { cursor?: string; limit: number }) => Promise<Page<T>>): Promise<T[]> =>
    everyPage((cursor) => read(() => page({ limit: MAX_LIMIT, ...(cursor === undefined ? {} : { cursor }) })));
  /** All attempts use the same idempotency key, so that the node repeats an answer that was lost. */
  const write = <T>(call: (options: RequestOptions) => Promise<T>): Promise<T> => {
    const options = { signal, idempotencyKey: toHex(systemRandom(16)) };
    return retry(() => call(options), again);
  };

  /** Upload tickets signed by control, by design. An expired ticket, or one whose key was replaced, is renewed once. */
  const tickets = new Map<string, Promise<string>>();
  const withTicket = async <T>(design: string, call: (headers: Record<string, string>) => Promise<T>): Promise<T> => {
    for (let renewed = false; ; renewed = true) {
      const asked =
        tickets.get(design) ??
        read(() => nodes.control.designs.ticket({ id: design }, { signal })).then(({ ticket }) => ticket);
      tickets.set(design, asked);
      try {
        return await call({ [TICKET_HEADER]: await asked });
      } catch (error) {
        if (tickets.get(design) === asked) tickets.delete(design);
        const old = error instanceof MillraceError && (error.code === 'E_EXPIRED' || error.code === 'E_AUTH');
        if (renewed || !old) throw error;
      }
    }
  };
  const submit = async (transaction: Uint8Array, attachments: Attachments = {}) => {
    const body = { transaction: toBase64(transaction), attachments: encode(attachments) };
    let uncertain = false;
    await write(async (options) => {
      try {
        await nodes.control.transactions.submit({ body }, { ...options, timeoutMs: 60_000 });
      } catch (error) {
        // Control was restarted after it had executed the transaction and before it stored the answer.
        const acted = error instanceof MillraceError && (error.code === 'E_REPLAY' || error.code === 'E_CONFLICT');
        if (uncertain && acted) return;
        uncertain ||= isUnanswered(error);
        throw error;
      }
    });
  };

  const { organisations, keys, enrolments, revocations, tokens, webhooks } = nodes.control;
  const { groups, materials, spools, visits, rehearsals, settings, pairings } = nodes.control;
  const {
    directory,
    designs,
    boxes,
    licences,
    machines,
    prints,
    cases,
    objects,
    ledger,
    metrics,
    status,
    usage,
    checks,
  } = nodes.control;
  const { uploads } = nodes.distribution;
  return {
    submit,
    designs: () => list((query) => designs.list(query, { signal })),
    design: (id) => read(() => designs.get({ id }, { signal })),
    designUploaded: async (id) => {
      await write((options) => designs.uploaded({ id }, options));
    },
    privatePart: (id) => read(() => designs.private({ id }, { signal })),
    designShare: async (id) => attested(await read(() => designs.share({ id }, { signal }))),
    repair: async (id, segments) =>
      (await write((options) => designs.repair({ id, body: { segments: [...segments] } }, options))).repair,
    upload: async (design, segment, sealed) => {
      await withTicket(design, (headers) =>
        read(() => uploads.put({ design, segment, body: sealed }, { signal, headers })),
      );
    },
    missing: (design, segments) =>
      withTicket(design, (headers) => read(() => uploads.list({ design, segments }, { signal, headers }))),
    uploadElsewhere: (design) => transports.turn?.(design),
    newerDirectory: (after) => directory.newest({ after }, { signal, timeoutMs: DIRECTORY_MS }),
    attachmentBox: (node) => read(() => boxes.newest({ node, use: 'attachments' }, { signal })),
    organisations: () => list((query) => organisations.list(query, { signal })),
    organisationKeys: (id) => list((query) => organisations.keys({ id, ...query }, { signal })),
    organisationInvitations: (id) => list((query) => organisations.invitations({ id, ...query }, { signal })),
    key: (id) => read(() => keys.get({ id }, { signal })),
    keyDocuments: async (id) => (await read(() => keys.documents({ id }, { signal }))).documents,
    revocations: () => read(() => revocations.get({}, { signal })),
    publishDirectory: async (body) => {
      await write((options) => directory.publish({ body }, options));
    },
    publishRevocations: async (body) => {
      await write((options) => revocations.publish({ body }, options));
      await write((options) => nodes.distribution.revocations.publish({ body }, options));
    },
    certificateFor: async (request) =>
      (await enrolments.certificate({ body: { request: toBase64(request) } }, { signal })).certificate,
    tokens: () => list((query) => tokens.list(query, { signal })),
    organisationTokens: (id) => list((query) => organisations.tokens({ id, ...query }, { signal })),
    webhooks: () => list((query) => webhooks.list(query, { signal })),
    organisationWebhooks: (id) => list((query) => organisations.webhooks({ id, ...query }, { signal })),
    webhookMessages: (id) => list((query) => webhooks.messages({ id, ...query }, { signal })),
    licences: () => list((query) => licences.list(query, { signal })),
    licenceDocuments: async (id) => {
      const { grant, amendments, core } = await read(() => licences.documents({ id }, { signal }));
      return { grant: attested(grant), amendments: amendments.map(attested), core: fromBase64(core) };
    },
    licence: (id) => read(() => licences.get({ id }, { signal })),
    odometer: (id) => read(() => machines.odometer({ id }, { signal })),
    pairing: async (id) => {
      const { offer, certified } = await read(() => pairings.get({ id }, { signal }));
      return { offer: fromBase64(offer), certified };
    },
    answerPairing: async (id, answer) => {
      await write((options) => pairings.answer({ id, body: { answer: toBase64(answer) } }, options));
    },
    pairings: async () => (await read(() => pairings.list({}, { signal }))).pairings,
    admitPairing: async (id, certificate) => {
      await write((options) => pairings.admit({ id, body: { certificate } }, options));
    },
    usage: async (query) => {
      let [size, at] = [0, 0];
      const records = await everyPage(async (cursor) => {
        const asked = { limit: MAX_LIMIT, ...defined(query), ...(cursor === undefined ? {} : { cursor }) };
        const page = await read(() => usage.list(asked, { signal }));
        ({ size, at } = page);
        return page;
      });
      return { records, size, at };
    },
    usageTotals: async (query) => (await read(() => usage.totals(defined(query), { signal }))).totals,
    machines: () => list((query) => machines.list(query, { signal })),
    groups: () => list((query) => groups.list(query, { signal })),
    materials: () => list((query) => materials.list(query, { signal })),
    spools: () => list((query) => spools.list(query, { signal })),
    spoolStatements: (id) => list((query) => spools.statements({ id, ...query }, { signal })),
    prints: () => list((query) => prints.list(query, { signal })),
    print: (id) => read(() => prints.get({ id }, { signal })),
    commandPrint: async (id, command, transaction) => {
      const body = { transaction: toBase64(transaction) };
      await prints[command]({ id, body }, { signal, timeoutMs: COMMAND_MS });
    },
    settings: (id) => read(() => settings.get({ id }, { signal })),
    rehearsals: () => list((query) => rehearsals.list(query, { signal })),
    rehearsal: (id) => read(() => rehearsals.get({ id }, { signal })),
    visits: () => list((query) => visits.list(query, { signal })),
    visit: (id) => read(() => visits.get({ id }, { signal })),
    cases: () => list((query) => cases.list(query, { signal })),
    caseEvidence: (id) => read(() => cases.evidence({ id }, { signal })),
    objects: () => list((query) => objects.list(query, { signal })),
    object: (id) => read(() => objects.get({ id }, { signal })),
    certificate: (id) => read(() => objects.certificate({ id }, { signal })),
    checkpoint: () => read(() => ledger.checkpoint({}, { signal })),
    tile: (path) => read(() => ledger.tile({ path: path.replace(/^tile\//, '') }, { signal })),
    openings: (cursor) =>
      read(() => ledger.openings({ limit: MAX_LIMIT, ...(cursor === undefined ? {} : { cursor }) }, { signal })),
    mapProofs: (body) => read(() => ledger.map({ body }, { signal })),
    ledgerCheck: () => read(() => ledger.verify({}, { signal })),
    status: () => read(() => status.get({}, { signal })),
    metrics: () => read(() => metrics.read({}, { signal })),
    beginVaultCheck: async (deep) => (await checks.begin({ body: { deep } }, { signal })).check,
    vaultCheck: (id) => read(() => checks.get({ id }, { signal })),
    close: () => {
      control.close();
      distribution.close();
    },
  };
}

function encode(attachments: Attachments): Record<string, string> {
  return Object.fromEntries(
    Object.entries(attachments).flatMap(([name, value]) => (value === undefined ? [] : [[name, toBase64(value)]])),
  );
}

function attested({ transaction, credential }: { transaction: string; credential: string }): Attested {
  return { transaction: fromBase64(transaction), credential: fromBase64(credential) };
}

/** Without fields that are undefined: they would be sent as text. */
const defined = <T extends object>(query: T): T =>
  Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined)) as T;
