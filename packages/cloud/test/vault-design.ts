import { fromHex } from '@millrace/base';
import {
  type CellStore,
  type Manifest,
  type Playbook,
  prepareDesign,
  readManifest,
  segmentHash,
} from '@millrace/vault';

/** Segments that are stored by one request. */
const PART = 100;

export interface KnownDesign {
  readonly designId: string;
  readonly manifest: Manifest;
  /** The sealed segments and their hashes, as a segments node has them. */
  readonly source: NonNullable<Parameters<CellStore['storeCells']>[1]>;
}

/** Adds a design of zeros with this number of segments to the playbook; none of its cells is stored. */
export async function addToPlaybook(playbook: Playbook, count: number): Promise<KnownDesign> {
  const sealed: Uint8Array[] = [];
  const content = async function* () {
    yield new Uint8Array(count * 16_370);
  };
  const { manifest, ceks, designId } = await prepareDesign(content(), {
    kind: 'binary',
    owner: new Uint8Array(33).fill(2),
    sink: (_, bytes) => void sealed.push(new Uint8Array(bytes)),
    describe: ({ segments }) => ({ times: new Array<number>(segments).fill(100) }),
  });
  await playbook.addDesign({ manifest, keys: ceks });
  const read = readManifest(manifest);
  const source = { sealed: (n: number) => sealed[n] ?? new Uint8Array(), hash: (n: number) => segmentHash(read, n) };
  return { designId, manifest: read, source };
}

/** Stores a design of zeros with this number of segments. */
export async function addDesign(playbook: Playbook, cells: CellStore, count: number): Promise<KnownDesign> {
  const design = await addToPlaybook(playbook, count);
  for (let from = 0; from < count; from += PART) {
    const want = { design: fromHex(design.designId), from, count: Math.min(PART, count - from) };
    const message = await playbook.instruct(want);
    if (message === undefined) throw new Error('no places');
    await playbook.stored(await cells.storeCells(message, design.source));
  }
  return design;
}
