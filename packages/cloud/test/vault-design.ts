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

/** Stores a design of zeros with this number of segments. */
export async function addDesign(
  playbook: Playbook,
  cells: CellStore,
  count: number,
): Promise<{ designId: string; manifest: Manifest }> {
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
  for (let from = 0; from < count; from += PART) {
    const want = { design: fromHex(designId), from, count: Math.min(PART, count - from) };
    const message = await playbook.instruct(want);
    if (message === undefined) throw new Error('no places');
    const source = { sealed: (n: number) => sealed[n] ?? new Uint8Array(), hash: (n: number) => segmentHash(read, n) };
    await playbook.stored(await cells.storeCells(message, source));
  }
  return { designId, manifest: read };
}
