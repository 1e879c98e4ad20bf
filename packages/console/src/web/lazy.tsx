import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { Failure } from './parts.tsx';
import { words } from './words.ts';

/** A page whose code is loaded when it is opened. */
export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  return (props: P) => {
    const [page, setPage] = useState<{ readonly Page?: ComponentType<P>; readonly error?: unknown }>({});
    useEffect(() => {
      load().then(
        (Page) => setPage({ Page }),
        (error: unknown) => setPage({ error }),
      );
    }, []);
    const { Page, error } = page;
    if (error !== undefined) return <Failure error={error} again={() => location.reload()} />;
    if (Page === undefined) return <p role="status">{words.value.loading}</p>;
    return <Page {...props} />;
  };
}
