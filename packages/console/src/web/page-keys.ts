import { signal } from '@preact/signals';

/** Keys that something on the page listens to, for the list that `?` opens. */
export interface PageKeys {
  readonly title: string;
  readonly rows: readonly (readonly [key: string, text: string])[];
}

export const pageKeys = signal<PageKeys | undefined>(undefined);
