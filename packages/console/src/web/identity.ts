import { signal } from '@preact/signals';
import { type Identity, identitySchema } from './identity-shape.ts';
import { removeOriginFiles } from './remove-origin-files.ts';

const KEY = 'millrace.identity';

function read(): Identity | undefined {
  try {
    return identitySchema.parse(JSON.parse(localStorage.getItem(KEY) ?? 'null'));
  } catch {
    return undefined; // none, or written by another version: enrol again
  }
}

export const identity = signal<Identity | undefined>(read());

export function keepIdentity(kept: Identity): void {
  localStorage.setItem(KEY, JSON.stringify(kept));
  identity.value = kept;
}

/** Forgets the key of this browser. Nobody can bring it back; another invitation enrols another key. */
export function forgetIdentity(): void {
  localStorage.removeItem(KEY);
  identity.value = undefined;
  // Sealed designs whose upload has not ended, and the owner's names.
  void removeOriginFiles();
}
