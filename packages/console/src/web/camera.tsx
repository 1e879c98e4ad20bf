import type { MachineView } from '@millrace/api';
import { sleep, toBase64, toHex } from '@millrace/base';
import type { CameraWatch } from '@millrace/client';
import { useEffect, useRef, useState } from 'preact/hooks';
import { cameraWords } from './camera-words.ts';
import { Signing } from './gesture.tsx';
import { STALE_MS } from './live.ts';
import { Failure } from './parts.tsx';
import { api } from './server.ts';
import { acts, session } from './session.ts';
import { formatSeconds, words } from './words.ts';

/** Pause between two pictures, and after one that failed, ms. */
const EVERY_MS = 2_000;
const AGAIN_MS = 6_000;

/** Whether the machine has a camera, and the person is an operator of the organisation that holds the machine. */
export function mayLook({ organisation, camera, online }: MachineView): boolean {
  const view = session.view.value;
  const isOwn = organisation !== undefined && organisation === view?.organisation;
  return isOwn && camera === true && online && acts(view, 'operator');
}

/** What the camera of a machine sees, for ten minutes by one signature. */
export function Camera({ machine }: { readonly machine: string }) {
  const w = cameraWords.value;
  const [watch, setWatch] = useState<CameraWatch>();
  const [ended, setEnded] = useState(false);
  if (watch !== undefined)
    return (
      <Pictures
        watch={watch}
        end={(byItself) => {
          watch.secret.fill(0);
          setEnded(byItself);
          setWatch(undefined);
        }}
      />
    );
  return (
    <Signing
      label={ended ? w.lookAgain : w.look}
      plain
      job={(identity) => ({ type: 'watch-camera', identity, machine })}
      done={(value) => setWatch(value as CameraWatch)}
    />
  );
}

function Pictures({ watch, end }: { readonly watch: CameraWatch; readonly end: (byItself: boolean) => void }) {
  const w = cameraWords.value;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [seen, setSeen] = useState<number>();
  const [failure, setFailure] = useState<unknown>();
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const left = new AbortController();
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    void follow(watch, left.signal, {
      picture: async (jpeg) => {
        await draw(canvas.current, jpeg);
        setSeen(Date.now());
        setFailure(undefined);
      },
      failed: setFailure,
    }).then(() => left.signal.aborted || end(true));
    return () => {
      clearInterval(timer);
      left.abort();
    };
  }, [watch]);
  const age = seen === undefined ? undefined : Math.max(0, now - seen);
  const isOld = age !== undefined && age > STALE_MS;
  return (
    <figure class="camera" data-camera={age === undefined ? 'waits' : isOld ? 'stale' : 'live'}>
      <canvas
        ref={canvas}
        class={isOld ? 'stale' : ''}
        hidden={age === undefined}
        role="img"
        aria-label={w.picture}
        width={4}
        height={3}
      />
      <figcaption class={isOld ? 'age old' : 'age'}>
        {age === undefined ? w.first : w.seen(words.value.ago(formatSeconds(age / 1_000)))}
      </figcaption>
      {failure === undefined ? undefined : <Failure error={failure} />}
      <p class="quiet small">{w.hint}</p>
      <button type="button" class="plain" onClick={() => end(false)}>
        {w.stop}
      </button>
    </figure>
  );
}

interface Following {
  readonly picture: (jpeg: Uint8Array<ArrayBuffer>) => Promise<void>;
  readonly failed: (error: unknown) => void;
}

/** Asks for one picture after the other while the page is looked at, until the signature expires. */
async function follow(watch: CameraWatch, left: AbortSignal, { picture, failed }: Following): Promise<void> {
  const [{ openPicture }, { p256Key }] = await Promise.all([
    import('@millrace/protocol'),
    import('@millrace/identity'),
  ]);
  const { installation, machineKey, signed } = watch;
  const viewer = p256Key(watch.secret);
  const once = async () => {
    const nonce = crypto.getRandomValues(new Uint8Array(16));
    const body = { watch: toBase64(signed), nonce: toHex(nonce) };
    const { picture: sealed } = await api.machines.picture({ id: watch.watch.machine, body }, { signal: left });
    const bytes = Uint8Array.from(atob(sealed), (character) => character.charCodeAt(0));
    await picture(await openPicture(viewer, machineKey, { installation, watch: watch.watch, nonce }, bytes));
  };
  try {
    while (!left.aborted && Date.now() < watch.watch.expires) {
      let pause = EVERY_MS;
      if (document.visibilityState === 'visible')
        await once().catch((error: unknown) => {
          if (!left.aborted) failed(error);
          pause = AGAIN_MS;
        });
      await sleep(pause, left).catch(() => undefined);
    }
  } finally {
    viewer.close();
  }
}

/** Draws into a canvas: whatever the bytes are, they become pixels and no document. */
async function draw(canvas: HTMLCanvasElement | null, jpeg: Uint8Array<ArrayBuffer>): Promise<void> {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: 'image/jpeg' }));
  if (canvas !== null) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext('2d')?.drawImage(bitmap, 0, 0);
  }
  bitmap.close();
}
