import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import {
  type Bytes,
  fromBase64,
  fromHex,
  MillraceError,
  problemOf,
  systemClock,
  systemRandom,
  toBase64,
  toHex,
  toMillraceError,
  writeDurably,
} from '@millrace/base';
import type { Installation } from '@millrace/cli';
import { makeFolder, toJsonFile } from '@millrace/client/parts';
import { answerMapQuery } from '@millrace/cloud/parts';
import { keyName, type P256Key, p256Key, parseSign1, partyOf } from '@millrace/identity';
import { ed25519NoteSigner, exportCertificate, type Ledger, openLedger } from '@millrace/ledger';
import {
  contentKeysInfo,
  createFactsSealing,
  createOwnerSealing,
  holderParty,
  licenceFact,
  licenceSecretInfo,
  type MachineReport,
  machineFact,
  openFromBox,
  orderFact,
  partyName,
  permitFact,
  readPermit,
  registrationHash,
  reportFact,
  sha256,
  signMachineDocument,
  signPermit,
  type Transaction,
  type TransactionOf,
  verifyTransaction,
} from '@millrace/protocol';
import { MemoryLog } from '@millrace/stores';
import { type Manifest, readManifest, SEGMENT_BYTES } from '@millrace/vault';
import { permitRequest } from '../permit-request.mjs';
import { type KeysBox, keysBox } from './helpers.ts';

interface Request {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Bytes;
  /** Key name in the caller's certificate. */
  readonly user: string;
}

interface FakeLicence {
  readonly body: TransactionOf<'licence.grant'>;
  readonly bytes: Uint8Array;
  /** Of the owner. */
  readonly credential: Uint8Array;
  readonly secret: Bytes;
  used: number;
}

interface FakeDesign {
  readonly view: Record<'design' | 'name' | 'core' | 'custody' | 'kind' | 'maintenance' | 'owner', string> & {
    readonly addedBy: { readonly key: string };
    readonly size: number;
    readonly segments: number;
    state: string;
  };
  readonly manifest: Manifest;
}

/** The view of a design that control would return. */
export function fakeDesign(manifest: Manifest, state: string): FakeDesign {
  const { designId: design, core, custody, kind, size, segments } = manifest;
  const view = { design, name: 'part.gcode', core: toBase64(core), custody, kind, size, segments, state };
  const owner = keyName(manifest.owner);
  return { manifest, view: { ...view, maintenance: 'rekey', owner, addedBy: { key: owner } } };
}

/**
 * Control and distribution in the test's process: real mutual TLS with the installation's certificates, real signatures
 * and a real ledger. Storing and printing are simulated. Replaces packages/cloud in tests of the client.
 */
export class FakeCloud {
  readonly users = new Map<string, Bytes>();
  /** The administrator's registrations of users. */
  readonly #registrations = new Map<string, Bytes>();
  readonly machines = new Map<string, TransactionOf<'machine.register'>['machine'] & { document: string }>();
  readonly designs = new Map<string, FakeDesign>();
  readonly uploads = new Map<number, Bytes>();
  readonly licences = new Map<string, FakeLicence>();
  readonly prints = new Map<string, Record<string, unknown>>();
  readonly seen = new Set<string>();
  readonly log: string[] = [];
  /** Called before every request. Returns an answer, throws, or returns undefined to handle the request normally. */
  intercept: (request: Request) => unknown = () => undefined;
  keys: Bytes = new Uint8Array();
  readonly installation: Installation;
  readonly ledger: Ledger;
  readonly #machineKey: P256Key;
  readonly #permitKey: P256Key;
  /** The keys node's attachment keys and their announcement. */
  box: KeysBox;
  readonly #servers: Server[] = [];

  private constructor(installation: Installation, ledger: Ledger, box: KeysBox) {
    const { layout } = installation;
    const key = (...path: string[]) => p256Key(readFileSync(join(...path)));
    this.installation = installation;
    this.ledger = ledger;
    this.#machineKey = key(layout.machine('virtual-1'), 'identity.key');
    this.#permitKey = key(layout.node('control'), 'permit.key');
    this.box = box;
  }

  static async start(installation: Installation): Promise<FakeCloud> {
    const { layout, directory } = installation;
    const origin = directory.logKey.slice(0, directory.logKey.indexOf('+'));
    const signer = ed25519NoteSigner(origin, readFileSync(join(layout.node('control'), 'log.key')));
    const map = { changes: 2_048 };
    const ledger = await openLedger({ store: new MemoryLog(), signer, origin, clock: systemClock, map });
    const cloud = new FakeCloud(installation, ledger, await keysBox(installation));
    const control = await cloud.#listen('control');
    const distribution = await cloud.#listen('distribution');
    const at = (port: number) => ({ host: '127.0.0.1', port });
    await makeFolder(layout.run.folder);
    await writeDurably(layout.run.addresses, toJsonFile({ control: at(control), distribution: at(distribution) }));
    return cloud;
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #listen(role: 'control' | 'distribution'): Promise<number> {
    const { layout, directory } = this.installation;
    const folder = layout.node(role);
    const server = createServer(
      {
        cert: readFileSync(join(folder, 'tls.crt.pem')),
        key: readFileSync(join(folder, 'tls.key.pem')),
        ca: directory.authority,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.3',
      },
      async (incoming, response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of incoming) chunks.push(chunk as Buffer);
        const url = new URL(incoming.url ?? '', 'https://node');
        const certificate = (incoming.socket as TLSSocket).getPeerX509Certificate();
        const party = certificate && partyOf(certificate);
        try {
          if (party === undefined || !('name' in party)) throw new MillraceError('E_AUTH', 'no user');
          const request: Request = {
            method: incoming.method ?? '',
            path: url.pathname,
            query: url.searchParams,
            body: new Uint8Array(Buffer.concat(chunks)),
            user: party.name,
          };
          this.log.push(`${request.method} ${request.path}`);
          const answer = (await this.intercept(request)) ?? (await this.answer(request));
          response.end(answer instanceof Uint8Array ? answer : JSON.stringify(answer));
        } catch (error) {
          const coded = toMillraceError(error);
          response.statusCode = coded.http;
          response.end(JSON.stringify(problemOf(coded)));
        }
      },
    );
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Answers a request that was not intercepted. */
  async answer({ method, path, query, body, user }: Request): Promise<unknown> {
    const [, , kind = '', id = '', what = ''] = path.split('/');
    if (method === 'POST' && kind === 'transactions')
      return this.#transaction(JSON.parse(Buffer.from(body).toString()), user);
    if (path === '/v1/boxes/keys-1/attachments') return this.box.document;
    if (kind === 'uploads') {
      if (method === 'PUT')
        for (let n = 0; n * SEGMENT_BYTES < body.length; n++)
          this.uploads.set(Number(what) + n, body.subarray(n * SEGMENT_BYTES, (n + 1) * SEGMENT_BYTES));
      const total = Number(query.get('segments') ?? 0);
      const missing = Array.from({ length: total }, (_, i) => i).filter((i) => !this.uploads.has(i));
      return { have: this.uploads.size, missing: missing.slice(0, 1000) };
    }
    if (kind === 'designs') {
      if (id === '') return { items: [...this.designs.values()].map(({ view }) => view) };
      const { view, manifest } = required(this.designs.get(id));
      if (what === 'ticket') return { ticket: 'AAAA' };
      if (what === 'private') return required(manifest.private);
      if (what === 'uploaded') view.state = 'stored';
      return view;
    }
    if (kind === 'organisations') return { items: [] };
    if (kind === 'keys') return { key: id, name: 'user', credential: toBase64(required(this.#registrations.get(id))) };
    if (kind === 'licences')
      return id === ''
        ? { items: [...this.licences.keys()].map((each) => this.#licenceView(each)) }
        : this.#licenceView(id);
    if (kind === 'machines') {
      const items = [...this.machines.values()].map((registered) => {
        const { document, ...machine } = registered;
        const { publicKey: _, ...shown } = machine;
        return { ...shown, document, registration: toHex(registrationHash(machine)), online: true };
      });
      return { items };
    }
    if (kind === 'prints') return id === '' ? { items: [...this.prints.values()] } : required(this.prints.get(id));
    if (kind === 'objects') {
      if (what === 'certificate') return exportCertificate(this.ledger, id);
      if (id !== '') return this.#objectView(id);
      const objects = [...this.prints.values()].flatMap((print) =>
        print.object === undefined ? [] : [String(print.object)],
      );
      return { items: await Promise.all(objects.map((object) => this.#objectView(object))) };
    }
    if (path === '/v1/ledger/checkpoint') return this.ledger.checkpoint();
    if (path === '/v1/ledger/openings') {
      const items: { index: number; opening: string }[] = [];
      for await (const { index, opening } of this.ledger.events(Number(query.get('cursor') ?? 0)))
        items.push({ index, opening: toBase64(opening) });
      return { items };
    }
    if (path === '/v1/ledger/map') return answerMapQuery(this.ledger, JSON.parse(Buffer.from(body).toString()));
    if (path === '/v1/ledger/verify') return { ok: true, root: null, entries: 0, problems: [], more: 0 };
    if (path.startsWith('/v1/ledger/tile/')) return this.ledger.tile(path.slice('/v1/ledger/'.length));
    if (path === '/v1/status')
      return {
        nodes: [{ id: 'keys-1', role: 'keys', seen: Date.now() }],
        maintenance: null,
        quarantine: [],
        damagedRecords: [],
      };
    throw new MillraceError('E_NOT_FOUND', `no ${path}`);
  }

  async #transaction(json: { transaction: string; attachments?: Record<string, string> }, submitter: string) {
    const { directory } = this.installation;
    const lookup = (id: Bytes) =>
      toHex(id) === keyName(fromHex(directory.adminKey)) ? fromHex(directory.adminKey) : this.users.get(toHex(id));
    const bytes = fromBase64(json.transaction);
    const signed = await verifyTransaction(bytes, directory.installation, lookup, Date.now());
    if (keyName(signed.signer) !== submitter) throw new MillraceError('E_FORBIDDEN', 'not the signer');
    const id = toHex(signed.body.id);
    if (this.seen.has(id)) throw new MillraceError('E_REPLAY', 'used already');
    const attached = (name: string) => fromBase64(required(json.attachments?.[name]));
    await this.#apply(signed.body, bytes, signed.signer, id, attached);
    this.seen.add(id);
    return { id, type: signed.body.type };
  }

  async #apply(body: Transaction, bytes: Bytes, signer: Bytes, id: string, attached: (name: string) => Bytes) {
    switch (body.type) {
      case 'user.register': {
        const name = keyName(body.publicKey);
        if (this.users.has(name)) throw new MillraceError('E_CONFLICT', 'registered already');
        this.users.set(name, new Uint8Array(body.publicKey));
        this.#registrations.set(name, bytes);
        return;
      }
      case 'machine.register':
        this.machines.set(body.machine.machine, { ...body.machine, document: toBase64(bytes) });
        await this.ledger.append({ ...machineFact(body, keyName(signer)), evidence: [bytes], eventId: id });
        return;
      case 'design.add': {
        this.keys = await openFromBox(this.box, contentKeysInfo(body.design, signer), attached('keys'));
        this.designs.set(body.design, fakeDesign(readManifest(attached('manifest')), 'uploading'));
        return;
      }
      case 'licence.grant': {
        const secret = await openFromBox(this.box, licenceSecretInfo(body.design, signer), attached('secret'));
        const credential = required(this.#registrations.get(keyName(signer)));
        this.licences.set(id, { body, bytes, credential, secret, used: 0 });
        const { core } = required(this.designs.get(body.design)).manifest;
        const evidence = [bytes, required(this.#registrations.get(keyName(signer))), core];
        await this.ledger.append({ ...licenceFact(body, keyName(signer)), evidence, eventId: id });
        return;
      }
      case 'print.request':
        return this.#print(body, bytes, id);
    }
  }

  async #print(body: TransactionOf<'print.request'>, bytes: Bytes, print: string): Promise<void> {
    const licence = required(this.licences.get(body.licence));
    if (licence.used >= licence.body.objects)
      throw new MillraceError('E_LICENCE_EXHAUSTED', 'all objects were permitted');
    licence.used += 1;
    const object = `${body.licence}-${licence.used}`;
    const { installation } = this.installation.directory;
    const common = () => ({ id: systemRandom(16), issued: Date.now(), expires: Date.now() + 60_000 });
    const registered = required(this.machines.get(body.machine));
    const { serial } = registered;
    const run = systemRandom(16);
    const asked = permitRequest({ ...common(), print, serial, ephemeral: this.box.body.point, run });
    const request = await signMachineDocument(this.#machineKey, installation, asked);
    const permit = await signPermit(this.#permitKey, installation, {
      ...common(),
      type: 'permit',
      print,
      licence: body.licence,
      object,
      number: licence.used,
      design: licence.body.design,
      machine: body.machine,
      request: sha256(request),
      count: 1,
    });
    const binding = { installation, object };
    const own = { time: Date.now(), bytes: 40_000, line: 9, layer: 2, filament: 5_000 };
    const sealed = (await createFactsSealing(licence.body.telemetryKey, binding, run)).seal(own);
    const session = systemRandom(16);
    const live = (await createOwnerSealing(licence.body.telemetryKey, binding, session)).seal({ ...own, line: 8 });
    const facts = { serial, material: 'PLA', segments: 3, sealed };
    const { contentMac } = required(this.designs.get(licence.body.design)).manifest;
    const document = readFileSync(join(this.installation.layout.node('control'), 'permit-key.register'));
    const { ledger } = this;
    const signer = toHex(parseSign1(bytes).keyId);
    const order = orderFact(body, licence.body, licence.used, signer, []);
    const ordered = [bytes, required(this.#registrations.get(signer))];
    await ledger.append({ ...order, evidence: ordered, eventId: print });
    const permitted = permitFact(readPermit(permit), registered, keyName(this.#permitKey.publicKey));
    const evidence = [permit, request, new Uint8Array(document)];
    await ledger.append({ ...permitted, evidence, eventId: `permitted/${object}` });
    for (const event of ['started', 'completed'] as const) {
      const said = event === 'completed' ? { ...facts, contentMac } : facts;
      const report: MachineReport = { ...common(), type: 'report', object, run, event, facts: said };
      const signed = await signMachineDocument(this.#machineKey, installation, report);
      const fact = reportFact(report, body.machine, contentMac);
      await ledger.append({ ...fact, evidence: [signed], eventId: `${event}/${object}` });
    }
    const machine = { state: 'done', temperatures: { hotend: 215 }, buffer: 2.5, wire: 43_000, hints: 14_000 };
    const owner = { session: toHex(session), sealed: toBase64(live) };
    this.prints.set(print, {
      print,
      licence: body.licence,
      design: licence.body.design,
      machine: body.machine,
      owner: required(this.designs.get(licence.body.design)).view.owner,
      holder: partyName(holderParty(licence.body.holder)),
      orderedBy: { key: signer },
      state: 'completed',
      created: 0,
      startBy: 0,
      object,
      segments: 3,
      progress: { acked: 3, revision: 1, machine, owner },
    });
  }

  #licenceView(licence: string) {
    const { body, bytes, credential, used } = required(this.licences.get(licence));
    return {
      licence,
      design: body.design,
      objects: body.objects,
      credits: [],
      permitted: used,
      status: 'active',
      owner: required(this.designs.get(body.design)).view.owner,
      grantedBy: required(this.designs.get(body.design)).view.addedBy,
      document: toBase64(bytes),
      credential: toBase64(credential),
      approvals: { needed: 0, by: [], waiting: 0 },
      holder: partyName(holderParty(body.holder)),
      machines: body.machines.map(({ machine }) => machine),
      groups: [],
      materials: body.materials,
      notBefore: body.notBefore,
      notAfter: body.notAfter,
      disclose: body.disclose,
    };
  }

  async #objectView(object: string) {
    const events = (await this.ledger.account(object)).map(({ index, event }) => ({
      index,
      sequence: event.sequence,
      type: event.type,
      time: event.time,
      actor: event.actor,
      body: event.body,
      ...(event.type === 'completed' && event.evidence?.[0] !== undefined
        ? { report: { signed: toBase64(event.evidence[0]), key: toBase64(this.#machineKey.publicKey) } }
        : {}),
    }));
    const life = { owner: events[0]?.actor ?? '', inspectors: [], retired: false };
    return { object, state: 'completed', life, events };
  }
}

function required<T>(thing: T | undefined): T {
  if (thing === undefined) throw new MillraceError('E_NOT_FOUND', 'there is no such thing');
  return thing;
}
