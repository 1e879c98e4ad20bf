import { bytesOf, hexOf } from '@millrace/base';
import { z } from 'zod';

// The part of a print's record that tells what became of its object after the completion (life.ts).

const id = hexOf(16);
const bytes = z.instanceof(Uint8Array);

/** Absent until the first document of the part's life. */
export const lifeSchema = z.strictObject({
  /** The part's present owner: an organisation, or the key name of a party without one. */
  partOwner: id,
  /** Who may sign inspections for the owner. */
  inspectors: z.array(id),
  /** SHA-256 of the newest document. */
  newest: bytesOf(32).optional(),
  /** The party whom the part is offered, and the signed offer. */
  offer: z.strictObject({ to: id, transaction: bytes, credential: bytes }).optional(),
  retired: z.boolean(),
  /** Documents of the newest event, until it is in the ledger. */
  pending: z.array(bytes).optional(),
});
export type PartLife = z.output<typeof lifeSchema>;

interface WithLife {
  readonly holder: string;
  readonly life?: PartLife | undefined;
}

/** The life of a print's object. At first, the part is its holder's. */
export function lifeOf({ holder, life }: WithLife): PartLife {
  return life ?? { partOwner: holder, inspectors: [], retired: false };
}

/** A print's object, for decisions on it. */
export function objectResource<T extends WithLife>(print: T) {
  const { partOwner, inspectors, offer } = lifeOf(print);
  return { ...print, partOwner, inspectors, offeredTo: offer?.to };
}

/** Index entries for the parties of a print, and for those whom its object belongs to, is offered, or is inspected by. */
export function ofObject(print: WithLife & { readonly created: number }, parties: readonly string[]) {
  const { partOwner, inspectors, offer } = lifeOf(print);
  const groups = new Set([...parties, partOwner, ...inspectors, ...(offer === undefined ? [] : [offer.to])]);
  return [...groups].map((group) => ({ group, order: print.created }));
}
