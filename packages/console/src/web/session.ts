import type { SessionView } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import { computed, signal } from '@preact/signals';
import { api } from './server.ts';

type State = { readonly known: false } | { readonly known: true; readonly view: SessionView | undefined };

const state = signal<State>({ known: false });

/** Who is signed in. Scripts cannot read the cookie, so the server is asked. */
export const session = {
  /** Whether the server has answered. */
  known: computed(() => state.value.known),
  view: computed(() => (state.value.known ? state.value.view : undefined)),
  check: async (): Promise<void> => {
    try {
      state.value = { known: true, view: await api.sessions.current() };
    } catch (error) {
      // Without an answer, the person may still be signed in.
      if (error instanceof MillraceError && ['E_UNAVAILABLE', 'E_TIMEOUT'].includes(error.code) && state.value.known)
        return;
      state.value = { known: true, view: undefined };
    }
  },
  signOut: async (): Promise<void> => {
    await api.sessions.close().catch(() => undefined);
    state.value = { known: true, view: undefined };
  },
};

/** Whether the person acts in a role. A key without an organisation acts in every role. */
export function acts(view: SessionView | undefined, role: NonNullable<SessionView['roles']>[number]): boolean {
  return view !== undefined && (view.roles === undefined ? !view.admin : view.roles.includes(role));
}
