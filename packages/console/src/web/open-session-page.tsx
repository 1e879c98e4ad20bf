import { useState } from 'preact/hooks';
import { Card, Failure } from './parts.tsx';
import { platformWords } from './platform-words.ts';
import { api } from './server.ts';
import { session } from './session.ts';

/**
 * Opens a session with a request that a key has signed elsewhere (`millrace console`). It asks first: somebody else's
 * address would sign the browser in as somebody else.
 * @param request `session.open`, base64
 */
export function OpenSessionPage({ request }: { readonly request: string }) {
  const w = platformWords.value;
  const [failure, setFailure] = useState<unknown>();
  const open = async () => {
    try {
      await api.sessions.open({ body: { request } });
      await session.check();
      // The request leaves the browser's history. It has been used.
      location.replace(session.view.value?.admin === true ? '#/platform' : '#/machines');
    } catch (error) {
      setFailure(error);
    }
  };
  return (
    <>
      <h1>{w.openTitle}</h1>
      <Card>
        <p>{w.openText}</p>
        <button type="button" onClick={() => void open()}>
          {w.open}
        </button>
      </Card>
      {failure === undefined ? undefined : <Failure error={failure} />}
    </>
  );
}
