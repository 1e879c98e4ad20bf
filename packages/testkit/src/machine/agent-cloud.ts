import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import {
  type Bytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  MillraceError,
  Mutex,
  systemRandom,
  toHex,
} from '@millrace/base';
import {
  type Authority,
  generateUserKey,
  keyName,
  type MemorySigner,
  ownerSealingKey,
  type P256Key,
  partyOf,
} from '@millrace/identity';
import {
  type Address,
  type Attested,
  type Directory,
  decodeLink,
  encodeControl,
  type LinkControl,
  type Machine,
  type MachineReport,
  type OwnerState,
  objectId,
  offerSession,
  openingHash as openingHashOf,
  openOwnerFacts,
  openOwnerState,
  type Permit,
  type PermitRequest,
  readSpoolLoad,
  registrationHash,
  type SettingsReport,
  type SpoolProof,
  type StreamParameters,
  sha256,
  signPermit,
  signTransaction,
  spoolFacts,
  type Telemetry,
  type TransactionOf,
  usualDisclosures,
  verifyMachineDocument,
} from '@millrace/protocol';
import { WebSocket, WebSocketServer } from 'ws';
import { makeInstallation } from './agent-cloud-keys.ts';
import { type CallHomeAnswer, type CloudOptions, CloudStream, type Meddling } from './agent-cloud-stream.ts';
import { sealedSecrets } from './agent-design.ts';

/**
 * All nodes of the cloud in one object, honest unless a test changes their behaviour. It uses the agent's real link and
 * real sessions.
 */
export class TestCloud {
  readonly options: CloudOptions;
  readonly directory: Directory;
  readonly machineKey: P256Key;
  readonly machineTls: { certificate: string; key: Bytes };
  readonly authority: Authority;
  readonly permitKey: P256Key;
  readonly keysNode: P256Key;
  readonly admin: MemorySigner;
  readonly registration: Machine;
  readonly holder = generateUserKey();
  /** Key to which the machine seals state that only the owner may read. */
  readonly sealingKey = ownerSealingKey(systemRandom(32));
  readonly reports: MachineReport[] = [];
  readonly requests: PermitRequest[] = [];
  /** Settings that wait for the machine, and its reports on them. */
  settings: Record<string, unknown> | undefined;
  readonly settingsReports: SettingsReport[] = [];
  /** The proof of the spool that is loaded on the machine. */
  spool: SpoolProof | undefined;
  /** Signed commands that wait for the agent, and what became of those that it took. */
  readonly commands: Attested[] = [];
  readonly commanded: { readonly command: string; readonly refusal?: { readonly code: string } }[] = [];
  /** Requests for pictures of the camera, and what the agent answered. */
  readonly looks: object[] = [];
  readonly looked: { look: string; picture?: Uint8Array; refusal?: { code: string } }[] = [];
  readonly requestBytes: Bytes[] = [];
  readonly telemetry: Telemetry[] = [];
  readonly sessions: CloudStream[] = [];
  /** All bytes on the link, in both directions. */
  readonly wire: Bytes[] = [];
  meddling: Meddling;
  /** Signed print requests by id, in order. */
  readonly prints = new Map<string, Bytes>();
  licence = new Uint8Array();
  /** The administrator's registrations of the design's owner and of the licence's holder. */
  ownerDocument = new Uint8Array();
  holderDocument = new Uint8Array();
  connections = 0;
  /** Whether connections are refused. */
  away = false;
  readonly #server: Server;
  #port = 0;
  readonly #sockets: WebSocketServer;
  readonly #permits = new Map<string, CallHomeAnswer>();
  #socket: WebSocket | undefined;
  #calls = 0;
  #asked = 0;
  #changed: (() => void)[] = [];

  private constructor(options: CloudOptions, made: Awaited<ReturnType<typeof makeInstallation>>) {
    this.options = options;
    this.meddling = options.meddling ?? {};
    this.directory = made.directory;
    this.machineKey = made.machineKey;
    this.machineTls = made.machineTls;
    this.authority = made.authority;
    this.permitKey = made.permitKey;
    this.keysNode = made.keysNode;
    this.admin = made.admin;
    this.registration = {
      ...options.machine,
      machine: keyName(options.publicKey ?? made.machineKey.publicKey),
      publicKey: options.publicKey ?? made.machineKey.publicKey,
    };
    this.#server = createServer({
      cert: made.tls.certificate,
      key: Buffer.from(made.tls.key),
      ca: made.directory.authority,
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: true,
    });
    // Serves no newer directory and no lists of revoked keys.
    this.#server.on('request', ({ url }, response) => {
      if (url?.startsWith('/v1/revocations')) {
        response.writeHead(200, { 'content-type': 'application/cbor' }).end(encodeCbor([]));
      } else {
        response.writeHead(url?.startsWith('/v1/directory') ? 204 : 404).end();
      }
    });
    this.#sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
    this.#server.on('upgrade', (request, socket, head) => {
      const certificate = (socket as TLSSocket).getPeerX509Certificate();
      const party = certificate === undefined ? undefined : partyOf(certificate);
      if (this.away || request.url !== '/v1/machine' || party?.role !== 'machine') return socket.destroy();
      this.#sockets.handleUpgrade(request, socket, head, (link) => this.#serve(link));
    });
  }

  static async start(options: CloudOptions): Promise<TestCloud> {
    const cloud = new TestCloud(options, await makeInstallation(options));
    cloud.licence = await cloud.signLicence();
    cloud.ownerDocument = await cloud.register(options.design.owner.publicKey);
    cloud.holderDocument = await cloud.register(cloud.holder.publicKey);
    await cloud.listen();
    return cloud;
  }

  async listen(port = 0): Promise<void> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Also while it does not listen: agents go on calling. */
  get address(): Address {
    return { host: '127.0.0.1', port: this.#port };
  }

  get segments(): number {
    return this.options.design.cells.length;
  }

  async signLicence(change: Partial<TransactionOf<'licence.grant'>> = {}, signer?: MemorySigner): Promise<Bytes> {
    const now = Date.now();
    const { manifest, owner } = this.options.design;
    const { installation } = this.directory;
    const id = change.id ?? systemRandom(16);
    const { designId: design } = manifest;
    const entry = { machine: this.registration.machine, registration: registrationHash(this.registration) };
    const binding = { installation, licence: toHex(id), design };
    return signTransaction(signer ?? owner, installation, {
      type: 'licence.grant',
      id,
      issued: now,
      expires: now + 3_600_000,
      design,
      core: manifest.coreHash,
      objects: 5,
      machines: [{ ...entry, ...(await sealedSecrets(this.options.design, this.registration, binding)) }],
      materials: [],
      notBefore: 0,
      notAfter: now + 3_600_000,
      holder: this.holder.publicKey,
      secretHash: systemRandom(32),
      telemetryKey: this.options.telemetryKey ?? this.sealingKey.publicKey,
      disclose: [...(this.options.disclose ?? usualDisclosures)],
      ...change,
    });
  }

  /** The administrator's registration of a user. */
  register(publicKey: Bytes, signer: MemorySigner = this.admin): Promise<Bytes> {
    const now = Date.now();
    const dates = { id: systemRandom(16), issued: now, expires: now + 60_000 };
    const document = { type: 'user.register' as const, ...dates, publicKey, name: 'owner' };
    return signTransaction(signer, this.directory.installation, document);
  }

  /** Loads a spool that nobody certifies, as the holder. @returns its id */
  async loadSpool(): Promise<string> {
    const now = Date.now();
    const load = await signTransaction(this.holder, this.directory.installation, {
      type: 'spool.load',
      ...{ id: systemRandom(16), issued: now, expires: now + 60_000, machine: this.registration.machine, number: now },
      description: { name: 'PLA' },
    });
    this.spool = { load, operator: this.holderDocument };
    return spoolFacts(readSpoolLoad(load)).spool;
  }

  /** Opens the sealed part of a report as the owner. */
  openReport({ object, run, facts }: MachineReport): Promise<OwnerState> {
    const { installation } = this.directory;
    return openOwnerFacts(this.sealingKey, { installation, object }, run, facts.sealed ?? new Uint8Array());
  }

  /** Opens the sealed part of telemetry of the only session as the owner. */
  openTelemetry({ sealed }: Telemetry): Promise<OwnerState> {
    const [only] = this.sessions;
    if (only === undefined || this.sessions.length > 1) throw new Error('not one session');
    const binding = { installation: this.directory.installation, object: only.parameters.object };
    return openOwnerState(this.sealingKey, binding, only.session, sealed ?? new Uint8Array());
  }

  /** Orders a print as the holder. Returns the print's id. */
  async print(): Promise<string> {
    const now = Date.now();
    const id = systemRandom(16);
    const signed = await signTransaction(this.holder, this.directory.installation, {
      type: 'print.request',
      id,
      issued: now,
      expires: now + 3_600_000,
      licence: this.licenceId,
      machine: this.registration.machine,
    });
    this.prints.set(toHex(id), signed);
    this.queue.push(toHex(id));
    this.#notify();
    return toHex(id);
  }

  readonly queue: string[] = [];

  get licenceId(): string {
    return toHex(this.#licenceIdOf(this.licence));
  }

  #licenceIdOf(signed: Bytes): Bytes {
    const parts = decodeCbor(signed.subarray(1), 'licence') as [Uint8Array, object, Uint8Array, Uint8Array];
    return copyBytes((decodeCbor(parts[2], 'licence') as { id: Uint8Array }).id);
  }

  /** Waits until `condition` holds. Checks it whenever a message from the machine arrives. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  #notify(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  /** Cuts the machine's connection. */
  cut(): void {
    this.#socket?.terminate();
  }

  send(message: Bytes): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.wire.push(message);
    this.#socket.send(message);
    return true;
  }

  async close(): Promise<void> {
    for (const session of this.sessions) await session.close();
    for (const client of this.#sockets.clients) client.terminate();
    this.#sockets.close();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(link: WebSocket): void {
    this.connections++;
    this.#socket = link;
    const order = new Mutex();
    link.on('message', (data: Buffer) => {
      const bytes = copyBytes(data);
      this.wire.push(bytes);
      const message = decodeLink(bytes, false);
      if (message.kind === 'reverse') {
        const session = this.sessions.at(-1);
        void order.run(() => session?.receive(message.payload)).then(() => this.#notify());
      } else if (message.kind === 'control' && message.message.type === 'call') {
        void this.#call(link, message.message);
      }
    });
    link.on('close', () => {
      for (const session of this.sessions) session.ended = true;
      this.#notify();
    });
    link.on('error', () => undefined);
    this.#notify();
  }

  async #call(link: WebSocket, { call, method, body }: Extract<LinkControl, { type: 'call' }>): Promise<void> {
    // Calls that wait for commands or viewers are not counted: when they come depends on the time.
    const number = method === 'command' || method === 'look' ? 0 : ++this.#calls;
    const input = decodeCbor(body, method) as Record<string, unknown>;
    try {
      const refused = this.meddling.refuse?.(method, number);
      if (refused !== undefined) throw refused;
      const answer = await this.#answer(link, method, input, number);
      if (this.meddling.answer?.(method, number) === false) return link.terminate();
      link.send(encodeControl({ type: 'answer', call, body: encodeCbor(answer as never) }));
    } catch (error) {
      const { code, message } = error as MillraceError;
      link.send(encodeControl({ type: 'error', call, code: code ?? 'E_INTERNAL', message }));
    } finally {
      this.#notify();
    }
  }

  async #answer(link: WebSocket, method: string, input: Record<string, unknown>, call: number): Promise<unknown> {
    switch (method) {
      case 'next': {
        if (this.settings !== undefined) return { settings: this.settings };
        await waitFor(() => this.queue.length > 0, input, link);
        const spool = this.spool && { spool: this.spool };
        return this.queue.length === 0 ? { ...spool } : { print: this.queue[0], ...spool };
      }
      case 'command': {
        const asked = ++this.#asked;
        const isNewest = () => asked === this.#asked && link.readyState === WebSocket.OPEN;
        await waitFor(() => this.commands.length > 0 || !isNewest(), input, link);
        return isNewest() && this.commands.length > 0 ? { command: this.commands.shift() } : {};
      }
      case 'commanded':
        this.commanded.push(input as never);
        return {};
      case 'look':
        await waitFor(() => this.looks.length > 0, input, link);
        return this.looks.length === 0 ? {} : { look: this.looks.shift() };
      case 'looked':
        this.looked.push(input as never);
        return {};
      case 'call-home':
        return this.#callHome(copyBytes(input.request as Uint8Array), call);
      case 'report': {
        const { body } = await this.#verify(input.report as Uint8Array);
        if (body.type === 'settings.report') {
          this.settings = undefined;
          this.settingsReports.push(body);
          return {};
        }
        if (body.type !== 'report') throw new MillraceError('E_INPUT', 'not a report');
        const known = this.reports.some(({ id }) => Buffer.compare(id, body.id) === 0);
        if (!known) this.reports.push(body);
        return {};
      }
      default:
        throw new MillraceError('E_INPUT', method);
    }
  }

  #verify(bytes: Uint8Array) {
    return verifyMachineDocument(bytes, this.directory.installation, () => this.registration.publicKey, Date.now());
  }

  async #callHome(bytes: Bytes, call: number): Promise<CallHomeAnswer> {
    const known = this.#permits.get(toHex(sha256(bytes)));
    this.requestBytes.push(bytes);
    if (known !== undefined) return known;
    const { body: request } = await this.#verify(bytes);
    if (request.type !== 'permit.request') throw new MillraceError('E_INPUT', 'not a request');
    this.requests.push(request);
    this.queue.splice(0, this.queue.length, ...this.queue.filter((print) => print !== request.print));
    const permit = await this.permitFor(request, bytes);
    const print = this.prints.get(request.print);
    if (print === undefined) throw new MillraceError('E_NOT_FOUND', 'no such print');
    const honest = {
      permit: await signPermit(this.permitKey, this.directory.installation, permit),
      print,
      licence: this.licence,
      licenceSigner: this.ownerDocument,
      printSigner: this.holderDocument,
      amendments: [],
      credits: [],
      core: this.options.design.manifest.core,
      machine: this.registration,
    };
    const answer = (await this.meddling.callHome?.(honest, call)) ?? honest;
    this.#permits.set(toHex(sha256(bytes)), answer);
    if (this.meddling.offer?.(call) !== false) setImmediate(() => void this.#offer(permit, request, bytes, answer));
    return answer;
  }

  permitFor(request: PermitRequest, bytes: Bytes): Permit {
    const now = Date.now();
    const number = [...this.prints.keys()].indexOf(request.print) + 1;
    return {
      type: 'permit',
      id: systemRandom(16),
      issued: now,
      expires: now + 120_000,
      print: request.print,
      licence: this.licenceId,
      object: objectId(this.licenceId, number),
      number,
      design: this.options.design.manifest.designId,
      machine: this.registration.machine,
      request: sha256(bytes),
      count: 1,
    };
  }

  /** Offers a session as the keys node does. */
  async #offer(permit: Permit, request: PermitRequest, bytes: Bytes, answer: CallHomeAnswer): Promise<void> {
    const { design, window = 4 } = this.options;
    const session = systemRandom(16);
    const openingHash = openingHashOf({ ...answer, request: bytes });
    const honest: StreamParameters = {
      object: permit.object,
      design: permit.design,
      designNonce: design.manifest.nonce,
      segments: design.cells.length,
      from: request.from,
      size: design.manifest.size,
      window,
      order: request.order,
      suite: request.suite,
      hints: request.hints,
      layer: 'ctr',
      revisionMs: 1,
    };
    const parameters = this.meddling.parameters?.(honest) ?? honest;
    const side = await offerSession({
      binding: { openingHash, session, licence: permit.licence, serial: this.registration.serial },
      machineStatic: this.registration.publicKey,
      machineEphemeral: request.ephemeral,
      licenceSecret: systemRandom(32),
      parameters,
      sender: this.meddling.sender?.(this.keysNode) ?? this.keysNode,
      core: this.meddling.core?.(design.manifest.core) ?? design.manifest.core,
      designSecret: design.manifest.custody === 'keys' ? design.secret : undefined,
    });
    const stream = await CloudStream.open(this, session, side.seed, parameters, side.context);
    for (const earlier of this.sessions) earlier.ended = true;
    this.sessions.push(stream);
    this.send(
      encodeControl({
        type: 'offer',
        machine: this.registration.machine,
        permitId: toHex(permit.id),
        offer: side.offer,
      }),
    );
    await stream.pump();
  }
}

/** Holds a call that waits as long as its caller asked. */
async function waitFor(ready: () => boolean, { wait }: Record<string, unknown>, link: WebSocket): Promise<void> {
  const deadline = Date.now() + (wait as number);
  while (!ready() && Date.now() < deadline && link.readyState === WebSocket.OPEN)
    await new Promise((resolve) => setTimeout(resolve, 10));
}
